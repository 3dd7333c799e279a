"""What is gathered of a workspace's past: the attempts that count, the waits, what is foreseen of what runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from researchflow_tmux.adapters import foreseen_file
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.foreseen_file import Foreseen, ForeseenAttempt
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.api.hindsight import Chosen, past_of, timeline_of, utilisation_of
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Exited, Planned
from researchflow_tmux.domain.errors import StoreError, UsageError
from researchflow_tmux.domain.events import JobChanged
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.hindsight.spans import Expected
from researchflow_tmux.policies.prediction.running import Foresight
from tests.pasts import Past, attempt, job, past

NOW = SystemClock().now()


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\ngpu_count: simulated:2\n")
    (tmp_path / ".rfsched").mkdir(mode=0o700)
    return tmp_path


def test_of_a_job_that_lived_since_then_all_attempts_are_read(root: Path) -> None:
    failed = Exited(code=1, succeeded=False)
    attempts = [
        attempt(1, 1, begin=ago(300), end=ago(290), outcome=failed),
        attempt(1, 2, begin=ago(50), end=ago(40)),
        attempt(2, 1, begin=ago(200), end=ago(190)),
        attempt(3, 1, begin=ago(400)),
    ]
    jobs = {number: job(number, state=JobState.ACTIVE if number == 3 else JobState.SUCCEEDED) for number in (1, 2, 3)}
    path = str(root / ".rfsched" / "state.db")
    Past(jobs, attempts, {number: [] for number in jobs}).write(path)
    with SqliteReader(path) as reader:
        assert [each.key for each in reader.attempts()] == [(1, 1), (1, 2), (2, 1), (3, 1)]
        assert [each.key for each in reader.attempts(since=ago(60))] == [(1, 1), (1, 2), (3, 1)]


def test_a_job_came_into_the_queue_first_and_after_each_failure_but_not_while_it_was_held(root: Path) -> None:
    path = str(root / ".rfsched" / "state.db")
    Past({1: job(1)}, [], {1: [ago(50)]}).write(path)
    store = SqliteStore(path, boot_id="boot")
    for state, at in ((JobState.ACTIVE, ago(40)), (JobState.QUEUED, ago(30)), (JobState.HELD, ago(20))):
        reason = Reason(code=ReasonCode.REQUEUED)
        store.commit([JobChanged(job_id=1, state=state, reason=reason)], [], [], at=at)
    store.close()
    with SqliteReader(path) as reader:
        assert reader.queued_moments() == {1: [ago(50), ago(30)]}


def test_waits_end_with_a_start_with_the_job_or_now(root: Path) -> None:
    jobs = {
        1: job(1, attempts=1, ended_at=ago(10)),
        2: job(2, state=JobState.CANCELLED, ended_at=ago(15)),
        3: job(3, state=JobState.QUEUED, queued_at=ago(5)),
    }
    ran = attempt(1, begin=ago(30), end=ago(10), planned=ago(31))
    Past(jobs, [ran], {1: [ago(60)], 2: [ago(25)], 3: [ago(5)]}).write(str(root / ".rfsched" / "state.db"))
    found = past_of(Workspace(root), Chosen())
    assert sorted(found.waits)[:2] == [(ago(60), ago(31)), (ago(25), ago(15))]
    assert [(begin, end == found.now) for begin, end in sorted(found.waits)[2:]] == [(ago(5), True)]


def test_the_queue_is_shown_unasked_when_nothing_ran(root: Path) -> None:
    waits = {1: job(1, state=JobState.QUEUED, queued_at=ago(5))}
    Past(waits, [], {1: [ago(5)]}).write(str(root / ".rfsched" / "state.db"))
    assert [point.count for point in timeline_of(past_of(Workspace(root), Chosen()), "gpu").queue] == [0, 1, 1]


def test_what_runs_should_end_when_the_scheduler_foresees_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {1: job(1, state=JobState.ACTIVE, attempts=1)}
    runs = attempt(1, begin=ago(10))
    Past(jobs, [runs], {1: [ago(11)]}).write(str(root / ".rfsched" / "state.db"))
    workspace = Workspace(root)
    monkeypatch.setattr(workspace, "settle", lambda: None)  # there is no process of that number
    assert past_of(workspace, Chosen()).spans[0].expected is None
    foresight = Foresight(total_s=1200.0, low_s=900.0, high_s=2000.0, source="progress")
    seen = ForeseenAttempt(job_id=1, number=1, started_at=ago(10), foresight=foresight)
    foreseen_file.write(workspace.paths.foreseen, Foreseen(at=NOW, attempts=(seen,)))
    assert past_of(workspace, Chosen()).spans[0].expected == Expected(1200.0, 900.0, 2000.0)


def test_an_attempt_that_is_only_planned_has_no_expectation(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import msgspec

    planned = msgspec.structs.replace(attempt(1, begin=ago(1)), phase=Planned(at=ago(1)))
    Past({1: job(1, state=JobState.ACTIVE, attempts=1)}, [planned], {1: [ago(2)]}).write(
        str(root / ".rfsched/state.db")
    )
    workspace = Workspace(root)
    monkeypatch.setattr(workspace, "settle", lambda: None)
    (span,) = past_of(workspace, Chosen()).spans
    assert (span.ran, span.expected, span.kind) == (False, None, "running")


def test_damaged_samples_are_named_and_a_window_that_is_none_too(root: Path) -> None:
    past(5, gpus=1, running=False).write(str(root / ".rfsched" / "state.db"))
    found = past_of(Workspace(root), Chosen())
    (root / ".rfsched" / "samples.db").write_text("no database at all, but long enough to be read as one" * 50)
    with pytest.raises(StoreError, match=r"samples\.db cannot be read"):
        utilisation_of(found)
    with pytest.raises(UsageError, match="ends before it begins"):
        past_of(Workspace(root), Chosen(since=NOW, until=ago(5)))
