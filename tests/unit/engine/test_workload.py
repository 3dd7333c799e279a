"""The one aggregate: indexes that stay right under any events, and no transition outside the table."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Ended, Exited, Running
from researchflow_tmux.domain.errors import InvalidTransition
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptLaunching,
    AttemptPlanned,
    AttemptStarted,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Notice,
    QuarantineLifted,
)
from researchflow_tmux.domain.job import TRANSITIONS, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.workload import Workload
from tests.scenario.invariants import _queue_is_right, check_workload
from tests.unit.engine.samples import NOW, at, attempt, job, spec, workload

WHY = Reason(code=ReasonCode.REQUEUED)
OVER = Ended(outcome=Exited(code=0, succeeded=True), ended_at=NOW)


def change(state: JobState, **fields: object) -> JobChanged:
    return JobChanged(job_id=1, state=state, reason=WHY, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("before", "after"), list(product(JobState, JobState)))
def test_only_the_transitions_of_the_table(before: JobState, after: JobState) -> None:
    known = workload(job(1, before))
    if after in TRANSITIONS[before]:
        known.apply(change(after), at(5))
        assert known.jobs[1].state is after
        _queue_is_right(known)
    else:
        with pytest.raises(InvalidTransition, match=rf"job 1 \(j1\): {before} → {after}"):
            known.apply(change(after), at(5))


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.QUEUED])
def test_only_queued_jobs_are_planned(state: JobState) -> None:
    with pytest.raises(InvalidTransition):
        workload(job(1, state)).apply(AttemptPlanned(attempt=attempt()), NOW)


@pytest.mark.parametrize(
    ("before", "after", "fields", "expected"),
    [
        # a place in the queue is kept while held, and lost by running
        (job(1, JobState.HELD, queued_s=-9), JobState.QUEUED, {}, {"queued_at": at(-9)}),
        (job(1, JobState.ACTIVE, queued_s=-9, started_at=NOW), JobState.QUEUED, {}, {"queued_at": at(5)}),
        (job(1, JobState.FAILED, queued_s=-9, ended_at=NOW), JobState.QUEUED, {}, {"ended_at": None}),
        (job(1, JobState.ACTIVE, started_at=NOW), JobState.QUEUED, {}, {"started_at": None}),
        (job(1, JobState.ACTIVE, started_at=NOW), JobState.FAILED, {}, {"started_at": NOW, "ended_at": at(5)}),
        (job(1, JobState.ACTIVE, retries_used=2), JobState.QUEUED, {}, {"retries_used": 2}),
        (job(1, JobState.ACTIVE, retries_used=2), JobState.QUEUED, {"retries_used": 0}, {"retries_used": 0}),
        (job(1, JobState.ACTIVE, slot_waits=2), JobState.QUEUED, {}, {"slot_waits": 0}),
        (job(1, not_before=at(9)), JobState.HELD, {}, {"not_before": None}),
        (job(1, JobState.ACTIVE, exit_code=3), JobState.FAILED, {"exit_code": 4}, {"exit_code": 4}),
    ],
)
def test_what_a_change_touches(
    before: object, after: JobState, fields: dict[str, object], expected: dict[str, object]
) -> None:
    known = workload(before)  # type: ignore[arg-type]
    known.apply(change(after, **fields), at(5))
    assert {name: getattr(known.jobs[1], name) for name in expected} == expected


def test_an_attempt_from_plan_to_end() -> None:
    known = workload(job(1))
    known.apply(AttemptPlanned(attempt=attempt()), NOW)
    assert (known.jobs[1].state, known.jobs[1].attempts, known.queue_length) == (JobState.ACTIVE, 1, 0)
    known.apply(AttemptPlanned(attempt=attempt(session="other")), NOW)
    assert known.attempts[1, 1].session == "other", "the same attempt under another name"
    known.apply(AttemptLaunching(job_id=1, number=1), NOW)
    known.apply(AttemptStarted(job_id=1, number=1, runner_pid=7, started_at=at(2)), at(3))
    live = known.live_attempt(1)
    assert live is not None
    assert live.phase == Running(started_at=at(2), runner_pid=7)
    assert known.jobs[1].started_at == at(2)
    known.apply(AttemptEnded(job_id=1, number=1, ended=OVER), at(4))
    assert known.attempts == {}
    known.apply(change(JobState.SUCCEEDED), at(4))
    assert known.live_attempt(1) is None


def test_a_quarantined_attempt_stays_until_that_is_lifted() -> None:
    known = workload(job(1))
    known.apply(AttemptPlanned(attempt=attempt()), NOW)
    known.apply(AttemptEnded(job_id=1, number=1, ended=OVER, quarantined=(5,)), NOW)
    known.apply(change(JobState.QUEUED), NOW)
    known.apply(AttemptPlanned(attempt=attempt(number=2)), NOW)
    assert known.attempts.keys() == {(1, 1), (1, 2)}
    known.apply(QuarantineLifted(job_id=1, number=1), NOW)
    assert known.attempts.keys() == {(1, 2)}
    _, _, attempts = known.take_changes()
    assert {one.number: one.live for one in attempts} == {1: False, 2: True}


def test_changes_are_kept_until_they_are_saved() -> None:
    known = workload(job(1), job(2))
    known.apply(change(JobState.HELD), NOW)
    known.apply(Notice(text="x"), NOW)
    for _ in range(2):
        payloads, jobs, attempts = known.take_changes()
        assert ([type(payload) for payload in payloads], [one.id for one in jobs], attempts) == (
            [JobChanged, Notice],
            [1],
            [],
        )
    known.changes_saved()
    assert not known.changed
    assert known.take_changes() == ([], [], [])


def test_a_backoff_that_is_over_is_no_reason_to_wake() -> None:
    known = workload(job(1, not_before=at(-5)), job(2, not_before=at(7)), job(3, not_before=at(9)), job(4))
    assert known.next_backoff_end(NOW) == at(7)
    assert known.next_backoff_end(at(8)) == at(9)
    assert known.next_backoff_end(at(9)) is None


def test_a_job_that_no_longer_waits_for_another_is_no_dependent_of_it() -> None:
    known = workload(job(1), job(2, after=(1,)), job(3))
    known.apply(JobRespecified(job_id=2, job=job(2, after=(3,))), NOW)
    assert {up: down for up, down in known.dependents.items() if down} == {3: {2}}


@given(st.lists(st.sampled_from(["a.b", "a_b", "a b", "a:b", "é", "a", "x" * 120]) | st.text(min_size=1, max_size=4)))
def test_slugs_are_unique_whatever_the_names(names: list[str]) -> None:
    known = Workload()
    for number, name in enumerate(names, 1):
        one = spec(name.encode("utf-8", "replace").decode(), key=str(number))
        new = replace(job(number), spec=one, slug=known.unique_slug(one))
        known.apply(JobSubmitted(job=new), NOW)
    assert len({one.slug for one in known.jobs.values()}) == len(names)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "change", "respecify", "plan", "end"]),
        st.integers(1, 6),
        st.sampled_from(list(JobState)),
        st.integers(-2, 2),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_queue_and_indexes_stay_right_under_any_events(
    events: list[tuple[str, int, JobState, int, bool]],
) -> None:
    known = Workload()
    for second, (kind, number, state, priority, flag) in enumerate(events):
        _apply(known, kind, number, state, priority, flag, second)
        _queue_is_right(known)
    again = Workload(known.jobs.values(), known.attempts.values(), known.next_job_id)
    _queue_is_right(again)
    assert list(again.queued()) == list(known.queued()), "what is read from disk is in the same order"


def _apply(known: Workload, kind: str, number: int, state: JobState, priority: int, flag: bool, second: int) -> None:
    old = known.jobs.get(number)
    if kind == "submit" and old is None:
        start = JobState.HELD if flag else JobState.QUEUED
        after = (number - 1,) if priority > 0 else ()
        new = job(number, start, queued_s=second, priority=priority, gpus=abs(priority), after=after)
        known.apply(JobSubmitted(job=new), at(second))
    elif old is None:
        return
    elif kind == "respecify":
        new_spec = spec(old.name, priority=priority, gpus=int(flag), after=(6,) if flag else ())
        known.apply(JobRespecified(job_id=number, job=replace(old, spec=new_spec)), at(second))
    elif kind == "change" and state in TRANSITIONS[old.state] and JobState.ACTIVE not in (state, old.state):
        not_before = at(second + priority) if flag and state is JobState.QUEUED else None
        known.apply(JobChanged(job_id=number, state=state, reason=WHY, not_before=not_before), at(second))
    elif kind == "plan" and old.state is JobState.QUEUED:
        known.apply(AttemptPlanned(attempt=attempt(number, old.attempts + 1)), at(second))
        check_workload(known)
    elif kind == "end" and old.state is JobState.ACTIVE:
        known.apply(AttemptEnded(job_id=number, number=old.attempts, ended=OVER), at(second))
        known.apply(
            JobChanged(job_id=number, state=JobState.QUEUED if flag else JobState.FAILED, reason=WHY), at(second)
        )
        check_workload(known)


@pytest.mark.parametrize(
    ("state", "attempts", "finished"),
    [(JobState.SUCCEEDED, 2, 2), (JobState.FAILED, 2, 0), (JobState.QUEUED, 2, 0)],
)
def test_only_a_success_finishes_a_series_of_attempts(state: JobState, attempts: int, finished: int) -> None:
    known = workload(job(1, JobState.ACTIVE, attempts=attempts))
    known.apply(change(state), NOW)
    assert known.jobs[1].succeeded_attempt == finished
    if state is JobState.SUCCEEDED:
        known.apply(change(JobState.QUEUED), NOW)
        assert known.jobs[1].succeeded_attempt == finished, "a rerun does not forget it"
