"""What is planned, added to a timeline: bars of jobs that have not started, where and when they should."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.domain.job import Job
from researchflow_tmux.hindsight.packing import packed
from researchflow_tmux.hindsight.timeline import NO_PROJECT, Timeline, TimelineBar, TimelineLane

GPU = "GPU "
"""How the titles of its lanes begin."""
FURTHEST = 3.0
"""What is planned is shown for so many times as long as what lies behind, unless the time is given."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A start that is foreseen, of a job that waits."""

    job: Job
    begin: datetime
    end: datetime
    end_low: datetime | None = None
    """With `end_high` the interval of its end."""
    end_high: datetime | None = None
    gpus: tuple[int, ...] = ()
    """Physical indices; empty = a CPU job, or not known so far ahead."""


def with_plan(data: Timeline, planned: Sequence[Planned], *, given: bool) -> Timeline:
    """The same timeline with what is planned; `given` = its end was given and stays as it is."""
    if not planned:
        return data
    until = data.until
    if not given:
        furthest = data.at + max(data.at - data.since, data.until - data.at) * FURTHEST
        until = max(until, min(max(each.end for each in planned), furthest))
    shown = [each for each in planned if each.begin <= until]
    lanes = _with_gpus(data.lanes, shown) if data.by == "gpu" else list(data.lanes)
    for lane in lanes:
        own = [each for each in shown if _belongs(each, lane)]
        if own:
            lane.bars = sorted([*lane.bars, *map(_bar, own)], key=lambda bar: (bar.begin, bar.end))
            _pack(lane)
    missing = [each for each in shown if not any(_belongs(each, lane) for lane in lanes)]
    return msgspec.structs.replace(data, until=until, lanes=[*lanes, *_more(missing, data.by)])


def _with_gpus(lanes: Sequence[TimelineLane], shown: Iterable[Planned]) -> list[TimelineLane]:
    """The lanes, with one for each GPU on which something is planned."""
    gpus = {lane.title: lane for lane in lanes if lane.kind == "gpu"}
    for each in shown:
        for index in each.gpus:
            gpus.setdefault(_gpu(index), TimelineLane(kind="gpu", title=_gpu(index)))
    ordered = sorted(gpus.values(), key=lambda lane: int(lane.title.removeprefix(GPU)))
    return [*ordered, *(lane for lane in lanes if lane.kind != "gpu")]


def _belongs(each: Planned, lane: TimelineLane) -> bool:
    match lane.kind:
        case "gpu":
            return lane.title in {_gpu(index) for index in each.gpus}
        case "cpu":
            return each.job.spec.request.gpus == 0
        case "job":
            return any(bar.job == each.job.id for bar in lane.bars)
    return lane.title == (each.job.spec.project or NO_PROJECT)


def _more(missing: Iterable[Planned], by: str) -> list[TimelineLane]:
    """Lanes for what has none: a job of which nothing is shown yet, starts on GPUs that are not known so far ahead."""
    lanes: dict[str, TimelineLane] = {}
    for each in missing:
        kind, title = "gpu", "on any GPU"
        if by == "project":
            kind, title = "project", each.job.spec.project or NO_PROJECT
        elif by == "job":
            kind, title = "job", each.job.name
        elif each.job.spec.request.gpus == 0:
            kind, title = "cpu", "CPU"
        lane = lanes.setdefault(title, TimelineLane(kind=kind, title=title))
        lane.bars.append(_bar(each))
    for lane in lanes.values():
        _pack(lane)
    return list(lanes.values())


def _gpu(index: int) -> str:
    return f"{GPU}{index}"


def _pack(lane: TimelineLane) -> None:
    if lane.kind == "job":
        return  # one after another
    rows = packed([(bar.begin, bar.end) for bar in lane.bars])
    for bar, row in zip(lane.bars, rows, strict=True):
        bar.row = row
    lane.rows = 1 + max(rows, default=0)


def _bar(each: Planned) -> TimelineBar:
    spec = each.job.spec
    seconds = (each.end - each.begin).total_seconds()
    low, high = (None if at is None else (at - each.begin).total_seconds() for at in (each.end_low, each.end_high))
    return TimelineBar(
        job=each.job.id,
        name=each.job.name,
        attempt=0,
        row=0,
        begin=each.begin,
        end=each.end,
        state="planned",
        gpus=list(each.gpus),
        project=spec.project,
        user=spec.user,
        expected_s=seconds,
        expected_low_s=low,
        expected_high_s=high,
    )
