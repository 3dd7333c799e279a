"""What becomes of a job by how its attempt ended: every outcome under every policy."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import (
    PREEMPTED,
    Exited,
    Killed,
    LaunchFailed,
    Lost,
    Outcome,
    OutOfMemory,
    SlotTaken,
    TimedOut,
    UpToDate,
)
from researchflow_tmux.domain.events import JobChanged
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.policies.memory_growth import Growth
from researchflow_tmux.policies.retry import MAX_LAUNCH_FAILURES, Limits, after, backoff_s, in_backoff, why
from tests.unit.engine.samples import NOW, at, job

OK = Exited(code=0, succeeded=True)
BAD = Exited(code=3, succeeded=False)
QUEUED, DONE, FAILED, CANCELLED = JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
REFUSED = LaunchFailed(reason="no pty", host=True)
NOT_FOUND = LaunchFailed(reason="no such file", host=False)
TAKEN = SlotTaken(reason="bob")
FULL = OutOfMemory(where="gpu", line="CUDA out of memory", evidence="log", code=1)


def ended(
    outcome: Outcome,
    before: Job | None = None,
    *,
    requeue: bool = False,
    lost: bool = False,
    growth: Growth | None = None,
) -> JobChanged:
    known = before or job(1, JobState.ACTIVE)
    limits = Limits(retry_delay_s=10.0, restart_lost=lost, oom_retries=2)
    return after(known, outcome, requeue=requeue, limits=limits, growth=growth, now=NOW)


@pytest.mark.parametrize(
    ("outcome", "plain", "with_retries", "restart_lost", "requeued"),
    [
        (OK, DONE, DONE, DONE, DONE),
        (Exited(code=1, succeeded=True, by_marker=True), DONE, DONE, DONE, DONE),
        (UpToDate(), DONE, DONE, DONE, DONE),
        (BAD, FAILED, QUEUED, FAILED, QUEUED),
        (Exited(code=0, succeeded=False, unmade=("x",)), FAILED, QUEUED, FAILED, QUEUED),
        (Exited(code=0, succeeded=False), FAILED, QUEUED, FAILED, QUEUED),
        (Killed(by="user", signal=15), CANCELLED, CANCELLED, CANCELLED, QUEUED),
        (Killed(by="session_killed"), CANCELLED, CANCELLED, CANCELLED, QUEUED),
        (Killed(by="scheduler"), CANCELLED, CANCELLED, CANCELLED, QUEUED),
        (Killed(by="signal", signal=9), FAILED, QUEUED, FAILED, QUEUED),
        (TimedOut(limit_s=5.0), FAILED, QUEUED, FAILED, QUEUED),
        (FULL, QUEUED, QUEUED, QUEUED, QUEUED),
        (OutOfMemory(where="ram", line="8.1 GiB of 8 GiB", evidence="limit"), FAILED, QUEUED, FAILED, QUEUED),
        (REFUSED, QUEUED, QUEUED, QUEUED, QUEUED),
        (NOT_FOUND, FAILED, FAILED, FAILED, QUEUED),
        (TAKEN, QUEUED, QUEUED, QUEUED, QUEUED),
        (Lost(), FAILED, FAILED, QUEUED, QUEUED),
    ],
)
def test_every_outcome_under_every_policy(
    outcome: Outcome, plain: JobState, with_retries: JobState, restart_lost: JobState, requeued: JobState
) -> None:
    assert ended(outcome).state is plain
    assert ended(outcome, job(1, JobState.ACTIVE, retries=2, retries_used=1)).state is with_retries
    assert ended(outcome, job(1, JobState.ACTIVE, retries=2, retries_used=2)).state is plain, "all used up"
    assert ended(outcome, lost=True).state is restart_lost
    assert ended(outcome, requeue=True).state is requeued


@pytest.mark.parametrize(
    ("outcome", "before", "wait_s", "used", "failures", "slot_waits"),
    [
        (BAD, {"retries": 3}, 10.0, 1, 0, 0),
        (BAD, {"retries": 3, "retries_used": 2}, 40.0, 3, 0, 0),
        (BAD, {"retries": 99, "retries_used": 50}, 3600.0, 51, 0, 0),
        (BAD, {"retries": 3, "launch_failures": 4, "slot_waits": 4}, 10.0, 1, 0, 0),
        (REFUSED, {}, 1.0, None, 1, 0),
        (REFUSED, {"launch_failures": 3}, 8.0, None, 4, 0),
        (REFUSED, {"slot_waits": 30}, 1.0, None, 1, 0),
        (TAKEN, {}, 1.0, None, 0, 1),
        (TAKEN, {"slot_waits": 3}, 4.0, None, 0, 4),
        (TAKEN, {"slot_waits": 300}, 15.0, None, 0, 301),
        (TAKEN, {"launch_failures": 5}, 1.0, None, 0, 1),
    ],
)
def test_how_long_it_waits_and_what_it_costs(
    outcome: Outcome, before: dict[str, int], wait_s: float, used: int | None, failures: int, slot_waits: int
) -> None:
    change = ended(outcome, job(1, JobState.ACTIVE, **before))
    assert change.not_before == at(wait_s)
    assert change.reason.until == at(wait_s)
    assert (change.retries_used, change.launch_failures, change.slot_waits) == (used, failures, slot_waits)


@pytest.mark.parametrize(("failures", "state"), [(MAX_LAUNCH_FAILURES - 2, QUEUED), (MAX_LAUNCH_FAILURES - 1, FAILED)])
def test_refused_launches_are_bounded(failures: int, state: JobState) -> None:
    assert ended(REFUSED, job(1, JobState.ACTIVE, launch_failures=failures)).state is state


def test_requeued_by_hand_starts_at_once_with_all_its_retries() -> None:
    change = ended(BAD, job(1, JobState.ACTIVE, retries=1, retries_used=1), requeue=True)
    assert (change.not_before, change.retries_used) == (None, 0)


def test_who_made_room_keeps_its_place_and_its_tries() -> None:
    before = replace(job(1, JobState.ACTIVE), retries_used=1, preemptions=2)
    change = ended(Killed(by=PREEMPTED, room_for="paper"), before)
    assert (change.state, change.keeps_place, change.not_before) == (QUEUED, True, None)
    assert (change.retries_used, change.preemptions) == (None, 3)
    assert str(change.reason) == "made room for something more urgent: paper"
    assert ended(Killed(by=PREEMPTED), before, requeue=True).preemptions == 0


@pytest.mark.parametrize(("tries", "expected"), [(0, 2.0), (1, 4.0), (5, 64.0), (11, 3600.0), (10_000, 3600.0)])
def test_backoff_doubles_up_to_an_hour(tries: int, expected: float) -> None:
    assert backoff_s(2.0, tries) == expected


@pytest.mark.parametrize(
    ("ahead_s", "expected"), [(None, False), (-1, False), (0, False), (1, True), (3600, True), (3601, False)]
)
def test_a_backoff_ends_by_time_or_by_a_clock_set_back(ahead_s: float | None, expected: bool) -> None:
    assert in_backoff(job(1, not_before=None if ahead_s is None else at(ahead_s)), NOW) is expected


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (OK, "succeeded"),
        (Exited(code=1, succeeded=True, marker=True), "succeeded: marker written, exit code 1"),
        (Exited(code=1, succeeded=True), "succeeded: exit code 1"),
        (Exited(code=None, succeeded=True), "succeeded: ended by a signal"),
        (Exited(code=0, succeeded=True, verified=True), "succeeded: verified"),
        (Exited(code=1, succeeded=True, verified=True, marker=True), "succeeded: verified, exit code 1"),
        (Exited(code=0, succeeded=False, verified=False, verify="exit 3: no file"), "not verified: exit 3: no file"),
        (Exited(code=None, succeeded=True, by_marker=True), "succeeded: its marker appeared"),
        (BAD, "failed: exit code 3"),
        (
            Exited(code=None, succeeded=False, by_marker=True),
            "failed: its marker appeared, but it did not end by itself",
        ),
        (Exited(code=0, succeeded=False), "ended without its completion marker: exit code 0"),
        (Exited(code=0, succeeded=False, unmade=("a.pt", "b")), "ended without its output: a.pt, b"),
        (UpToDate(), "up to date"),
        (Killed(by="user"), "cancelled: by hand"),
        (Killed(by="session_killed"), "cancelled: its tmux session was closed"),
        (Killed(by="scheduler"), "cancelled: kill-all"),
        (Killed(by="signal", signal=9), "killed: signal 9"),
        (TimedOut(limit_s=90.0), "ran into its time limit: 90 s"),
        (FULL, "out of memory: GPU: CUDA out of memory"),
        (REFUSED, "could not be launched: no pty"),
        (TAKEN, "slot taken by somebody else: bob"),
        (Lost(why="its runner was killed"), "lost: its runner was killed"),
    ],
)
def test_words(outcome: Outcome, words: str) -> None:
    assert str(why(outcome)) == words


@pytest.mark.parametrize(
    ("ooms", "growth", "state", "memory_mib", "words"),
    [
        (0, None, QUEUED, None, "GPU: CUDA out of memory"),
        (0, Growth(gpu_memory_mib=18432), QUEUED, 18432, "; it gets 18 GiB next"),
        (1, Growth(gpu_memory_mib=24576, largest=True), QUEUED, 24576, "; it had the largest GPU for itself"),
        (2, Growth(gpu_memory_mib=24576), FAILED, None, "(3 times in a row)"),
        (2, Growth(gpu_memory_mib=1, largest=True), FAILED, None, "(3 times in a row, at last with the largest GPU"),
    ],
)
def test_out_of_memory_is_tried_with_more_room_up_to_its_own_cap(
    ooms: int, growth: Growth | None, state: JobState, memory_mib: int | None, words: str
) -> None:
    change = ended(FULL, job(1, JobState.ACTIVE, retries=5, retries_used=1, ooms=ooms), growth=growth)
    assert (change.state, change.gpu_memory_mib) == (state, memory_mib)
    assert words in str(change.reason)
    assert change.retries_used is None, "other retries are counted apart"
    if state is QUEUED:
        assert change.ooms == ooms + 1
        assert change.not_before == at(10.0 * 2**ooms)
    else:
        assert (change.reason.code, change.exit_code) == ("out_of_memory", 1)


def test_requeued_by_hand_an_oom_job_asks_for_what_it_asked_for_at_first() -> None:
    change = ended(FULL, job(1, JobState.ACTIVE, ooms=2, gpu_memory_mib=9), requeue=True, growth=Growth())
    assert (change.state, change.ooms, change.gpu_memory_mib) == (QUEUED, 0, 0)
