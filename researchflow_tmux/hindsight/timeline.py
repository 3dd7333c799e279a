"""The timeline as data: lanes with bars, for pictures of ours and for other renderers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

import msgspec

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.hindsight.packing import packed
from researchflow_tmux.hindsight.spans import Expected, Span, Waiting

SCHEMA = "rfsched.timeline/1"
By = Literal["gpu", "job", "project"]
MOST_JOBS = 1_000
"""Lanes of a timeline by job: more can neither be drawn nor read."""
NO_PROJECT = "(no project)"
NOTHING = timedelta(hours=1)
"""What is shown of a workspace in which nothing ever was."""
LOOK_AHEAD = 0.5
"""What is expected is shown so far beyond now, in parts of what lies behind."""


class TimelineBar(msgspec.Struct, kw_only=True):
    """One attempt on one lane, or a job that waits or is planned (then `attempt` is 0)."""

    job: int
    """Its id."""
    name: str
    attempt: int
    row: int
    """Within the lane; bars of a row do not overlap."""
    begin: datetime
    end: datetime
    """Of what goes on: now."""
    state: str
    """How the attempt ended, or `running`, `stopping`, `waiting`, `held`, `planned`."""
    going_on: bool = False
    gpus: list[int] = []
    """Physical indices."""
    share: float | None = None
    """The part of the lane's GPU that it had; null on other lanes, 0 = unlimited sharing."""
    project: str | None = None
    user: str | None = None
    reason: str | None = None
    """Why the job waits or ended as it did, in words."""
    expected_s: float | None = None
    """How long it was expected to take when it started; of what runs, what is expected of the whole now."""
    expected_low_s: float | None = None
    """P10; null = no interval is known."""
    expected_high_s: float | None = None
    """P90."""


class TimelineDeadline(msgspec.Struct, kw_only=True):
    """When a job should have ended."""

    job: int
    name: str
    at: datetime
    missed: bool


class TimelineLane(msgspec.Struct, kw_only=True):
    """A GPU, the jobs without one, a job, or a project."""

    kind: str
    """`gpu`, `cpu`, `job` or `project`."""
    title: str
    note: str = ""
    """Its GPU's name."""
    uuid: str | None = None
    """Of its GPU."""
    rows: int = 1
    bars: list[TimelineBar] = []
    deadlines: list[TimelineDeadline] = []


class CountPoint(msgspec.Struct, kw_only=True):
    """From `at` on there were so many."""

    at: datetime
    count: int


