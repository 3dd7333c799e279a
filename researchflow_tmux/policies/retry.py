"""What becomes of a job when one of its attempts has ended: the named policies under which it may run again."""

from __future__ import annotations

from datetime import datetime, timedelta

from researchflow_tmux.domain.attempt import Exited, Killed, LaunchFailed, Lost, Outcome, SlotTaken, TimedOut
from researchflow_tmux.domain.events import JobChanged
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode

MAX_BACKOFF_S = 3600.0
MAX_LAUNCH_FAILURES = 6
"""Launches in a row that tmux or the machine refused before the job is given up: about a minute of trying."""
CANCELLING = frozenset({"user", "session_killed", "scheduler"})


def backoff_s(first_s: float, tries: int, most_s: float = MAX_BACKOFF_S) -> float:
    """Seconds before try number `tries` + 1 (tries >= 0): `first_s` doubled each time, up to `most_s`."""
    return min(first_s * 2.0 ** min(tries, 30), most_s)


def why(outcome: Outcome) -> Reason:
    """The outcome in words."""
    match outcome:
        case Exited(succeeded=True, by_marker=True):
            return Reason(code=ReasonCode.SUCCEEDED, text="its marker appeared")
        case Exited(succeeded=True, code=code):
            return Reason(code=ReasonCode.SUCCEEDED, text="" if code == 0 else f"marker written, exit code {code}")
        case Exited(code=0):
            return Reason(code=ReasonCode.NO_MARKER, text="exit code 0")
        case Exited(code=code):
            return Reason(code=ReasonCode.EXIT_CODE, text=f"exit code {code}")
        case Killed(by=by, signal=signal):
            if by in CANCELLING:
                words = {"user": "by hand", "session_killed": "its tmux session was closed", "scheduler": "kill-all"}
                return Reason(code=ReasonCode.CANCELLED, text=words[by])
            return Reason(code=ReasonCode.SIGNALLED, text=f"signal {signal}" if signal else by)
        case TimedOut(limit_s=limit_s):
            return Reason(code=ReasonCode.TIME_LIMIT, text=f"{limit_s:g} s" if limit_s else "")
        case LaunchFailed(reason=reason):
            return Reason(code=ReasonCode.LAUNCH_FAILED, text=reason)
        case SlotTaken(reason=reason):
            return Reason(code=ReasonCode.SLOT_TAKEN, text=reason)
        case Lost(why=text):
            return Reason(code=ReasonCode.LOST, text=text)


def after(
    job: Job, outcome: Outcome, *, requeue: bool, retry_delay_s: float, restart_lost: bool, now: datetime
) -> JobChanged:
    """The one place that decides whether a job runs again.

    Named policies: `retry` (spec.retries after a failure), `restart_lost`, a slot taken by others and launches the
    host refused (neither ran anything), and `requeue` by hand.
    """
    reason = why(outcome)

    def queue(delay_s: float, *, retries: int | None = None, failures: int = 0) -> JobChanged:
        until = now + timedelta(seconds=delay_s) if delay_s else None
        return JobChanged(
            job_id=job.id,
            state=JobState.QUEUED,
            reason=Reason(code=ReasonCode.BACKOFF if until else ReasonCode.REQUEUED, text=str(reason), until=until),
            not_before=until,
            retries_used=retries,
            launch_failures=failures,
        )

    def end(state: JobState, code: int | None = None) -> JobChanged:
        return JobChanged(job_id=job.id, state=state, reason=reason, exit_code=code, launch_failures=0)

    match outcome:
        case _ if requeue and not isinstance(outcome, Exited):
            return queue(0.0)
        case Exited(succeeded=True, code=code):
            return end(JobState.SUCCEEDED, code)
        case Killed(by=by) if by in CANCELLING:
            return end(JobState.CANCELLED)
        case SlotTaken():
            return queue(min(1.0 + job.launch_failures, 15.0), failures=job.launch_failures + 1)
        case LaunchFailed(host=True) if job.launch_failures + 1 < MAX_LAUNCH_FAILURES:
            return queue(backoff_s(1.0, job.launch_failures, 60.0), failures=job.launch_failures + 1)
        case LaunchFailed():
            return end(JobState.FAILED)
        case Lost():
            return queue(retry_delay_s) if restart_lost else end(JobState.FAILED)
        case Exited() | Killed() | TimedOut():
            if job.retries_used < job.spec.retries:
                return queue(backoff_s(retry_delay_s, job.retries_used), retries=job.retries_used + 1)
            return end(JobState.FAILED, outcome.code if isinstance(outcome, Exited) else None)
