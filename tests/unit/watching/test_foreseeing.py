"""The thread that follows how far jobs are and learns from their ends: what it keeps, and that it survives trouble."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from researchflow_tmux.adapters import foreseen_file, lessons
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.foreseen_file import ForeseenAttempt
from researchflow_tmux.adapters.lesson_store import read_lessons, read_made
from researchflow_tmux.adapters.planning import history
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Planned, Running
from researchflow_tmux.domain.events import AttemptEnded, Event, JobSubmitted
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.policies.prediction.running import Wrong
from researchflow_tmux.watching.foreseeing import Foreseeing
from researchflow_tmux.watching.outlook import Outlook, Target, target
from tests.support import eventually
from tests.unit.engine.samples import NOW, attempt, job


class Bench:
    """A workspace's state in which jobs end."""

    def __init__(self, root: Path) -> None:
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        os.makedirs(self.paths.state)
        self.store = SqliteStore(self.paths.database, boot_id="b")
        self.told: list[str] = []

    def end(self, number: int, took_s: float, *, resumed: int | None = None, tries: int = 1) -> Event:
        """One success, on disk."""
        ended = Ended(outcome=Exited(code=0, succeeded=True), started_at=NOW, ended_at=NOW + timedelta(seconds=took_s))
        one = job(number, JobState.SUCCEEDED, attempts=tries)
        last = attempt(number, tries, ended, resumed_step=resumed)
        payload = AttemptEnded(job_id=number, number=tries, ended=ended)
        [event] = self.store.commit([payload], [one], [last], at=NOW)
        return event

    def foreseeing(self) -> Foreseeing:
        return Foreseeing(self.paths, SystemClock(), self.told.append)

    def run_once(self, *events: Event) -> None:
        """A scheduler starts, sees this, and ends."""
        thread = self.foreseeing()
        thread.saved(events)
        thread.begin()
        thread.close(30.0)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def submitted(one: Job) -> Event:
    return Event(seq=1, at=NOW, boot_id="b", payload=JobSubmitted(job=one))


def test_each_end_is_learned_once_whoever_was_running(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.end(number, 10.0 * number)
    bench.run_once()
    bench.run_once()
    kept, event = read_lessons(bench.paths.predictions)
    assert [lesson.took_s for lesson in kept] == [10.0, 20.0, 30.0]
    assert event == 3
    bench.end(4, 40.0)
    assert len(lessons.recent(bench.paths, event)[1]) == 1
    known = history(bench.paths, {4: job(4)}).predict(job(9))
    assert known is not None
    assert known.known == 4, "what is not kept yet is read from the history"


def test_what_went_on_from_a_checkpoint_teaches_nothing(bench: Bench) -> None:
    bench.end(1, 10.0, tries=2, resumed=500)
    bench.end(2, 20.0, tries=2)
    bench.run_once()
    assert [lesson.took_s for lesson in read_lessons(bench.paths.predictions)[0]] == [20.0]


def test_what_was_predicted_of_a_job_as_it_came_is_compared_with_its_end(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.end(number, 100.0)
    bench.run_once()
    bench.run_once(submitted(job(7)))
    bench.end(7, 110.0)
    bench.run_once()
    [made] = read_made(bench.paths.predictions)
    assert (made.moment, made.job_id, made.predicted_s, made.actual_s) == ("submitted", 7, 100.0, 110.0)


def test_a_running_job_is_foreseen_and_its_predictions_are_kept_with_its_end(bench: Bench) -> None:
    one = job(7, JobState.ACTIVE, attempts=1)
    live = attempt(7, 1, Running(started_at=SystemClock().now(), runner_pid=1))
    directory = Path(bench.paths.attempt_dir(7, 1))
    directory.mkdir(parents=True)
    (directory / "progress.json").write_text('{"fraction": 0.25}')
    thread = bench.foreseeing()
    thread.follow([live], lambda _id: one)

    def found() -> ForeseenAttempt | None:
        foreseen = foreseen_file.read(bench.paths.foreseen)
        return foreseen.attempts[0] if foreseen is not None and foreseen.attempts else None

    first = eventually(found)
    assert first.followed is not None
    assert first.followed.track.last == 0.25
    assert first.foresight is None, "one report is no rate, and nothing like it has ended"
    thread.follow([], lambda _id: one)
    thread.close(30.0)
    assert not bench.told


def test_trouble_is_told_once(bench: Bench) -> None:
    bench.end(1, 10.0)
    os.mkdir(bench.paths.predictions)
    bench.run_once()
    assert len(bench.told) == 1
    assert "cannot be predicted for now" in bench.told[0]


# -- the outlook -------------------------------------------------------------------------------------------------------


class Scene:
    """One attempt that reports, looked at by hand."""

    def __init__(self, root: Path) -> None:
        self.paths = WorkspacePaths(root=str(root), config="c")
        self.directory = Path(self.paths.attempt_dir(7, 1))
        self.directory.mkdir(parents=True)
        self.outlook = Outlook(self.paths)
        self.history = History()
        self.target = Target((7, 1), NOW, None, job(7))

    def look(self, after_s: float, fraction: float | None = None) -> ForeseenAttempt:
        now = NOW + timedelta(seconds=after_s)
        if fraction is not None:
            path = self.directory / "progress.json"
            path.write_text(f'{{"fraction": {fraction}}}')
            os.utime(path, (now.timestamp(), now.timestamp()))
        assert self.outlook.look([self.target], self.history, Wrong(), now)
        return self.outlook.attempts[0]


def test_progress_is_followed_from_tenth_to_tenth(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for _ in range(3):
        scene.history.learn(job(7), 500.0)
    for pct in range(0, 60, 5):
        last = scene.look(pct * 10.0 + 1.0, pct / 100)
    assert last.foresight is not None
    assert last.foresight.total_s == pytest.approx(1001.0, rel=0.01)
    moments = ["started", "10%", "20%", "30%", "40%", "50%"]
    assert [said.moment for said in last.said] == moments
    assert last.said[0].total_s == 500.0, "as it began only its like were known"
    assert scene.outlook.look([], scene.history, Wrong(), NOW)
    assert not scene.outlook.look([], scene.history, Wrong(), NOW), "nothing runs, nothing is new"
    assert [said.moment for said in scene.outlook.said((7, 1))] == moments
    assert scene.outlook.said((7, 1)) == (), "compared once"


def test_a_later_scheduler_goes_on_with_what_was_known(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for pct in range(0, 30, 5):
        scene.look(pct * 10.0, pct / 100)
    foreseen_file.write(str(tmp_path / "f"), foreseen_file.Foreseen(at=NOW, attempts=scene.outlook.attempts))
    scene.outlook = Outlook(scene.paths, foreseen_file.read(str(tmp_path / "f")))
    again = scene.look(300.0, 0.30)
    assert again.foresight is not None
    assert again.foresight.total_s == pytest.approx(1000.0, rel=0.01)


def test_only_what_runs_is_followed() -> None:
    def find(number: int) -> Job:
        return job(number)

    assert target(attempt(1, 1, Planned(at=NOW)), find) is None
    assert target(attempt(1, 1, Running(started_at=NOW, runner_pid=1)), find) is not None
    ended: Attempt = attempt(1, 1, Ended(outcome=Exited(code=0, succeeded=True), ended_at=NOW))
    assert target(ended, find) is None


def test_a_file_of_another_version_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for text in ("", "{}", '{"schema": "rfsched.foreseen/9", "at": "2026-01-01T00:00:00Z"}'):
        path.write_text(text)
        assert foreseen_file.read(str(path)) is None
