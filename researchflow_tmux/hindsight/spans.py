"""Attempts as hindsight sees them: from when to when, how it ended, since when it had waited, what was expected."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from researchflow_tmux.domain.attempt import (
    Attempt,
    AttemptKey,
    Ended,
    Exited,
    Killed,
    LaunchFailed,
    Lost,
    Outcome,
    OutOfMemory,
    Planned,
    SlotTaken,
    Stopping,
    TimedOut,
    UpToDate,
)
from researchflow_tmux.domain.job import Job, JobState

STOPPED = {"preempted": "preempted", "budget": "over_budget", "signal": "failed"}
"""By what stopped an attempt; "killed" by everything else. A signal that none of us sent is a failure."""


class Expected(NamedTuple):
    """How long something should take, in seconds."""

    p50_s: float
    low_s: float | None = None
    """P10; None = no interval is known."""
    high_s: float | None = None
    """P90."""


class Span(NamedTuple):
    """One attempt over time."""

    job: Job
    attempt: Attempt
    begin: datetime
    """When it started; if it never did, when it was planned."""
    end: datetime
    """When it ended; of what goes on: now."""
    kind: str
    """How it ended, in one word, or "running" or "stopping"."""
    ran: bool
    """Its program started."""
    waited_from: datetime | None = None
    """When only room was missing: it was queued and what it needs had ended. None = unknown."""
    expected: Expected | None = None
    """What was expected when it started; of what runs, what is expected of the whole now."""

    @property
    def going_on(self) -> bool:
        """It has not ended."""
        return not isinstance(self.attempt.phase, Ended)

    @property
    def ran_s(self) -> float:
        """Seconds for which its program ran, up to now."""
        return max((self.end - self.begin).total_seconds(), 0.0) if self.ran else 0.0

    @property
    def wait_s(self) -> float | None:
        """Seconds it waited for room."""
        return None if self.waited_from is None else max((self.begin - self.waited_from).total_seconds(), 0.0)

    @property
    def gpus(self) -> float:
        """GPUs that it had, as the sum of its shares; of unlimited sharing each counts whole."""
        return sum(gpu.share or 1.0 for gpu in self.attempt.allocation.gpus)

    def seconds_within(self, since: datetime, until: datetime) -> float:
        """Seconds for which its program ran between two moments."""
        if not self.ran:
            return 0.0
        return max((min(self.end, until) - max(self.begin, since)).total_seconds(), 0.0)


class Waiting(NamedTuple):
    """A job that waits now."""

    job: Job
    since: datetime


def spans_of(
    jobs: Mapping[int, Job],
    attempts: Iterable[Attempt],
    now: datetime,
    *,
    queued: Mapping[int, Sequence[datetime]] | None = None,
    expected: Mapping[AttemptKey, Expected] | None = None,
) -> list[Span]:
    """The attempts of these jobs as spans, by their begin.

    `queued` = the moments at which each job was queued (ascending), `expected` = what was expected of each attempt.
    """
    queued, expected = queued or {}, expected or {}
    found = [
        _span(jobs[attempt.job_id], attempt, now, expected.get(attempt.key))
        for attempt in attempts
        if attempt.job_id in jobs
    ]
    found.sort(key=lambda span: (span.begin, span.attempt.key))
    done = _successes(found)
    return [span._replace(waited_from=_waited_from(span, queued, done)) for span in found]


def waiting_of(jobs: Iterable[Job]) -> list[Waiting]:
    """Jobs that wait, by since when."""
    found = [Waiting(job, job.queued_at) for job in jobs if job.state in (JobState.QUEUED, JobState.HELD)]
    return sorted(found, key=lambda each: (each.since, each.job.id))


def kind_of(attempt: Attempt) -> str:
    """How it ended, in one word; "running" or "stopping" of what has not."""
    phase = attempt.phase
    if isinstance(phase, Ended):
        return kind_of_outcome(phase.outcome)
    return "stopping" if isinstance(phase, Stopping) else "running"


def kind_of_outcome(outcome: Outcome) -> str:
    """One word for an outcome: the looks of `drawing.looks` go by it."""
    match outcome:
        case Exited(succeeded=succeeded):
            return "succeeded" if succeeded else "failed"
        case UpToDate():
            return "up_to_date"
        case Killed(by=by):
            return STOPPED.get(by, "killed")
        case TimedOut():
            return "timed_out"
        case OutOfMemory():
            return "out_of_memory"
        case LaunchFailed():
            return "launch_failed"
        case SlotTaken():
            return "slot_taken"
        case Lost():
            return "lost"


def _span(job: Job, attempt: Attempt, now: datetime, expected: Expected | None) -> Span:
    phase = attempt.phase
    started = getattr(phase, "started_at", None)
    begin = started or attempt.planned_at
    end = phase.ended_at if isinstance(phase, Ended) else now
    ran = started is not None and not isinstance(phase, Planned)
    return Span(job, attempt, begin, max(end, begin), kind_of(attempt), ran, None, expected)


def _successes(spans: Iterable[Span]) -> dict[int, list[datetime]]:
    """When each job ended an attempt, ascending: what comes after it may go on then."""
    found: defaultdict[int, list[datetime]] = defaultdict(list)
    for span in spans:
        if not span.going_on:
            found[span.job.id].append(span.end)
    for ends in found.values():
        ends.sort()
    return dict(found)


def _waited_from(
    span: Span, queued: Mapping[int, Sequence[datetime]], ends: Mapping[int, Sequence[datetime]]
) -> datetime | None:
    """The last time before its start at which it was queued, or something it needs ended."""
    planned = span.attempt.planned_at
    own = _last(queued.get(span.job.id, ()), planned)
    if own is None:
        return None
    needs = (_last(ends.get(need, ()), planned) for need in span.job.spec.after)
    return max([own, *(end for end in needs if end is not None)])


def _last(moments: Sequence[datetime], at: datetime) -> datetime | None:
    place = bisect_right(moments, at)
    return moments[place - 1] if place else None
