"""What becomes of a job when one of its attempts has ended: the named policies under which it may run again."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

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
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.policies import ram
from researchflow_tmux.policies.memory_growth import Growth

MAX_BACKOFF_S = 3600.0
MAX_LAUNCH_FAILURES = 6
"""Launches in a row that tmux or the machine refused before the job is given up: about a minute of trying."""
MAX_SLOT_WAIT_S = 15.0
"""Longest wait for a slot that others hold: they may let go at any moment."""
OWN_LIMIT = "limit"
"""Evidence of a job that was stopped at its own memory limit: the same limit would stop it again."""
LONGEST_SHOWN = 160
GPU_LOST = "gpu_lost"
"""Who stopped an attempt whose GPU was lost."""
MAX_GPU_LOSSES = 3
"""How often a job goes to another GPU because it lost one: a job that breaks GPUs must not get all of them."""
BUDGET = "budget"
"""Who ended an attempt whose budget was used up."""
CANCELLING = frozenset({"user", "session_killed", "scheduler"})


def backoff_s(first_s: float, tries: int, most_s: float = MAX_BACKOFF_S) -> float:
    """Seconds before try number `tries` + 1 (tries >= 0): `first_s` doubled each time, up to `most_s`."""
    return min(first_s * 2.0 ** min(tries, 30), most_s)


def in_backoff(job: Job, now: datetime) -> bool:
    """Whether the job still waits before its next try.

    No wait is longer than an hour. One that seems to be was begun before the clock was set back: the job goes on.
    """
    return job.not_before is not None and now < job.not_before <= now + timedelta(seconds=MAX_BACKOFF_S)


def why(outcome: Outcome) -> Reason:
    """The outcome in words."""
    match outcome:
        case Exited():
            return _exited(outcome)
        case UpToDate():
            return Reason(code=ReasonCode.UP_TO_DATE)
        case Killed():
            return _killed(outcome)
        case TimedOut(limit_s=limit_s):
            return Reason(code=ReasonCode.TIME_LIMIT, text=f"{limit_s:g} s" if limit_s else "")
        case OutOfMemory(where=where, line=line):
            return Reason(code=ReasonCode.OUT_OF_MEMORY, text=f"{_MEMORY[where]}: {shortened(line)}")
        case LaunchFailed(reason=text):
            return Reason(code=ReasonCode.LAUNCH_FAILED, text=text)
        case SlotTaken(reason=text):
            return Reason(code=ReasonCode.SLOT_TAKEN, text=text)
        case Lost(why=text):
            return Reason(code=ReasonCode.LOST, text=text)


_MEMORY = {"gpu": "GPU", "ram": "RAM"}
_BY = {"user": "by hand", "session_killed": "its tmux session was closed", "scheduler": "kill-all"}


def _killed(outcome: Killed) -> Reason:
    if outcome.by in CANCELLING:
        return Reason(code=ReasonCode.CANCELLED, text=_BY[outcome.by])
    if outcome.by == BUDGET:
        return Reason(code=ReasonCode.BUDGET, text="what it was granted is used up")
    if outcome.by == GPU_LOST:
        return Reason(code=ReasonCode.GPU_LOST, text="the GPU it ran on")
    if outcome.by == PREEMPTED:
        return Reason(code=ReasonCode.PREEMPTED, text=outcome.room_for)
    if outcome.by == ram.STOPPED_BY:
        return Reason(code=ReasonCode.RAM, text="it was stopped to make room")
    return Reason(code=ReasonCode.SIGNALLED, text=f"signal {outcome.signal}" if outcome.signal else outcome.by)


def _exited(outcome: Exited) -> Reason:
    if outcome.succeeded:
        return Reason(code=ReasonCode.SUCCEEDED, text="its marker appeared" if outcome.by_marker else _odd(outcome))
    if outcome.verified is False:
        return Reason(code=ReasonCode.NOT_VERIFIED, text=outcome.verify)
    if outcome.unmade:
        return Reason(code=ReasonCode.NO_OUTPUT, text=", ".join(outcome.unmade))
    if outcome.code == 0:
        return Reason(code=ReasonCode.NO_MARKER, text="exit code 0")
    if outcome.code is None:  # the marker alone is not enough under `marker_and_exit`
        return Reason(code=ReasonCode.EXIT_CODE, text="its marker appeared, but it did not end by itself")
    return Reason(code=ReasonCode.EXIT_CODE, text=f"exit code {outcome.code}")


def _odd(outcome: Exited) -> str:
    """What is remarkable about a success."""
    if outcome.code == 0:
        return "verified" if outcome.verified else ""
    how = "ended by a signal" if outcome.code is None else f"exit code {outcome.code}"
    if outcome.verified:
        return f"verified, {how}"
    return f"marker written, {how}" if outcome.marker else how


def is_success(outcome: Outcome) -> bool:
    """Whether an attempt that ended so ended well."""
    return isinstance(outcome, UpToDate) or (isinstance(outcome, Exited) and outcome.succeeded)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how soon jobs are tried again, as the settings say."""

    retry_delay_s: float = 10.0
    restart_lost: bool = False
    oom_retries: int = 3


