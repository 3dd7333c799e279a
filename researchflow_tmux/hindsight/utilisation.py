"""How busy GPUs were, how much of them jobs had, and how many jobs ran and waited, over time."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.hindsight.spans import Span
from researchflow_tmux.hindsight.timeline import CountPoint, Window, count_points

SCHEMA = "rfsched.utilisation/1"
GAP = 3.0
"""A time this many times as long as usual between two samples is one in which nothing was measured."""
LEAST_GAP_S = 30.0


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one GPU; lists of the same length."""

    index: int
    uuid: str
    name: str
    total_mib: int | None
    at: Sequence[datetime]
    util_pct: Sequence[float | None]
    used_mib: Sequence[float | None]


class StepPoint(msgspec.Struct, kw_only=True):
    """From `at` on it was `value`."""

    at: datetime
    value: float


class GpuUse(msgspec.Struct, kw_only=True):
    """One GPU over time."""

    index: int
    uuid: str
    name: str
    total_mib: int | None
    at: list[datetime]
    """Moments of samples, and of the ends of stretches that were measured: there both figures are null."""
    util_pct: list[float | None]
    """null = unknown from then on."""
    used_mib: list[float | None]
    slots: list[StepPoint]
    """How much of it jobs of this workspace had: the sum of their shares. Known without any sample."""
    mean_util_pct: float | None
    """Over what was measured."""
    measured_pct: float
    """Part of the time that was measured."""
    given_pct: float
    """Mean of `slots` over the time up to now."""


class Utilisation(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """How GPUs were used."""

    schema_name: str = SCHEMA
    at: datetime
    workspace: str
    since: datetime
    until: datetime
    gpus: list[GpuUse]
    running: list[CountPoint]
    """How many attempts ran at a time."""
    queue: list[CountPoint]
    """How many jobs waited at a time."""


def utilisation(
    *,
    workspace: str,
    spans: Sequence[Span],
    waits: Iterable[tuple[datetime, datetime]],
    samples: Sequence[Samples],
    devices: Sequence[GpuDevice],
    window: Window,
) -> Utilisation:
    """Of every GPU of which there is a sample, a job or a device."""
    on: defaultdict[str, list[tuple[datetime, datetime, float]]] = defaultdict(list)
    known = {device.uuid: (device.index, device.name, device.total_mib) for device in devices}
    for span in spans:
        for gpu in span.attempt.allocation.gpus if span.ran else ():
            on[gpu.uuid].append((span.begin, span.end, gpu.share or 1.0))
            known.setdefault(gpu.uuid, (gpu.index, "", None))
    of = {each.uuid: each for each in samples}
    known |= {each.uuid: (each.index, each.name, each.total_mib) for each in samples}
    gpus = [
        _gpu(of.get(uuid) or _unmeasured(index, uuid, name, total), on[uuid], window)
        for uuid, (index, name, total) in sorted(known.items(), key=lambda each: each[1][0])
    ]
    running = [(span.begin, span.end) for span in spans if span.ran]
    return Utilisation(
        at=window.now,
        workspace=workspace,
        since=window.since,
        until=window.until,
        gpus=gpus,
        running=count_points(running, window),
        queue=count_points(waits, window),
    )


def _gpu(samples: Samples, stretches: Iterable[tuple[datetime, datetime, float]], window: Window) -> GpuUse:
    last = min(window.until, window.now)
    rows = [
        row
        for row in zip(samples.at, samples.util_pct, samples.used_mib, strict=True)
        if window.since <= row[0] <= window.until
    ]
    broken, measured_s, busy_s, known_s = _with_gaps(rows, last)
    slots = _steps(stretches, window)
    whole_s = max((last - window.since).total_seconds(), 1e-9)
    untils = [*(point.at for point in slots[1:]), last]
    given_s = sum(p.value * (until - p.at).total_seconds() for p, until in zip(slots, untils, strict=True))
    return GpuUse(
        index=samples.index,
        uuid=samples.uuid,
        name=samples.name,
        total_mib=samples.total_mib,
        at=[row[0] for row in broken],
        util_pct=[row[1] for row in broken],
        used_mib=[row[2] for row in broken],
        slots=slots,
        mean_util_pct=round(busy_s / known_s, 2) if known_s > 0 else None,
        measured_pct=round(min(100 * measured_s / whole_s, 100.0), 2),
        given_pct=round(100 * given_s / whole_s, 2),
    )


def _unmeasured(index: int, uuid: str, name: str, total_mib: int | None) -> Samples:
    return Samples(index=index, uuid=uuid, name=name, total_mib=total_mib, at=(), util_pct=(), used_mib=())


Row = tuple[datetime, float | None, float | None]


def _with_gaps(rows: Sequence[Row], last: datetime) -> tuple[list[Row], float, float, float]:
    """The rows with an unknown one at each end of what was measured.

    And seconds: that were measured, times utilisation in percent, and of which that is known.
    """
    steps = [(b[0] - a[0]).total_seconds() for a, b in pairwise(rows)]
    usual_s = statistics.median(steps) if steps else 5.0
    found: list[Row] = []
    measured_s = busy_s = known_s = 0.0
    for row, step_s in zip(rows, [*steps, None], strict=False):
        found.append(row)
        left_s = (last - row[0]).total_seconds()
        holds_s = usual_s if step_s is None or step_s > max(usual_s * GAP, LEAST_GAP_S) else step_s
        if step_s is None:
            holds_s = max(min(holds_s, left_s), 0.0)
        measured_s += holds_s
        if row[1] is not None:
            busy_s, known_s = busy_s + row[1] * holds_s, known_s + holds_s
        if step_s is None or holds_s < step_s:
            found.append((row[0] + timedelta(seconds=holds_s), None, None))
    return found, measured_s, busy_s, known_s


def _steps(stretches: Iterable[tuple[datetime, datetime, float]], window: Window) -> list[StepPoint]:
    """The sum of the shares at a time, from the beginning up to now."""
    changes: defaultdict[datetime, float] = defaultdict(float)
    last = min(window.until, window.now)
    for begin, end, share in stretches:
        if end > window.since and begin < last:
            changes[max(begin, window.since)] += share
            changes[min(end, last)] -= share
    points, value = [StepPoint(at=window.since, value=0.0)], 0.0
    for at in sorted(changes):
        # To a millionth: thirds that come and go leave nothing behind.
        value = round(value + changes[at], 6)
        if at == points[-1].at:
            points[-1].value = value
        elif value != points[-1].value:
            points.append(StepPoint(at=at, value=value))
    return points
