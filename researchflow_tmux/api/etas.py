"""When running jobs should end, and all of a queue, in the form in which status shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from researchflow_tmux.adapters.foreseen_file import ForeseenAttempt
from researchflow_tmux.api.plan_views import PlannedGroup
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.prediction.conformal import HIGH, LOW, lower, upper


class Eta(NamedTuple):
    """When a running job should end. None = unknown."""

    at: datetime | None
    low_at: datetime | None
    high_at: datetime | None
    progress_pct: float | None


NO_ETA = Eta(None, None, None, None)


def eta_of(attempt: Attempt | None, known: ForeseenAttempt | None, now: datetime) -> Eta:
    """Of one attempt; an end that should have been says nothing any more."""
    found = None if known is None or attempt is None or known.key != attempt.key else known.foresight
    if found is None or known is None:
        return NO_ETA
    progress_pct = None if found.fraction is None else round(100.0 * found.fraction, 1)
    if known.started_at + timedelta(seconds=found.high_s) < now:
        return Eta(None, None, None, progress_pct)
    at, low_at, high_at = (
        max(known.started_at + timedelta(seconds=seconds), now)
        for seconds in (found.total_s, found.low_s, found.high_s)
    )
    return Eta(at, low_at, high_at, progress_pct)


def group_of(
    name: str,
    kind: str,
    ids: Sequence[int],
    ends_s: Mapping[int, float],
    tries: Iterable[Mapping[int, float]],
    now: datetime,
    *,
    known: bool,
) -> PlannedGroup:
    """When the last of some jobs ends: the middle of the tries, because the last of many is late more often than not.

    `ends_s` = seconds from now, by job; `known` = none of them is a mere assumption.
    """
    lasts = sorted(max((one[job_id] for job_id in ids if job_id in one), default=0.0) for one in tries)
    end_s = max((ends_s[job_id] for job_id in ids if job_id in ends_s), default=0.0)
    end_s = lasts[len(lasts) // 2] if lasts else end_s

    def at(seconds: float) -> datetime:
        return now + timedelta(seconds=round(max(seconds, 0.0), 3))

    return PlannedGroup(
        name=name,
        kind=kind,
        jobs=len(ids),
        eta_at=at(end_s) if known and ids else None,
        eta_low_at=at(min(lower(lasts, LOW), end_s)) if known and lasts else None,
        eta_high_at=at(max(upper(lasts, HIGH), end_s)) if known and lasts else None,
    )


def members(jobs: Iterable[Job]) -> dict[tuple[str, str], list[int]]:
    """The jobs of each group and project, by (kind, name)."""
    found: dict[tuple[str, str], list[int]] = {}
    for job in jobs:
        for kind, name in (("group", job.spec.group), ("project", job.spec.project)):
            if name is not None:
                found.setdefault((kind, name), []).append(job.id)
    return found
