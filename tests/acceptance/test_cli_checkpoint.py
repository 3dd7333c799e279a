"""`rfsched checkpoint` by hand: no workspace is needed for a directory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.workspaces import RFSCHED


def call(here: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RFSCHED_CHECKPOINT_DIR": str(here / "kept"), "RFSCHED_ATTEMPT": "ws/1.1"}
    return subprocess.run(
        [RFSCHED, "checkpoint", *args], cwd=here, env=env, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"w" * 2000)
    return tmp_path


def test_committed_listed_verified_and_exported(here: Path) -> None:
    assert "checkpoint of step 5: " in call(here, "commit", "model", "--step", "5", "--metric", "acc=0.9").stdout
    second = json.loads(call(here, "commit", "model", "--step", "6", "--json").stdout)
    listed = json.loads(call(here, "list", "./kept", "--json").stdout)["checkpoints"]
    assert [(each["step"], each["metrics"], each["attempt"]) for each in listed] == [
        (6, {}, "ws/1.1"),
        (5, {"acc": 0.9}, "ws/1.1"),
    ]
    assert "acc 0.9" in call(here, "list", "kept").stdout, "where there is no workspace, a bare name is a directory"

    Path(second["place"], "weights.bin").write_bytes(b"x" * 2000)
    checked = call(here, "verify", "./kept")
    assert checked.returncode == 1
    assert f"{second['name']} is damaged: weights.bin was altered" in checked.stdout
    assert "1 checkpoint sound, 1 damaged" in checked.stdout
    assert call(here, "verify", second["place"]).returncode == 1, "one checkpoint can be named too"

    exported = call(here, "export", "./kept", "copy")
    assert "checkpoint of step 5" in exported.stdout
    assert (here / "copy" / "weights.bin").read_bytes() == b"w" * 2000
    again = call(here, "export", "./kept", "copy")
    assert (again.returncode, "copy is there already" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("list", "./none"), 0, "no checkpoints in"),
        (("list", "none"), 2, "this is not a workspace"),
        (("export", "./none", "copy"), 2, "no sound checkpoint"),
        (("commit", "model", "--step", "1", "--metric", "acc=good"), 2, "'acc=good' is not NAME=NUMBER"),
        (("commit", "gone", "--step", "1"), 2, "does not exist"),
        (("commit", ".", "--step", "1"), 4, "contains the checkpoints"),
    ],
)
def test_what_cannot_be_is_said(here: Path, args: tuple[str, ...], code: int, said: str) -> None:
    done = call(here, *args)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "bug" not in done.stderr
