"""Who had how much of the GPUs over time, beside the parts that their weights give them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.hindsight.spans import Span
from researchflow_tmux.hindsight.timeline import NO_PROJECT, Window

SCHEMA = "rfsched.shares/1"
STRETCHES = 96
"""The time is divided into so many equal parts."""


class ProjectShare(msgspec.Struct, kw_only=True):
    """One project over time."""

    project: str
    weight: float | None
    """null = it is not in the settings: counts as 1."""
    due: float | None
    """Its weight as a part of those of all projects that used anything or have a weight; null for a single one."""
    gpu_hours: list[float]
    """In each stretch."""
    part: list[float | None]
    """Of what all projects used in it; null = nobody used anything."""
    whole: float | None
    """Its part of what all used in all the time."""


class Shares(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """All projects over time."""

    schema_name: str = SCHEMA
    since: datetime
    until: datetime
    at: list[datetime]
    """Beginnings of the stretches; all are of the same length."""
    stretch_s: float
    projects: list[ProjectShare]


def shares(spans: Iterable[Span], weights: Mapping[str, float], window: Window, *, count: int = STRETCHES) -> Shares:
    """GPU-hours by project up to now, and their parts. GPUs that are shared count with their shares."""
    last = min(window.until, window.now)
    length_s = max((last - window.since).total_seconds(), 1e-3) / count
    used: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * count)
    for span in spans:
        if span.ran and span.gpus:
            _add(used[span.job.spec.project or NO_PROJECT], span, window.since, last, length_s)
    for project in weights:
        used[project] += []
    sums = [sum(column) for column in zip(*used.values(), strict=True)] if used else [0.0] * count
    total, weighed = sum(sums), sum(weights.get(project, 1.0) for project in used)
    return Shares(
        since=window.since,
        until=max(last, window.since),
        at=[window.since + timedelta(seconds=number * length_s) for number in range(count)],
        stretch_s=length_s,
        projects=[
            ProjectShare(
                project=project,
                weight=weights.get(project),
                due=weights.get(project, 1.0) / weighed if len(used) > 1 else None,
                gpu_hours=[round(seconds / 3600, 6) for seconds in used[project]],
                part=[own / whole if whole > 0 else None for own, whole in zip(used[project], sums, strict=True)],
                whole=sum(used[project]) / total if total > 0 else None,
            )
            for project in sorted(used, key=lambda name: (name == NO_PROJECT, name))
        ],
    )


def _add(used: list[float], span: Span, since: datetime, last: datetime, length_s: float) -> None:
    begin_s = max((span.begin - since).total_seconds(), 0.0)
    end_s = (min(span.end, last) - since).total_seconds()
    if end_s <= begin_s:
        return
    first, final = int(begin_s / length_s), min(int(end_s / length_s), len(used) - 1)
    for number in range(first, final + 1):
        within_s = min(end_s, (number + 1) * length_s) - max(begin_s, number * length_s)
        used[number] += max(within_s, 0.0) * span.gpus
