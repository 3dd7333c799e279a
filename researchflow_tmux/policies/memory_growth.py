"""How much memory a job is given after it ran out of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.hardware import NO_HARDWARE
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, GpuDevice, GpuReading
from researchflow_tmux.policies.topology import pools_of

GROWTH = 1.5
"""Each time half as much again: two steps are more than the double, and a first estimate is seldom further off."""


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask for next time."""

    gpu_memory_mib: int | None = None
    """MiB on each GPU; None = nothing is known to reckon with."""
    memory_mib: int | None = None
    """MiB of the machine's memory that are promised to it; None = as before."""
    largest: bool = False
    """It had the largest GPU there is for itself: there is no more to be had."""


def grown(
    job: Job,
    attempt: Attempt,
    peak_mib: float | None,
    readings: Sequence[GpuReading],
    devices: Sequence[GpuDevice] = (),
) -> Growth:
    """Reckon from what it had: the estimate it ran with, else its peak, else its part of the GPU it ran on.

    Half as much again, and more than what was seen to be too little; never more than the GPU that it could get at
    best (for several GPUs the smallest of the largest ones, of the kind it needs as `devices` are).
    """
    totals = {reading.uuid: reading.total_mib for reading in readings if reading.total_mib}
    had_mib, share = _had(attempt, totals)
    best_mib = _best(job, readings, devices)
    declared_mib = max((gpu.memory_mib for gpu in attempt.allocation.gpus), default=0)
    known = [value for value in (declared_mib, peak_mib) if value]
    base_mib = max(known) if known else had_mib
    if base_mib is None or best_mib is None:  # a wish that no GPU is known to fulfil would only keep it waiting
        return Growth()
    whole = share >= 1 - SHARE_TOLERANCE and had_mib is not None
    wanted = max(round(base_mib * GROWTH), round(had_mib or 0) + 1 if whole else 0)
    asked_for_all = declared_mib >= best_mib
    alone = asked_for_all or whole
    return Growth(
        gpu_memory_mib=min(wanted, best_mib), largest=alone and had_mib is not None and had_mib >= best_mib * share
    )


def grown_ram(job: Job, peak_mib: float | None, machine_mib: int | None) -> Growth:
    """Reckon from what it was promised or seen to use: half as much again, up to all that the machine has.

    That is a promise and no limit: what the job itself declared goes on being where it is stopped.
    """
    base_mib = max(job.needs.memory_mib or 0, peak_mib or 0)
    if not base_mib or machine_mib is None:
        return Growth()
    return Growth(memory_mib=min(round(base_mib * GROWTH), machine_mib))


def _had(attempt: Attempt, totals: Mapping[str, int]) -> tuple[float | None, float]:
    """(MiB, share): what the attempt could count on, on the GPU that gave it least."""
    parts = [
        (totals[gpu.uuid] * (gpu.share or 1.0), gpu.share or 1.0)
        for gpu in attempt.allocation.gpus
        if gpu.uuid in totals
    ]
    return min(parts, default=(None, 1.0))


def _best(job: Job, readings: Sequence[GpuReading], devices: Sequence[GpuDevice]) -> int | None:
    """MiB of the smallest of the GPUs it would get if it could choose."""
    request = job.spec.request
    allowed = [reading for reading in readings if not request.pinned or _is_one_of(reading, request.pinned)]
    if request.hardware == NO_HARDWARE:
        return _smallest_of_largest(allowed, request.gpus)
    pools = pools_of(devices, request.hardware, request.gpus)
    found = [_smallest_of_largest([each for each in allowed if each.uuid in pool], request.gpus) for pool in pools]
    return max((mib for mib in found if mib is not None), default=None)


def _smallest_of_largest(readings: Sequence[GpuReading], gpus: int) -> int | None:
    sizes = sorted((reading.total_mib for reading in readings if reading.total_mib), reverse=True)
    return sizes[min(gpus, len(sizes)) - 1] if sizes and gpus else None


def _is_one_of(reading: GpuReading, pins: Sequence[int | str]) -> bool:
    return any(reading.index == pin if isinstance(pin, int) else reading.uuid.startswith(pin) for pin in pins)