def after(
    job: Job,
    outcome: Outcome,
    *,
    requeue: bool,
    limits: Limits,
    growth: Growth | None = None,
    lost_gpu: bool = False,
    now: datetime,
) -> JobChanged:
    """The one place that decides whether a job runs again.

    Named policies: `retry` (spec.retries after a failure), `oom_retries` (out of memory, counted apart, with the memory
    that `growth` says), `restart_lost`, a slot taken by others and launches the host refused (neither ran anything),
    a stop because the machine's memory ran short, the loss of its GPU (`lost_gpu` = one that it ran on is lost now),
    a stop to make room for a more urgent job (it keeps its place), and `requeue` by hand. One that was ended because
    its budget was used up is held until there is more.
    """
    reason = why(outcome)

    def queue(delay_s: float, **counts: int) -> JobChanged:
        return _queued(job, str(reason), delay_s, now, **counts)

    if is_success(outcome):
        return _ended(job, JobState.SUCCEEDED, reason, outcome)
    if requeue:
        return queue(0.0, retries_used=0, ooms=0, preemptions=0, gpu_memory_mib=0, memory_mib=0)
    if isinstance(outcome, Killed) and outcome.by == PREEMPTED:
        return _preempted(job, reason)
    again = _gpu_was_lost(job, outcome, lost_gpu=lost_gpu) or _not_its_fault(job, outcome, limits)
    if again is not None:
        delay_s, counts = again
        return queue(delay_s, **counts)
    match outcome:
        case Killed(by=by) if by in CANCELLING:
            return _ended(job, JobState.CANCELLED, reason, outcome)
        case Killed(by="budget"):
            return JobChanged(job_id=job.id, state=JobState.HELD, reason=reason, launch_failures=0)
        case OutOfMemory() if outcome.evidence != OWN_LIMIT:
            return _after_oom(job, outcome, reason, growth, limits, now)
        case Exited() | Killed() | TimedOut() | OutOfMemory() if job.retries_used < job.spec.retries:
            return queue(backoff_s(limits.retry_delay_s, job.retries_used), retries_used=job.retries_used + 1)
        case _:
            return _ended(job, JobState.FAILED, reason, outcome)


