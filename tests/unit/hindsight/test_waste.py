"""What was computed for nothing: told attempt by attempt, against what a person would say."""

from __future__ import annotations

from datetime import timedelta

import pytest

from researchflow_tmux.domain.attempt import Attempt, Exited, Killed, LaunchFailed, OutOfMemory, UpToDate
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.hindsight.spans import spans_of
from researchflow_tmux.hindsight.waste import wasted_s
from tests.pasts import NOW, attempt, job

FAILED = Exited(code=1, succeeded=False)
OOM = OutOfMemory(where="gpu", line="out of memory")
PREEMPTED = Killed(by="preempted")


def chain(*lengths: tuple[float, object], resumed: dict[int, float | None] | None = None) -> list[Attempt]:
    """Attempts of job 1 one after another: (seconds, outcome; None = runs). `resumed` = by number, what was lost."""
    found, at = [], NOW - timedelta(hours=10)
    for number, (seconds, outcome) in enumerate(lengths, 1):
        end = at + timedelta(seconds=seconds)
        more = {"resumed_step": 5, "lost_s": resumed[number]} if resumed and number in resumed else {}
        runs = outcome is None
        found.append(attempt(1, number, begin=at, end=None if runs else end, outcome=outcome, **more))  # type: ignore[arg-type]
        at = end
    return found


def wasted(attempts: list[Attempt], state: JobState) -> dict[int, float]:
    jobs = {1: job(1, state=state, attempts=len(attempts))}
    return {number: seconds for (_, number), seconds in wasted_s(spans_of(jobs, attempts, NOW), jobs).items()}


OK = Exited(code=0, succeeded=True)


def test_a_success_wastes_nothing() -> None:
    assert wasted(chain((100, OK)), JobState.SUCCEEDED) == {}
    assert wasted(chain((1, UpToDate())), JobState.SUCCEEDED) == {}


def test_what_failed_before_a_success_that_began_anew_is_wasted() -> None:
    assert wasted(chain((30, FAILED), (40, OOM), (100, OK)), JobState.SUCCEEDED) == {1: 30, 2: 40}


@pytest.mark.parametrize("outcome", [FAILED, OOM, PREEMPTED])
def test_of_what_a_success_took_over_only_the_rest_after_the_checkpoint_is_wasted(outcome: object) -> None:
    assert wasted(chain((30, outcome), (100, OK), resumed={2: 12.0}), JobState.SUCCEEDED) == {1: 12}


def test_where_nobody_knows_how_much_the_checkpoint_lacks_all_counts() -> None:
    assert wasted(chain((30, FAILED), (100, OK), resumed={2: None}), JobState.SUCCEEDED) == {1: 30}


def test_more_than_it_ran_cannot_be_lost() -> None:
    assert wasted(chain((30, FAILED), (100, OK), resumed={2: 99.0}), JobState.SUCCEEDED) == {1: 30}


def test_what_was_saved_is_wasted_if_the_job_fails_in_the_end() -> None:
    attempts = chain((30, PREEMPTED), (40, FAILED), resumed={2: 12.0})
    assert wasted(attempts, JobState.FAILED) == {1: 30, 2: 40}


def test_what_was_saved_is_wasted_if_a_later_attempt_begins_anew() -> None:
    attempts = chain((30, PREEMPTED), (40, FAILED), (100, OK), resumed={2: 12.0})
    assert wasted(attempts, JobState.SUCCEEDED) == {1: 30, 2: 40}


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.HELD])
def test_what_may_still_be_taken_over_is_not_wasted_yet(state: JobState) -> None:
    assert wasted(chain((30, FAILED)), state) == {}


def test_what_runs_wastes_nothing_yet_and_what_it_took_over_neither() -> None:
    assert wasted(chain((30, PREEMPTED), (1, None), resumed={2: 3.0}), JobState.ACTIVE) == {1: 3}


def test_what_was_cancelled_was_for_nothing() -> None:
    assert wasted(chain((30, Killed(by="user"))), JobState.CANCELLED) == {1: 30}


def test_what_never_started_wasted_nothing() -> None:
    never = attempt(1, 1, begin=None, end=NOW, outcome=LaunchFailed(reason="gone"))
    assert wasted([never], JobState.FAILED) == {}


def test_after_a_success_a_new_try_counts_for_itself() -> None:
    assert wasted(chain((50, OK), (20, FAILED)), JobState.FAILED) == {2: 20}
