"""What is kept of durations and predictions: bounded, rebuilt when damaged, quick to read."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from researchflow_tmux.adapters.lesson_store import LOADED, LessonStore, read_lessons, read_made
from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.fingerprint import Fingerprint
from researchflow_tmux.policies.prediction.history import LAST, Lesson


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "predictions.db")


def lesson(took_s: float, script: str = "train.py", kind: str | None = None, residual: float | None = None) -> Lesson:
    return Lesson(Fingerprint("me", script, "d1", 1.0, ""), took_s, kind, residual)


def made(ended_at: float) -> Made:
    return Made(ended_at, 1, 1, "a", "p", None, "started", "history", 10.0, 11.0, 9.0, 14.0)


def test_what_is_kept_comes_back_in_its_order(path: str) -> None:
    store = LessonStore(path)
    first, second = lesson(1.0), lesson(2.0, kind="script", residual=-0.5)
    store.add([first, second], [made(5.0), made(6.0)], event=42)
    store.close()
    assert read_lessons(path) == ([first, second], 42)
    assert read_made(path) == [made(5.0), made(6.0)]
    assert read_made(path, since_s=5.5) == [made(6.0)]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_without_a_file_nothing_is_known(path: str) -> None:
    assert read_lessons(path) == ([], 0)
    assert read_made(path) == []
    assert not os.path.exists(path), "reading makes no file"


def test_only_the_last_of_each_kind_of_job_are_kept(path: str) -> None:
    store = LessonStore(path)
    store.add([lesson(float(number)) for number in range(100)], [], event=1)
    store.add([lesson(7.0, "rare.py")], [], event=2)
    store.close()
    lessons, _ = read_lessons(path)
    assert [each.took_s for each in lessons] == [*(float(number) for number in range(100 - LAST, 100)), 7.0]


def test_what_is_read_at_a_start_is_bounded(path: str) -> None:
    store = LessonStore(path)
    store.add([lesson(1.0, f"{number}.py") for number in range(LOADED + 10)], [], event=1)
    store.close()
    lessons, _ = read_lessons(path)
    assert len(lessons) == LOADED
    assert lessons[-1].fingerprint.script == f"{LOADED + 9}.py"


def test_a_damaged_file_is_begun_anew(path: str) -> None:
    Path(path).write_bytes(b"no database at all" * 100)
    assert read_lessons(path) == ([], 0)
    store = LessonStore(path)
    store.add([lesson(1.0)], [], event=3)
    store.close()
    assert read_lessons(path) == ([lesson(1.0)], 3)


def test_a_file_of_another_version_is_begun_anew(path: str) -> None:
    LessonStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    store = LessonStore(path)
    store.add([lesson(1.0)], [], event=3)
    store.close()
    assert read_lessons(path)[1] == 3
