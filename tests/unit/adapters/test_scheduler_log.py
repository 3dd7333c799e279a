"""The scheduler's log and its history: rotated, private, and never in the way."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from researchflow_tmux.adapters import scheduler_log
from researchflow_tmux.adapters.scheduler_log import SchedulerLog
from researchflow_tmux.domain.events import Event, Notice
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def log_of(root: Path, **settings: object) -> SchedulerLog:
    paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
    return SchedulerLog(paths, Settings(task_name="t", **settings))  # type: ignore[arg-type]


def told(text: str, at: datetime = NOON, level: str = "info") -> tuple[Event, str]:
    return Event(seq=1, at=at, boot_id="b", payload=Notice(text=text, level=level)), text


def test_each_event_is_a_line_in_both_files(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.write_all([told("one"), told("two\nlines", level="warning")])
    history = (tmp_path / "logs/history/history.log").read_text()
    assert history == (tmp_path / "logs/t_scheduler.log").read_text()
    log.complain("three")
    log.close()
    text = (tmp_path / "logs/t_scheduler.log").read_text()
    words = [line.split(maxsplit=2)[2] for line in text.splitlines()]
    assert words == ["INFO    one", "WARNING two lines", "WARNING three"]
    assert (tmp_path / "logs/t_scheduler.log").stat().st_mode & 0o777 == 0o600


def test_the_history_begins_a_file_each_day_and_keeps_seven(tmp_path: Path) -> None:
    for day in range(10):
        log = log_of(tmp_path)
        log.write_all([told(f"day {day}", NOON + timedelta(days=day))])
        if day % 2:  # a scheduler that runs over midnight, and one that is started anew
            log.write_all([told(f"later {day}", NOON + timedelta(days=day, hours=1))])
        log.close()
        stamp = (NOON + timedelta(days=day)).timestamp()
        os.utime(tmp_path / "logs/history/history.log", (stamp, stamp))
    names = sorted(path.name for path in (tmp_path / "logs/history").iterdir())
    assert names == ["history.log", *(f"history.log.2026-03-{day:02}" for day in range(3, 10))]
    assert "day 9" in (tmp_path / "logs/history/history.log").read_text()
    assert "later 5" in (tmp_path / "logs/history/history.log.2026-03-06").read_text()


def test_one_that_runs_over_midnight(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.write_all([told("today")])
    log.write_all([told("tomorrow", NOON + timedelta(days=1))])
    log.close()
    assert "today" in (tmp_path / "logs/history/history.log.2026-03-01").read_text()
    assert "tomorrow" in (tmp_path / "logs/history/history.log").read_text()


def test_the_log_has_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_log, "MAX_BYTES", 200)
    log = log_of(tmp_path)
    for number in range(20):
        log.write_all([told(f"event {number}")])
    log.close()
    files = sorted(path.name for path in (tmp_path / "logs").glob("t_*"))
    assert files == [f"t_scheduler.log{ending}" for ending in ("", ".1", ".2", ".3")]
    assert all((tmp_path / "logs" / name).stat().st_size <= 200 for name in files)
    assert "event 19" in (tmp_path / "logs/t_scheduler.log").read_text()


def test_somebody_elses_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/t_scheduler.log").symlink_to(tmp_path / "elsewhere")
    log = log_of(tmp_path)
    assert log.problem is not None
    log.write_all([told("one")])
    assert not (tmp_path / "elsewhere").exists()


def test_no_logging(tmp_path: Path) -> None:
    log = log_of(tmp_path, enable_logging=False)
    log.write_all([told("one")])
    assert not (tmp_path / "logs").exists()
