from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from researchflow_tmux.job.reports import Metrics, Progress

WRITER = """
import sys
from researchflow_tmux.job.reports import Metrics
metrics = Metrics(sys.argv[1], 1)
for step in range(500):
    metrics.add(sys.argv[2] * 50, step, step)
"""


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_metric_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(str(path), attempt=2)
    metrics.add("acc", 0.93, step=10)
    metrics.add("loss", np.float32(0.5), np.int64(11))  # type: ignore[arg-type]
    metrics.add("loss", math.nan)
    first, second, third = lines(path)
    assert str(first.pop("at")).endswith("Z")
    assert first == {"name": "acc", "value": 0.93, "step": 10, "attempt": 2}
    assert (second["value"], second["step"]) == (0.5, 11)
    assert (third["value"], third["step"]) == ("nan", None)
    assert metrics.latest["acc"] == 0.93


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    found = lines(path)
    assert len(found) == 1500
    assert {str(line["name"]) for line in found} == {"a" * 50, "b" * 50, "c" * 50}


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        Metrics(None, 1).add("acc", "high")  # type: ignore[arg-type]


def test_a_file_that_cannot_be_written_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics("/dev/full", 1)
    metrics.add("acc", 1)
    metrics.add("acc", 2)
    assert [record.message for record in caplog.records] == [
        "rfsched: metrics are not recorded: /dev/full: No space left on device"
    ]
    assert metrics.latest == {"acc": 2}


LIMITED = """
import resource, signal, sys
from researchflow_tmux.job.reports import Metrics
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
metrics = Metrics(sys.argv[1], 1)
metrics.add("first", 1)
size = len(open(sys.argv[1]).read())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, -1))
metrics.add("torn", 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, -1))
metrics.add("whole", 3)
"""


def test_a_line_torn_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    subprocess.run([sys.executable, "-c", LIMITED, str(path)], check=True, timeout=30)
    first, torn, whole = path.read_text().splitlines()
    assert len(torn) == 10
    assert (json.loads(first)["name"], json.loads(whole)["name"]) == ("first", "whole")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_written_a_few_times_a_second_and_at_the_end(tmp_path: Path) -> None:
    path, clock = tmp_path / "progress.json", Clock()
    progress = Progress(str(path), clock)
    progress.set(1, 4)
    progress.set(2, 4)
    assert json.loads(path.read_text()).items() >= {"fraction": 0.25, "done": 1, "total": 4}.items()
    clock.now += 0.3
    progress.set(0.75)
    assert json.loads(path.read_text()).items() >= {"fraction": 0.75, "done": None, "total": None}.items()
    progress.set(4, 4)
    assert json.loads(path.read_text())["fraction"] == 1.0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("done", "total", "fraction"),
    [(1.2, None, 1.0), (-1, None, 0.0), (3, 0, None), (3, math.inf, None), (math.inf, 3, 1.0), (5, 4, 1.0)],
)
def test_fractions_are_from_0_to_1(done: float, total: float | None, fraction: float | None, tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    Progress(str(path)).set(done, total)
    assert json.loads(path.read_text())["fraction"] == fraction


def test_progress_that_is_no_number() -> None:
    with pytest.raises(ValueError, match="not a number"):
        Progress(None).set(math.nan)
    with pytest.raises(ValueError, match="not a number"):
        Progress(None).set(1, math.nan)
    Progress(None).set(0.5)


def test_progress_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    progress = Progress(str(tmp_path / "gone" / "progress.json"))
    progress.set(1)
    progress.set(1)
    assert len(caplog.records) == 1
    assert "progress is not recorded" in caplog.text