def _not_its_fault(job: Job, outcome: Outcome, limits: Limits) -> tuple[float, dict[str, int]] | None:
    """(seconds to wait, counts) after an end that was not the job's doing and costs it no retry."""
    refusals = job.launch_failures
    match outcome:
        case SlotTaken():
            return min(1.0 + job.slot_waits, MAX_SLOT_WAIT_S), {"slot_waits": job.slot_waits + 1}
        case LaunchFailed(host=True) if refusals + 1 < MAX_LAUNCH_FAILURES:
            return backoff_s(1.0, refusals, 60.0), {"launch_failures": refusals + 1}
        case Lost() if limits.restart_lost:
            return backoff_s(limits.retry_delay_s, 0), {}
        case Killed(by=ram.STOPPED_BY):
            return backoff_s(ram.FIRST_WAIT_S, max(job.ram_stops - 1, 0)), {}
        case _:
            return None


def _gpu_was_lost(job: Job, outcome: Outcome, *, lost_gpu: bool) -> tuple[float, dict[str, int]] | None:
    """As `_not_its_fault`: stopped because its GPU was lost, or it died of that before anybody stopped it."""
    if isinstance(outcome, Killed) and outcome.by in CANCELLING:
        return None
    died_of_it = (isinstance(outcome, Killed) and outcome.by == GPU_LOST) or (
        lost_gpu and isinstance(outcome, Exited | Killed | OutOfMemory)
    )
    return (0.0, {"gpu_losses": job.gpu_losses + 1}) if died_of_it and job.gpu_losses < MAX_GPU_LOSSES else None


def _preempted(job: Job, reason: Reason) -> JobChanged:
    """Back to where it was in the queue, with all its tries."""
    change = JobChanged(job_id=job.id, state=JobState.QUEUED, reason=reason, launch_failures=0)
    return msgspec.structs.replace(change, preemptions=job.preemptions + 1, keeps_place=True)


def _queued(job: Job, text: str, delay_s: float, now: datetime, **counts: int | None) -> JobChanged:
    until = now + timedelta(seconds=delay_s) if delay_s else None
    reason = Reason(code=ReasonCode.BACKOFF if until else ReasonCode.REQUEUED, text=text, until=until)
    change = JobChanged(job_id=job.id, state=JobState.QUEUED, reason=reason, not_before=until, launch_failures=0)
    return msgspec.structs.replace(change, **counts)


def _after_oom(
    job: Job, outcome: OutOfMemory, reason: Reason, growth: Growth | None, limits: Limits, now: datetime
) -> JobChanged:
    if job.ooms >= limits.oom_retries:
        return _ended(job, JobState.FAILED, _given_up(job, reason, growth), outcome)
    delay_s = backoff_s(limits.retry_delay_s, job.ooms)
    growth = growth or Growth()
    text = str(reason) + _next_words(growth)
    grown = {"gpu_memory_mib": growth.gpu_memory_mib, "memory_mib": growth.memory_mib}
    return _queued(job, text, delay_s, now, ooms=job.ooms + 1, **grown)


def _ended(job: Job, state: JobState, reason: Reason, outcome: Outcome) -> JobChanged:
    code = outcome.code if isinstance(outcome, Exited | OutOfMemory) else None
    return JobChanged(job_id=job.id, state=state, reason=reason, exit_code=code, launch_failures=0)


def _next_words(growth: Growth) -> str:
    if growth.memory_mib is not None:
        return f"; it is promised {growth.memory_mib / 1024:.3g} GiB of RAM next"
    if growth.largest:
        return "; it had the largest GPU for itself"
    return "" if growth.gpu_memory_mib is None else f"; it gets {growth.gpu_memory_mib / 1024:.3g} GiB next"


def _given_up(job: Job, reason: Reason, growth: Growth | None) -> Reason:
    """The last word on a job that ran out of memory too often."""
    tries = f"{job.ooms + 1} times in a row" if job.ooms else "and oom_retries is 0"
    largest = ", at last with the largest GPU for itself" if growth is not None and growth.largest else ""
    return msgspec.structs.replace(reason, text=f"{reason.text} ({tries}{largest})")


def shortened(line: str) -> str:
    """A line of output in the length that a table can show."""
    return line if len(line) <= LONGEST_SHOWN else line[: LONGEST_SHOWN - 1] + "…"
