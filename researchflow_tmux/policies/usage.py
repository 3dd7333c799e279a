"""From measurements of attempts to what is told of them: whose part of a GPU it is, peaks and means. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import TypeVar

import msgspec

from researchflow_tmux.domain.attempt import Ended
from researchflow_tmux.domain.resources import GpuProcess, GpuReading
from researchflow_tmux.domain.usage import GpuUse, Measured, Usage

T = TypeVar("T", int, float)


def gpu_use(reading: GpuReading | None, pids: Collection[int], exists: Callable[[int], bool]) -> GpuUse:
    """What those processes use of a GPU.

    A GPU that names a process which does not exist for us numbers them otherwise (a container does): whose they are is
    then unknown. Utilisation is the driver's figure by process; where it has none, that of the GPU if nobody else is on
    it.

    Args:
        reading: The measurement of the GPU; None = there is none.
        pids: The processes of the attempt.
        exists: Whether there is such a process here.
    """
    if reading is None or reading.processes is None or not all(exists(process.pid) for process in reading.processes):
        return GpuUse()
    ours = [process for process in reading.processes if process.pid in pids]
    return GpuUse(
        used_mib=_sum_mib(ours),
        util_pct=_util_pct(ours, reading, alone=len(ours) == len(reading.processes)),
    )


def _sum_mib(processes: Collection[GpuProcess]) -> int | None:
    parts = [process.used_mib for process in processes]
    return None if None in parts else sum(part for part in parts if part is not None)


def _util_pct(ours: Collection[GpuProcess], reading: GpuReading, *, alone: bool) -> float | None:
    if not ours:
        return 0.0
    parts = [process.util_pct for process in ours if process.util_pct is not None]
    if len(parts) == len(ours):
        return min(100.0, float(sum(parts)))
    return float(reading.util_pct) if alone and reading.util_pct is not None else None


def added(before: Usage | None, now: Measured, at: datetime) -> Usage:
    """What is known of an attempt after one more measurement."""
    if before is None:
        before = Usage(at=at, now=now)
    util_pct = now.gpu_util_pct
    mean_pct, of = before.mean_gpu_util_pct, before.gpu_samples
    if util_pct is not None:
        mean_pct, of = ((mean_pct or 0.0) * of + util_pct) / (of + 1), of + 1
    return Usage(
        at=at,
        now=now,
        samples=before.samples + 1,
        peak_cpu_pct=_most(before.peak_cpu_pct, now.cpu_pct),
        peak_rss_mib=_most(before.peak_rss_mib, now.rss_mib),
        peak_gpu_mib=_most(before.peak_gpu_mib, now.gpu_mib),
        peak_gpu_util_pct=_most(before.peak_gpu_util_pct, util_pct),
        mean_gpu_util_pct=mean_pct,
        gpu_samples=of,
    )


def with_usage(ended: Ended, usage: Usage | None) -> Ended:
    """The end of an attempt with what it used; None = it was never measured."""
    if usage is None:
        return ended
    return msgspec.structs.replace(
        ended,
        peak_tree_mib=_rounded(usage.peak_rss_mib),
        peak_cpu_pct=_rounded(usage.peak_cpu_pct),
        peak_gpu_mib=usage.peak_gpu_mib,
        peak_gpu_util_pct=_rounded(usage.peak_gpu_util_pct),
        mean_gpu_util_pct=_rounded(usage.mean_gpu_util_pct),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _most(first: T | None, second: T | None) -> T | None:
    if first is None or second is None:
        return second if first is None else first
    return max(first, second)
