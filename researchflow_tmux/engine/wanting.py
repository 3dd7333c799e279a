"""What waits first, as other workspaces of the machine need to know it, and what of our own they compare it with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from itertools import islice

from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.register import Want
from researchflow_tmux.engine.planning.index import project_of
from researchflow_tmux.engine.planning.planner import Planner

LOOKED_AT = 8
"""Waiting jobs of a project, or urgent ones, that are looked at for one that needs a GPU."""


def wants_of(planner: Planner | None, shared: Collection[str], now: datetime) -> tuple[Want, ...]:
    """The most urgent waiting job that needs GPUs, and of the shared projects the one that used least by its weight."""
    if planner is None or not shared:
        return ()
    found = []
    urgent = next((entry for entry in islice(planner.urgent(now), LOOKED_AT) if entry.need.gpus), None)
    if urgent is not None and urgent.deadline_s is not None:
        latest_s = urgent.deadline_s - urgent.estimate.p80_s
        found.append(Want(project=urgent.project, gpus=urgent.need.gpus, latest_start_s=latest_s))
    fair = [want for project in sorted(shared) if (want := _waiting(planner, project, now)) is not None]
    found += sorted(fair, key=lambda want: want.ratio or 0.0)[:1]
    return tuple(found)


def latest_starts(planner: Planner | None, now: datetime) -> dict[int, float]:
    """When the urgent jobs that wait must start (seconds since 1970), by job."""
    if planner is None:
        return {}
    return {
        entry.id: entry.deadline_s - entry.estimate.p80_s
        for entry in planner.urgent(now)
        if entry.deadline_s is not None
    }


def want_of(
    planner: Planner | None, job: Job, shared: Collection[str], urgent: Mapping[int, float], now: datetime
) -> Want:
    """A job of ours that could start now, to be compared with what others want; `urgent` = the `latest_starts`."""
    project = project_of(job)
    fair = planner is not None and project in shared and job.id not in urgent
    return Want(
        project=project,
        gpus=job.needs.gpus,
        latest_start_s=urgent.get(job.id),
        ratio=_ratio(planner, project, now) if fair and planner is not None else None,
    )


def _waiting(planner: Planner, project: str, now: datetime) -> Want | None:
    shelves = planner.index.classes.projects.get(project, {}).values()
    gpus = max((shelf.need.gpus for shelf in shelves), default=0)
    return Want(project=project, gpus=gpus, ratio=_ratio(planner, project, now)) if gpus else None


def _ratio(planner: Planner, project: str, now: datetime) -> float:
    usage = planner.index.usage
    return usage.used(project, now.timestamp()) / usage.weight(project)
