"""What people do to jobs, in every state; the whole histories are in tests/scenario."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.attempt import Launching, Phase, Planned, Running, Stopping
from researchflow_tmux.domain.job import JobFiles, JobState
from researchflow_tmux.engine import by_hand
from researchflow_tmux.engine.inbox import handle
from researchflow_tmux.engine.workload import Book, Workload
from tests.unit.engine.samples import NOW, asked, at, attempt, job, workload

HELD, QUEUED, ACTIVE, DONE = JobState.HELD, JobState.QUEUED, JobState.ACTIVE, JobState.SUCCEEDED
FAILED, CANCELLED, SKIPPED = JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED


def one(state: JobState) -> Workload:
    live = (attempt(phase=Running(started_at=NOW, runner_pid=7)),) if state is ACTIVE else ()
    return workload(job(1, state, attempts=int(state is ACTIVE)), attempts=live)


@pytest.mark.parametrize(
    ("kind", "state", "becomes", "answer"),
    [
        ("cancel", HELD, CANCELLED, "cancelled"),
        ("cancel", QUEUED, CANCELLED, "cancelled"),
        ("cancel", ACTIVE, ACTIVE, "stopping"),
        ("cancel", DONE, DONE, "ended"),
        ("cancel", FAILED, FAILED, "ended"),
        ("cancel", CANCELLED, CANCELLED, "ended"),
        ("cancel", SKIPPED, SKIPPED, "ended"),
        ("requeue", HELD, HELD, "waiting"),
        ("requeue", QUEUED, QUEUED, "waiting"),
        ("requeue", ACTIVE, ACTIVE, "stopping"),
        ("requeue", DONE, QUEUED, "queued"),
        ("requeue", FAILED, QUEUED, "queued"),
        ("requeue", CANCELLED, QUEUED, "queued"),
        ("requeue", SKIPPED, QUEUED, "queued"),
        ("hold", HELD, HELD, "held"),
        ("hold", QUEUED, HELD, "held"),
        ("hold", ACTIVE, ACTIVE, "untouched"),
        ("hold", DONE, DONE, "untouched"),
        ("release", HELD, QUEUED, "queued"),
        ("release", QUEUED, QUEUED, "untouched"),
        ("release", ACTIVE, ACTIVE, "untouched"),
        ("release", FAILED, FAILED, "untouched"),
    ],
)
def test_asked(kind: str, state: JobState, becomes: JobState, answer: str) -> None:
    known = one(state)
    reply = handle(Book(known, NOW), asked(kind, {"ids": [1, 99]}), 2.0)
    assert known.jobs[1].state is becomes
    assert {word for word, names in reply.items() if names} == {answer}
    assert reply[answer] == ["j1"], "an id that is not there is passed over"


@pytest.mark.parametrize(
    ("phase", "pid", "started"),
    [
        (Planned(at=NOW), None, False),
        (Launching(at=NOW), None, False),
        (Launching(at=NOW, runner_pid=7), 7, False),
        (Running(started_at=at(-3), runner_pid=7), 7, True),
    ],
)
def test_stopping_keeps_what_is_known(phase: Phase, pid: int | None, started: bool) -> None:
    known = workload(job(1, ACTIVE, attempts=1), attempts=(attempt(phase=phase),))
    by_hand.cancel(Book(known, NOW), [1], "user", 5.0)
    stopping = known.attempts[1, 1].phase
    assert isinstance(stopping, Stopping)
    assert (stopping.runner_pid, stopping.started_at) == (pid, at(-3) if started else None)
    assert stopping.kill_at > at(5.0), "the runner's own grace comes first"


def test_stopping_twice_is_stopping_once() -> None:
    known = one(ACTIVE)
    by_hand.cancel(Book(known, NOW), [1], "user", 5.0)
    first = known.attempts[1, 1]
    by_hand.cancel(Book(known, at(3)), [1], "user", 5.0)
    assert known.attempts[1, 1] == first


@pytest.mark.parametrize(("order", "requeue"), [(["requeue", "cancel"], False), (["cancel", "requeue"], True)])
def test_the_last_word_counts(order: list[str], requeue: bool) -> None:
    known = one(ACTIVE)
    for kind in order:
        handle(Book(known, NOW), asked(kind, {"ids": [1]}), 2.0)
    stopping = known.attempts[1, 1].phase
    assert isinstance(stopping, Stopping)
    assert (stopping.requeue, stopping.by) == (requeue, "user")


def test_requeueing_ends_a_backoff() -> None:
    known = workload(job(1, not_before=at(500)))
    by_hand.requeue(Book(known, NOW), [1], "ann", 2.0)
    assert known.jobs[1].not_before is None
    assert known.next_backoff_end(NOW) is None


def test_requeueing_revives_every_skipped_descendant_once() -> None:
    known = workload(
        job(1, FAILED),
        job(2, SKIPPED, after=(1,)),
        job(3, SKIPPED, after=(1,)),
        job(4, SKIPPED, after=(2, 3)),
        job(5, CANCELLED, after=(1,)),
    )
    by_hand.requeue(Book(known, NOW), [1, 2, 4], "ann", 2.0)
    assert {number: one.state for number, one in known.jobs.items()} == {
        1: QUEUED,
        2: QUEUED,
        3: QUEUED,
        4: QUEUED,
        5: CANCELLED,
    }


def test_cancelling_skips_descendants_that_were_not_named() -> None:
    known = workload(job(1), job(2, after=(1,)), job(3, HELD, after=(2,)), job(4, after=(1,)), job(5))
    by_hand.cancel(Book(known, NOW), [1, 4], "user", 2.0)
    assert [one.state for one in known.jobs.values()] == [CANCELLED, SKIPPED, SKIPPED, CANCELLED, QUEUED]
    assert str(known.jobs[3].reason) == "an earlier job did not succeed: j2 (skipped)"


def test_a_released_job_has_the_place_it_had() -> None:
    known = workload(job(1, queued_s=-50), job(2, queued_s=-20))
    by_hand.hold(Book(known, NOW), [1], "ann")
    assert str(known.jobs[1].reason) == "held: by ann"
    by_hand.release(Book(known, at(9)), [1], "ann")
    assert [one.id for one in known.queued()] == [1, 2]


def test_an_unknown_request_is_answered_in_words() -> None:
    assert "does not know the request 'dance'" in handle(Book(workload(), NOW), asked("dance", {}), 1.0)["error"]


@pytest.mark.parametrize("state", [FAILED, DONE, QUEUED, ACTIVE])
def test_afresh_means_without_the_checkpoints_so_far(state: JobState) -> None:
    live = (attempt(number=3, phase=Running(started_at=NOW, runner_pid=7)),) if state is ACTIVE else ()
    known = workload(job(1, state, attempts=3), attempts=live)
    handle(Book(known, NOW), asked("requeue", {"ids": [1]}), 2.0)
    assert known.jobs[1].succeeded_attempt == 0
    handle(Book(known, NOW), asked("requeue", {"ids": [1], "afresh": True}), 2.0)
    assert known.jobs[1].succeeded_attempt == 3
    assert known.jobs[1].state in (QUEUED, ACTIVE)


def test_requeueing_by_hand_runs_even_what_is_up_to_date() -> None:
    known = workload(job(1, DONE, files=JobFiles(definition="d", note="/n")), job(2, DONE))
    handle(Book(known, NOW), asked("requeue", {"ids": [1, 2]}), 2.0)
    files = known.jobs[1].spec.files
    assert files is not None
    assert (files.force, files.definition) == (True, "d")
    assert known.jobs[2].spec.files is None
