"""The demo, as somebody sees it who has just installed this."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tmux_fixtures import Server
from tests.workspaces import RFSCHED

pytestmark = pytest.mark.tmux


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="rft-", dir="/tmp") as folder:
        made = Server(Path(folder))
        try:
            yield made
        finally:
            made.close()


def test_every_training_succeeds_once_although_the_scheduler_is_killed(server: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [RFSCHED, "demo", "--socket", server.socket],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert "it is back after" in done.stdout
    assert "8 of 8 trainings succeeded, each in exactly one attempt" in done.stdout
    assert len(list((tmp_path / "demo-workspace" / "out").glob("*_result.json"))) == 8
    assert "remove:   rm -r demo-workspace" in done.stdout


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    done = subprocess.run([RFSCHED, "demo", str(tmp_path)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
