"""Attempts as stretches of time: when they began, how they ended, how long they waited, what was expected."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.attempt import Exited, Killed, LaunchFailed, Lost, Outcome, SlotTaken, Stopping, TimedOut
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.drawing.looks import LOOKS
from researchflow_tmux.hindsight.expecting import expected_then
from researchflow_tmux.hindsight.packing import packed
from researchflow_tmux.hindsight.spans import Expected, kind_of, spans_of, waiting_of
from tests.pasts import FAILURES, NOW, attempt, job


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def test_an_attempt_begins_with_its_program_and_ends_with_it_or_now() -> None:
    jobs = {1: job(1), 2: job(2)}
    done, runs = attempt(1, begin=ago(50), end=ago(20), planned=ago(51)), attempt(2, begin=ago(10), planned=ago(11))
    first, second = spans_of(jobs, [runs, done], NOW)
    assert (first.begin, first.end, first.ran_s, first.going_on) == (ago(50), ago(20), 1800, False)
    assert (second.begin, second.end, second.ran_s, second.kind) == (ago(10), NOW, 600, "running")
    assert first.seconds_within(ago(30), NOW) == 600


def test_what_never_started_took_a_place_but_ran_for_no_time() -> None:
    never = attempt(1, begin=None, end=ago(5), outcome=LaunchFailed(reason="gone"), planned=ago(6))
    (span,) = spans_of({1: job(1)}, [never], NOW)
    assert (span.begin, span.end, span.ran_s, span.seconds_within(ago(60), NOW)) == (ago(6), ago(5), 0, 0)


def test_a_job_that_is_gone_has_no_spans() -> None:
    assert spans_of({}, [attempt(1, begin=ago(5))], NOW) == []


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Exited(code=0, succeeded=True), "succeeded"),
        (Exited(code=3, succeeded=False), "failed"),
        (Killed(by="user"), "killed"),
        (Killed(by="signal", signal=11), "failed"),
        (Killed(by="preempted"), "preempted"),
        (Killed(by="budget"), "over_budget"),
        (TimedOut(), "timed_out"),
        (SlotTaken(reason="x"), "slot_taken"),
        (Lost(), "lost"),
    ],
)
def test_each_outcome_has_a_look_of_its_own(outcome: Outcome, kind: str) -> None:
    assert kind_of(attempt(1, begin=ago(5), end=ago(1), outcome=outcome)) == kind
    assert kind in LOOKS


def test_every_outcome_can_be_drawn() -> None:
    assert all(kind_of(attempt(1, begin=ago(5), end=ago(1), outcome=outcome)) in LOOKS for outcome in FAILURES)


def test_what_is_told_to_end_is_stopping() -> None:
    import msgspec

    told = Stopping(by="user", since=ago(1), kill_at=NOW, started_at=ago(5))
    assert kind_of(msgspec.structs.replace(attempt(1, begin=ago(5)), phase=told)) == "stopping"


def test_it_waited_from_when_only_room_was_missing() -> None:
    jobs = {1: job(1), 2: job(2, after=(1,)), 3: job(3)}
    attempts = [
        attempt(1, begin=ago(50), end=ago(30)),
        attempt(2, begin=ago(20), end=ago(10)),
        attempt(3, 1, begin=ago(45), end=ago(40), outcome=FAILURES[0]),
        attempt(3, 2, begin=ago(33), end=ago(30)),
    ]
    queued = {1: [ago(55)], 2: [ago(55)], 3: [ago(48), ago(40)]}
    waits = {span.attempt.key: span.wait_s for span in spans_of(jobs, attempts, NOW, queued=queued)}
    assert waits == {(1, 1): 300, (2, 1): 600, (3, 1): 180, (3, 2): 420}


def test_of_a_job_whose_history_is_gone_the_wait_is_unknown() -> None:
    (span,) = spans_of({1: job(1)}, [attempt(1, begin=ago(5))], NOW)
    assert span.wait_s is None


def test_waiting_jobs_are_those_that_may_still_start() -> None:
    states = [JobState.QUEUED, JobState.HELD, JobState.ACTIVE, JobState.FAILED]
    jobs = [job(number, state=state, queued_at=ago(number)) for number, state in enumerate(states, 1)]
    assert [each.job.id for each in waiting_of(jobs)] == [2, 1]


def test_only_what_was_known_at_the_start_was_expected() -> None:
    jobs = {number: job(number) for number in (1, 2, 3)}
    attempts = [
        attempt(1, begin=ago(60), end=ago(50)),
        attempt(2, begin=ago(55), end=ago(20)),
        attempt(3, begin=ago(40), end=ago(30)),
    ]
    learned: list[float] = []

    def guess(_: Job) -> Expected | None:
        return Expected(learned[-1]) if learned else None

    found = expected_then(jobs, attempts, guess, lambda _, took_s: learned.append(took_s))
    assert found == {(3, 1): Expected(600)}
    assert learned == [600, 600, 2100]


def test_failures_and_what_goes_on_from_a_checkpoint_teach_nothing() -> None:
    attempts = [
        attempt(1, 1, begin=ago(60), end=ago(50), outcome=FAILURES[0]),
        attempt(1, 2, begin=ago(45), end=ago(40), resumed_step=3),
        attempt(2, 1, begin=ago(30)),
    ]
    learned: list[float] = []
    asked: list[int] = []

    def guess(job: Job) -> Expected | None:
        asked.append(job.id)
        return Expected(1)

    found = expected_then({1: job(1), 2: job(2)}, attempts, guess, lambda _, took_s: learned.append(took_s))
    assert learned == []
    assert set(found) == {(1, 1), (2, 1)}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), max_size=30))
def test_packed_rows_never_overlap_and_are_as_few_as_can_be(given_ones: list[tuple[int, int]]) -> None:
    stretches = sorted((ago(100 - begin), ago(100 - begin - length)) for begin, length in given_ones)
    rows = packed(stretches)
    for row in set(rows):
        own = [stretch for stretch, number in zip(stretches, rows, strict=True) if number == row]
        assert all(one[1] <= other[0] for one, other in pairwise(own))
    most = max((sum(b <= at < e for b, e in stretches) for at, _ in stretches), default=0)
    assert max(rows, default=-1) + 1 == most
