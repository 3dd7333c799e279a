"""`set`: which values of which jobs, in words, and how long that holds against the files jobs come from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Running
from researchflow_tmux.domain.events import JobRespecified
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.wording import describe
from researchflow_tmux.engine.inbox import handle
from researchflow_tmux.engine.setting import what_was_set
from researchflow_tmux.engine.submitting import Draft, Submission, submit
from researchflow_tmux.engine.workload import Book, Workload
from tests.unit.engine.samples import NOW, asked, attempt, job, workload

DUE = NOW + timedelta(days=3)


def tell(work: Workload, values: dict[str, Any], *ids: int) -> dict[str, Any]:
    return handle(Book(work, NOW), asked("set", {"ids": list(ids or (1,)), "values": values}), 10.0)


def said(work: Workload) -> list[str | None]:
    return [describe(each, lambda number: f"j{number}") for each in work.take_changes()[0]]


def test_a_waiting_job_gets_every_value_and_the_history_says_what_was_there_before() -> None:
    work = workload(job(1, priority=2, project="text"))
    values = {
        "priority": 5,
        "deadline": DUE.isoformat(),
        "project": None,
        "preemptible": True,
        "time_limit_s": 5400,
        "retries": 1,
    }
    assert tell(work, values) == {"changed": ["j1"], "unchanged": [], "refused": []}
    now = work.jobs[1].spec
    assert (now.priority, now.deadline, now.project, now.preemptible, now.request.time_limit_s, now.retries) == (
        5,
        DUE,
        None,
        True,
        5400.0,
        1,
    )
    [line] = said(work)
    assert line is not None
    assert line.startswith("j1: priority 2 → 5, deadline none → 2026-01-0")
    assert line.endswith(
        "project text → none, preemptible no → yes, time limit none → 90 min, retries 0 → 1 (set by ann)"
    )


def test_the_queue_goes_by_the_new_priority_at_once() -> None:
    work = workload(job(1), job(2))
    tell(work, {"priority": 1}, 2)
    assert [each.id for each in work.queued()] == [2, 1]


def test_what_is_so_already_is_no_event() -> None:
    work = workload(job(1, priority=5))
    assert tell(work, {"priority": 5}, 1, 99) == {"changed": [], "unchanged": ["j1"], "refused": []}
    assert said(work) == []


@pytest.mark.parametrize(
    ("state", "values", "refused"),
    [
        (JobState.ACTIVE, {"priority": 1, "deadline": None, "preemptible": True, "retries": 4}, None),
        (JobState.ACTIVE, {"project": "x"}, "j1 runs: its project cannot be changed now"),
        (JobState.ACTIVE, {"time_limit_s": 60, "priority": 1}, "j1 runs: its time limit cannot be changed now"),
        (JobState.HELD, {"project": "x", "time_limit_s": 60}, None),
        (JobState.FAILED, {"time_limit_s": 60, "priority": 3}, None),
        (JobState.SUCCEEDED, {"project": "x"}, "j1 has ended: what it used was counted"),
    ],
)
def test_what_cannot_be_changed_any_more_is_said_and_nothing_of_it_done(
    state: JobState, values: dict[str, Any], refused: str | None
) -> None:
    live = (attempt(phase=Running(started_at=NOW, runner_pid=7)),) if state is JobState.ACTIVE else ()
    work = workload(job(1, state, attempts=1), attempts=live)
    before = work.jobs[1]
    answer = tell(work, values)
    assert bool(answer["changed"]) == (refused is None)
    if refused is not None:
        assert answer["refused"][0].startswith(refused)
        assert work.jobs[1] == before


def test_nonsense_is_answered_with_an_error_and_changes_nothing() -> None:
    work = workload(job(1))
    with pytest.raises(msgspec.MsgspecError):
        tell(work, {"priority": "high"})
    assert not work.changed


# -- against the file


def queued_again(work: Workload, **fields: Any) -> Job:
    """`start` reads the config once more, which now says `fields`."""
    read = replace(job(1, **fields).spec)
    submit(Book(work, NOW), Submission(drafts=(Draft(spec=read),)))
    return work.jobs[1]


def test_what_was_set_by_hand_survives_a_start_that_reads_the_config_again() -> None:
    work = workload(job(1, priority=2))
    tell(work, {"priority": 9, "deadline": DUE.isoformat()})
    work.changes_saved()
    assert queued_again(work, priority=2).spec.priority == 9
    assert not work.changed, "nothing is new, so nothing is written"
    again = queued_again(work, priority=2, retries=4)
    assert (again.spec.priority, again.spec.deadline, again.spec.retries) == (9, DUE, 4), "the rest is the file's"


def test_the_config_wins_when_its_own_value_changes() -> None:
    work = workload(job(1, priority=2))
    tell(work, {"priority": 9, "retries": 3})
    again = queued_again(work, priority=4)
    assert (again.spec.priority, again.spec.retries) == (4, 3)
    assert queued_again(work, priority=2).spec.priority == 2, "what was set is forgotten for good"


def test_to_set_it_back_by_hand_is_to_go_by_the_file_again() -> None:
    work = workload(job(1, priority=2))
    tell(work, {"priority": 9})
    tell(work, {"priority": 2})
    assert work.jobs[1].source_said.given() == {}
    assert queued_again(work, priority=3).spec.priority == 3


def test_set_twice_it_is_still_the_files_value_that_counts() -> None:
    work = workload(job(1, priority=2))
    tell(work, {"priority": 9})
    tell(work, {"priority": 8})
    assert queued_again(work, priority=2).spec.priority == 8


def test_what_was_set_is_said_beside_what_the_file_says() -> None:
    work = workload(job(1, priority=2))
    assert what_was_set(work.jobs[1]) == ""
    tell(work, {"priority": 9, "time_limit_s": 90.0})
    assert what_was_set(work.jobs[1]) == "priority 9 (its config says 2), time limit 90 s (its config says none)"


def test_a_job_is_kept_with_what_was_set() -> None:
    work = workload(job(1, priority=2))
    tell(work, {"deadline": DUE.isoformat(), "project": "x"})
    kept = msgspec.json.decode(msgspec.json.encode(work.jobs[1]), type=Job)
    assert kept == work.jobs[1]
    assert kept.source_said.given() == {"deadline": None, "project": None}
    [event] = [each for each in work.take_changes()[0] if isinstance(each, JobRespecified)]
    assert msgspec.json.decode(msgspec.json.encode(event), type=JobRespecified) == event
