"""What becomes of a job when one of its attempts has ended: the named policies under which it may run again."""

from __future__ import annotations

from datetime import datetime, timedelta

from researchflow_tmux.domain.attempt import Exited, Killed, LaunchFailed, Lost, Outcome, SlotTaken, TimedOut, UpToDate
from researchflow_tmux.domain.events import JobChanged
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode

MAX_BACKOFF_S = 3600.0
MAX_LAUNCH_FAILURES = 6
"""Launches in a row that tmux or the machine refused before the job is given up: about a minute of trying."""
MAX_SLOT_WAIT_S = 15.0
"""Longest wait for a slot that others hold: they may let go at any moment."""
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
        case Killed(by=by) if by in CANCELLING:
            return Reason(code=ReasonCode.CANCELLED, text=_BY[by])
        case Killed(by=by, signal=signal):
            return Reason(code=ReasonCode.SIGNALLED, text=f"signal {signal}" if signal else by)
        case TimedOut(limit_s=limit_s):
            return Reason(code=ReasonCode.TIME_LIMIT, text=f"{limit_s:g} s" if limit_s else "")
        case LaunchFailed(reason=text):
            return Reason(code=ReasonCode.LAUNCH_FAILED, text=text)
        case SlotTaken(reason=text):
            return Reason(code=ReasonCode.SLOT_TAKEN, text=text)
        case Lost(why=text):
            return Reason(code=ReasonCode.LOST, text=text)


_BY = {"user": "by hand", "session_killed": "its tmux session was closed", "scheduler": "kill-all"}


def _exited(outcome: Exited) -> Reason:
    if outcome.succeeded:
        odd = "" if outcome.code == 0 else f"marker written, exit code {outcome.code}"
        return Reason(code=ReasonCode.SUCCEEDED, text="its marker appeared" if outcome.by_marker else odd)
    if outcome.unmade:
        return Reason(code=ReasonCode.NO_OUTPUT, text=", ".join(outcome.unmade))
    if outcome.code == 0:
        return Reason(code=ReasonCode.NO_MARKER, text="exit code 0")
    if outcome.code is None:  # the marker alone is not enough under `marker_and_exit`
        return Reason(code=ReasonCode.EXIT_CODE, text="its marker appeared, but it did not end by itself")
    return Reason(code=ReasonCode.EXIT_CODE, text=f"exit code {outcome.code}")


def is_success(outcome: Outcome) -> bool:
    """Whether an attempt that ended so ended well."""
    return isinstance(outcome, UpToDate) or (isinstance(outcome, Exited) and outcome.succeeded)


def after(
    job: Job, outcome: Outcome, *, requeue: bool, retry_delay_s: float, restart_lost: bool, now: datetime
) -> JobChanged:
    """The one place that decides whether a job runs again.

    Named policies: `retry` (spec.retries after a failure), `restart_lost`, a slot taken by others and launches the
    host refused (neither ran anything), and `requeue` by hand.
    """
    reason = why(outcome)

    def queue(delay_s: float, *, retries: int | None = None, failures: int = 0, slot_waits: int = 0) -> JobChanged:
        until = now + timedelta(seconds=delay_s) if delay_s else None
        return JobChanged(
            job_id=job.id,
            state=JobState.QUEUED,
            reason=Reason(code=ReasonCode.BACKOFF if until else ReasonCode.REQUEUED, text=str(reason), until=until),
            not_before=until,
            retries_used=retries,
            launch_failures=failures,
            slot_waits=slot_waits,
        )

    def end(state: JobState) -> JobChanged:
        code = outcome.code if isinstance(outcome, Exited) else None
        return JobChanged(job_id=job.id, state=state, reason=reason, exit_code=code, launch_failures=0)

    if is_success(outcome):
        return end(JobState.SUCCEEDED)
    if requeue:
        return queue(0.0, retries=0)
    refusals = job.launch_failures
    match outcome:
        case Killed(by=by) if by in CANCELLING:
            return end(JobState.CANCELLED)
        case SlotTaken():
            return queue(min(1.0 + job.slot_waits, MAX_SLOT_WAIT_S), slot_waits=job.slot_waits + 1)
        case LaunchFailed(host=True) if refusals + 1 < MAX_LAUNCH_FAILURES:
            return queue(backoff_s(1.0, refusals, 60.0), failures=refusals + 1)
        case Lost() if restart_lost:
            return queue(backoff_s(retry_delay_s, 0))
        case Exited() | Killed() | TimedOut() if job.retries_used < job.spec.retries:
            return queue(backoff_s(retry_delay_s, job.retries_used), retries=job.retries_used + 1)
        case _:
            return end(JobState.FAILED)
