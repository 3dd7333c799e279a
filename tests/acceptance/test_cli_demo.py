"""The demo, as somebody sees it who has just installed this."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
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


def run_demo(server: Server, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RFSCHED, "demo", "--socket", server.socket, *options],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_every_training_succeeds_once_although_the_scheduler_is_killed(server: Server, tmp_path: Path) -> None:
    done = run_demo(server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill -9" in done.stdout
    assert "it is back after" in done.stdout
    assert "8 of 8 trainings succeeded, each in exactly one attempt" in done.stdout
    assert len(list((tmp_path / "demo-workspace" / "out").glob("*_result.json"))) == 8
    assert "remove:   rm -r demo-workspace" in done.stdout


def test_killed_trainings_go_on_from_their_checkpoints(server: Server, tmp_path: Path) -> None:
    done = run_demo(server, tmp_path, "--crash")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"kill -9 \d+: the training \w+ is dead in epoch \d+", done.stdout)) == 2
    back = dict(re.findall(r"!! (\w+) goes on after epoch (\d+): [1-9][\d.]* s of training saved, ", done.stdout))
    assert len(back) == 2
    assert "the scheduler is dead" in done.stdout
    for name, epoch in back.items():
        assert re.search(rf"{name} .* 2 +epoch {epoch} +succeeded", done.stdout)
    assert "8 of 8 trainings succeeded; those that were killed went on from their checkpoints: " in done.stdout


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    done = subprocess.run([RFSCHED, "demo", str(tmp_path)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_every_way_in_shares_two_gpus(server: Server, tmp_path: Path) -> None:
    done = run_demo(server, tmp_path, "--mixed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 of 16 jobs from 5 places succeeded, each in exactly one attempt, although" in done.stdout
    counts = Counter(re.findall(r"^(jobs/\S+|submit\.py) +\S+ +(?:[01]|cpu) .* 1 +succeeded$", done.stdout, re.M))
    assert counts == {
        "jobs/commands.txt": 3,
        "jobs/grid.yml": 4,
        "jobs/report.yml": 4,
        "jobs/todo.csv": 3,
        "submit.py": 2,
    }
    assert re.search(r"submit\.py: python_24 returned \d+\.\d%", done.stdout)
    workspace = tmp_path / "demo-workspace"
    assert (workspace / "jobs" / "todo.csv").read_text().splitlines()[2].endswith(",2")
    marks = [line[:2] for line in (workspace / "processed" / "commands.txt.old").read_text().splitlines()]
    assert marks == ["##", "# ", "# ", "#@", "# "]
