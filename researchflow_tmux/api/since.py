"""What happened since a moment: the summary one reads in the morning."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.api.logs import last_line
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Attempt, Ended, Running, Stopping
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.units import parse_duration

WORDS = "`yesterday`, `today`, a time ago such as `2h` or `3d`, a date such as 2026-01-31, or an ISO time"


def moment_of(text: str, now: datetime) -> datetime:
    """The moment that `text` means, counted back from `now`; times without a zone are local. Raises UsageError."""
    local = now.astimezone()
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if text in ("today", "yesterday"):
        return (midnight - timedelta(days=text == "yesterday")).astimezone()
    try:
        return now - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no time", hint=f"write {WORDS}") from None
    return found if found.tzinfo is not None else found.astimezone()


class Line(msgspec.Struct, kw_only=True):
    """One job in the summary."""

    id: int
    name: str
    state: str
    reason: str | None
    attempts: int
    ended_at: datetime | None
    ran_s: float | None
    last_line: str | None = None
    """Of its log, for a failed job."""


class Summary(msgspec.Struct, kw_only=True):
    """What happened since `since`."""

    since: datetime
    until: datetime
    finished: list[Line]
    failed: list[Line]
    skipped: list[Line]
    """They waited for one that did not succeed."""
    cancelled: list[Line]
    retried: list[Line]
    """Jobs with more than one attempt, of which one ended since then."""
    running: list[Line]
    waiting: int
    gpu_hours: float
    """Parts of GPUs that jobs owned, summed over time."""


def summary(workspace: Workspace, since: datetime, now: datetime) -> Summary:
    """What happened in the workspace between `since` and `now`. Raises UsageError when nothing was ever queued."""
    with workspace.reader() as reader, reader.snapshot():
        jobs = reader.all_jobs()
        ended = {
            event.payload.job_id
            for event in reader.events(since=since, kinds=["attempt_ended"])
            if event.payload.job_id is not None
        }
        attempts = _attempts(reader, ended, {job.id for job in jobs})
    last = {attempt.job_id: attempt for attempt in attempts}
    recent = [job for job in jobs if job.ended_at is not None and job.ended_at >= since]

    def lines(found: Iterable[Job]) -> list[Line]:
        return [_line(job, last.get(job.id), now) for job in found]

    return Summary(
        since=since,
        until=now,
        finished=lines(job for job in recent if job.state is JobState.SUCCEEDED),
        failed=lines(job for job in recent if job.state is JobState.FAILED),
        skipped=lines(job for job in recent if job.state is JobState.SKIPPED),
        cancelled=lines(job for job in recent if job.state is JobState.CANCELLED),
        retried=lines(job for job in jobs if job.attempts > 1 and job.id in ended),
        running=lines(job for job in jobs if job.state is JobState.ACTIVE),
        waiting=sum(job.state in (JobState.QUEUED, JobState.HELD) for job in jobs),
        gpu_hours=round(sum(_gpu_hours(attempt, since, now) for attempt in attempts), 3),
    )


def _attempts(reader: SqliteReader, ended: set[int], known: set[int]) -> list[Attempt]:
    """Every attempt of the jobs of which one ended since then, and the live ones; by job, first to last."""
    live = reader.live_attempts()
    ids = (ended | {attempt.job_id for attempt in live}) & known
    return [attempt for job_id in sorted(ids) for attempt in reader.attempts_of(job_id)]


def _gpu_hours(attempt: Attempt, since: datetime, now: datetime) -> float:
    phase = attempt.phase
    if not isinstance(phase, Running | Stopping | Ended) or phase.started_at is None:
        return 0.0
    end = phase.ended_at if isinstance(phase, Ended) else now
    seconds = (end - max(phase.started_at, since)).total_seconds()
    return max(seconds, 0.0) / 3600 * sum(gpu.share or 1.0 for gpu in attempt.allocation.gpus)


def _line(job: Job, attempt: Attempt | None, now: datetime) -> Line:
    failed = job.state is JobState.FAILED
    ran_s = None if job.started_at is None else ((job.ended_at or now) - job.started_at).total_seconds()
    return Line(
        id=job.id,
        name=job.name,
        state=str(job.state),
        reason=None if job.reason is None else str(job.reason),
        attempts=job.attempts,
        ended_at=job.ended_at,
        ran_s=ran_s,
        last_line=last_line(attempt.log) if failed and attempt is not None else None,
    )