class Timeline(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """What ran when and where."""

    schema_name: str = SCHEMA
    at: datetime
    """When it was made: now."""
    workspace: str
    by: By
    since: datetime
    until: datetime
    """May lie ahead of now, for what is expected."""
    lanes: list[TimelineLane]
    queue: list[CountPoint] = []
    """Jobs that waited over time; empty = was not asked for."""
    deadlines: list[TimelineDeadline] = []
    """Of all jobs shown, unless lanes are jobs: then each has its own."""
    jobs: int
    attempts: int
    left_out: int = 0
    """Jobs that would be too many lanes; the newest are there."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """From when to when one looks."""

    since: datetime
    until: datetime
    now: datetime


def window(
    spans: Sequence[Span],
    waiting: Sequence[Waiting],
    now: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    ahead: bool = True,
) -> Window:
    """What is given, else from the first thing that there is to the last, and with `ahead` what is expected."""
    begins = [span.begin for span in spans[:1]] + [each.since for each in waiting[:1]]
    first = since or min(begins, default=now - NOTHING)
    if until is not None:
        return Window(since=min(first, until), until=until, now=now)
    ends = [span.end for span in spans]
    last = now if any(span.going_on for span in spans) or waiting else max(ends, default=now)
    if ahead:
        furthest = last + (last - first) * LOOK_AHEAD
        foreseen = [end for span in spans if span.going_on for end in _foreseen(span)]
        last = max([last, *(min(end, furthest) for end in foreseen)])
    return Window(since=min(first, last), until=max(first, last), now=now)


def timeline(
    *,
    workspace: str,
    spans: Sequence[Span],
    waiting: Sequence[Waiting],
    devices: Sequence[GpuDevice],
    window: Window,
    by: By,
    queue: Sequence[CountPoint] = (),
) -> Timeline:
    """The bars of all spans in the window, in lanes. `devices` = the GPUs that have a lane even if nothing ran."""
    shown = [span for span in spans if span.begin <= window.until and span.end >= window.since]
    waits = [each for each in waiting if each.since <= window.until]
    jobs = {span.job.id: span.job for span in shown} | {each.job.id: each.job for each in waits}
    deadlines = _deadlines(jobs.values(), window.now)
    left_out = 0
    if by == "job":
        lanes, left_out = _by_job(shown, waits, deadlines, window)
        deadlines = []
    else:
        lanes = _by_gpu(shown, devices) if by == "gpu" else _by_project(shown)
    return Timeline(
        at=window.now,
        workspace=workspace,
        by=by,
        since=window.since,
        until=window.until,
        lanes=lanes,
        queue=list(queue),
        deadlines=deadlines,
        jobs=len(jobs),
        attempts=len(shown),
        left_out=left_out,
    )


def count_points(stretches: Iterable[tuple[datetime, datetime]], window: Window) -> list[CountPoint]:
    """How many of these stretches (begin, end) there were at a time, up to now."""
    changes: defaultdict[datetime, int] = defaultdict(int)
    last = min(window.until, window.now)
    for begin, end in stretches:
        if end > window.since and begin < last:
            changes[max(begin, window.since)] += 1
            if end < last:  # what goes on is still there at the end
                changes[end] -= 1
    points, count = [CountPoint(at=window.since, count=0)], 0
    for at in sorted(changes):
        if changes[at]:
            count += changes[at]
            points.append(CountPoint(at=at, count=count))
    if points[-1].at < last:
        points.append(CountPoint(at=last, count=count))
    return points


def _foreseen(span: Span) -> list[datetime]:
    if span.expected is None:
        return []
    seconds = [span.expected.p50_s, span.expected.high_s or 0.0]
    return [span.begin + timedelta(seconds=each) for each in seconds]


def _deadlines(jobs: Iterable[Job], now: datetime) -> list[TimelineDeadline]:
    found = [
        TimelineDeadline(job=job.id, name=job.name, at=job.spec.deadline, missed=_missed(job, job.spec.deadline, now))
        for job in jobs
        if job.spec.deadline is not None
    ]
    return sorted(found, key=lambda each: (each.at, each.job))


def _missed(job: Job, deadline: datetime, now: datetime) -> bool:
    if job.state is JobState.SUCCEEDED and job.ended_at is not None:
        return job.ended_at > deadline
    return now > deadline


# -- lanes -------------------------------------------------------------------------------------------------------------


def _by_gpu(spans: Sequence[Span], devices: Sequence[GpuDevice]) -> list[TimelineLane]:
    lanes = {
        device.uuid: (device.index, TimelineLane(kind="gpu", title=f"GPU {device.index}", uuid=device.uuid))
        for device in devices
    }
    for device in devices:
        lanes[device.uuid][1].note = device.name
    on: defaultdict[str, list[Span]] = defaultdict(list)
    none: list[Span] = []
    for span in spans:
        for gpu in span.attempt.allocation.gpus:
            on[gpu.uuid].append(span)
            if gpu.uuid not in lanes:
                lanes[gpu.uuid] = (gpu.index, TimelineLane(kind="gpu", title=f"GPU {gpu.index}", uuid=gpu.uuid))
        if not span.attempt.allocation.gpus:
            none.append(span)
    found = [_filled(lane, on[uuid]) for uuid, (_, lane) in sorted(lanes.items(), key=lambda each: each[1][0])]
    if none:
        found.append(_filled(TimelineLane(kind="cpu", title="CPU"), none))
    return found


def _by_project(spans: Sequence[Span]) -> list[TimelineLane]:
    of: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        of[span.job.spec.project or ""].append(span)
    return [
        _filled(TimelineLane(kind="project", title=project or NO_PROJECT), of[project])
        for project in sorted(of, key=lambda project: (not project, project))
    ]


def _by_job(
    spans: Sequence[Span], waiting: Sequence[Waiting], deadlines: Sequence[TimelineDeadline], window: Window
) -> tuple[list[TimelineLane], int]:
    of: defaultdict[int, list[TimelineBar]] = defaultdict(list)
    names: dict[int, str] = {}
    for span in spans:
        names[span.job.id] = span.job.name
        if span.waited_from is not None and span.waited_from < span.begin:
            of[span.job.id].append(_wait(span.job, span.waited_from, span.begin, "waiting"))
        of[span.job.id].append(_bar(span, 0, None))
    for job, since in waiting:
        names[job.id] = job.name
        state = "held" if job.state is JobState.HELD else "waiting"
        if since < window.now:
            of[job.id].append(_wait(job, since, window.now, state, going_on=True))
        else:
            of[job.id] += []
    due: Mapping[int, TimelineDeadline] = {each.job: each for each in deadlines}
    order = sorted(of, key=lambda job_id: (min((bar.begin for bar in of[job_id]), default=window.now), job_id))
    kept = order[-MOST_JOBS:]
    lanes = [
        TimelineLane(
            kind="job",
            title=names[job_id],
            bars=_apart(of[job_id]),
            deadlines=[due[job_id]] if job_id in due else [],
        )
        for job_id in kept
    ]
    return lanes, len(order) - len(kept)


def _apart(bars: list[TimelineBar]) -> list[TimelineBar]:
    """Bars of one job one after another: a wait ends where something begins, at the latest."""
    bars.sort(key=lambda bar: (bar.begin, bar.attempt))
    for bar, following in pairwise(bars):
        bar.end = max(min(bar.end, following.begin), bar.begin)
    return bars


def _filled(lane: TimelineLane, spans: Sequence[Span]) -> TimelineLane:
    rows = packed([(span.begin, span.end) for span in spans])
    lane.bars = [_bar(span, row, lane.uuid) for span, row in zip(spans, rows, strict=True)]
    lane.rows = 1 + max(rows, default=0)
    return lane


def _bar(span: Span, row: int, uuid: str | None) -> TimelineBar:
    spec, allocation = span.job.spec, span.attempt.allocation
    expected = span.expected or Expected(0.0)
    return TimelineBar(
        job=span.job.id,
        name=span.job.name,
        attempt=span.attempt.number,
        row=row,
        begin=span.begin,
        end=span.end,
        state=span.kind,
        going_on=span.going_on,
        gpus=list(allocation.indices),
        share=next((gpu.share for gpu in allocation.gpus if gpu.uuid == uuid), None),
        project=spec.project,
        user=spec.user,
        reason=None if span.job.reason is None or span.attempt.number != span.job.attempts else str(span.job.reason),
        expected_s=expected.p50_s if span.expected is not None else None,
        expected_low_s=expected.low_s,
        expected_high_s=expected.high_s,
    )


def _wait(job: Job, begin: datetime, end: datetime, state: str, *, going_on: bool = False) -> TimelineBar:
    return TimelineBar(
        job=job.id,
        name=job.name,
        attempt=0,
        row=0,
        begin=begin,
        end=end,
        state=state,
        going_on=going_on,
        project=job.spec.project,
        user=job.spec.user,
        reason=None if job.reason is None or not going_on else str(job.reason),
    )
