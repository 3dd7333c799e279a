"""Every condition with every mixture of ends of what a job needs."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.job import Condition, Job, JobState
from researchflow_tmux.policies.conditions import Standing, failed, standing, why_skipped, why_waiting
from researchflow_tmux.policies.conditions import blocking as blocking_of
from tests.unit.engine.samples import job, spec

MET, OPEN, NEVER = Standing.MET, Standing.OPEN, Standing.NEVER
S, F, C, K = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED
Q, A, H = JobState.QUEUED, JobState.ACTIVE, JobState.HELD


def world(*states: JobState) -> dict[int, Job]:
    return {number: job(number, state) for number, state in enumerate(states, 1)}


@pytest.mark.parametrize(
    ("states", "success", "failure", "always"),
    [
        ((S,), MET, NEVER, MET),
        ((F,), NEVER, MET, MET),
        ((C,), NEVER, NEVER, MET),
        ((K,), NEVER, NEVER, MET),
        ((Q,), OPEN, OPEN, OPEN),
        ((A,), OPEN, OPEN, OPEN),
        ((H,), OPEN, OPEN, OPEN),
        ((S, S), MET, NEVER, MET),
        ((S, F), NEVER, MET, MET),
        ((S, C), NEVER, NEVER, MET),
        ((S, Q), OPEN, OPEN, OPEN),
        ((F, Q), NEVER, OPEN, OPEN),
        ((F, A), NEVER, OPEN, OPEN),
        ((C, H), NEVER, OPEN, OPEN),
        ((F, K, C), NEVER, MET, MET),
    ],
)
def test_conditions(states: tuple[JobState, ...], success: Standing, failure: Standing, always: Standing) -> None:
    jobs = world(*states)
    cases: list[tuple[Condition, Standing]] = [("success", success), ("failure", failure), ("always", always)]
    for when, expected in cases:
        one = spec("x", after=tuple(jobs), when=when)
        assert standing(jobs, one) is expected, when
        assert bool(blocking_of(jobs, one)) is (expected is not MET), when


@pytest.mark.parametrize("when", ["success", "failure", "always"])
def test_what_was_cleaned_away_keeps_nothing_from_starting(when: Condition) -> None:
    assert standing({}, spec("x", after=(7,), when=when)) is MET
    assert standing({}, spec("x", when=when)) is MET


def test_skipped_because_of_a_failure_counts_as_failed_and_because_of_a_cancellation_does_not() -> None:
    jobs = {1: job(1, F), 2: job(2, K, after=(1,)), 3: job(3, K, after=(2,)), 4: job(4, C), 5: job(5, K, after=(4,))}
    assert [failed(jobs, one) for one in jobs.values()] == [True, True, True, False, False]
    assert standing(jobs, spec("x", after=(3,), when="failure")) is MET
    assert standing(jobs, spec("x", after=(5,), when="failure")) is NEVER


def test_a_long_chain_and_a_wide_lattice_are_looked_through_once() -> None:
    jobs = {1: job(1, S)}
    for number in range(2, 3000):
        jobs[number] = job(number, K, after=tuple({number - 1, max(number - 2, 1)}))
    assert not failed(jobs, jobs[2999])


def test_reasons_in_words() -> None:
    jobs = world(S, F, Q)
    one, heir = spec("x", after=(1, 2, 3), when="failure"), spec("y", after=(1, 2))
    assert str(why_waiting(blocking_of(jobs, one), one)) == "waits for: j3 (queued)"
    assert str(why_skipped(jobs, heir)) == "an earlier job did not succeed: j2 (failed)"
    good = world(S, C)
    never = spec("z", after=(1, 2), when="failure")
    assert str(why_skipped(good, never)) == "nothing that it waits for failed: j1 (succeeded), j2 (cancelled)"
    words = str(why_waiting(blocking_of(good, never), never))
    assert words == "waits for: one of these to fail: j1 (succeeded), j2 (cancelled)"
