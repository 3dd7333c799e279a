"""What settings and a job's own section say about room, in the domain's units."""

from __future__ import annotations

import math
import os

import msgspec

from researchflow_tmux.adapters.system_ram import SystemRam
from researchflow_tmux.domain.limits import GpuLimits, RoomRules
from researchflow_tmux.domain.units import parse_duration, parse_size
from researchflow_tmux.domain.workspace import JobSection, Settings

Size = str | int | None


def room_rules(settings: Settings) -> RoomRules:
    """The workspace's rules."""
    grace = settings.grace_period
    return RoomRules(
        gpu_memory_mib=mib(settings.gpu_memory) or 0,
        limits=GpuLimits(
            max_memory_pct=settings.max_memory,
            max_util_pct=settings.max_util,
            min_free_mib=mib(settings.min_free_memory),
            max_processes=settings.max_processes,
        ),
        grace_s=None if grace in (None, "") else parse_duration(grace),
        max_jobs=None if settings.max_jobs == "unlimited" else settings.max_jobs,
        max_ram_pct=settings.max_ram,
        kill_ram_pct=settings.kill_ram,
        order=settings.gpu_order,
    )


def on_this_machine(rules: RoomRules) -> RoomRules:
    """The rules with what there is to promise: the cores that this process may use, and the machine's memory."""
    ram = SystemRam().read()
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return msgspec.structs.replace(rules, cores=cores, machine_mib=None if ram is None else ram.total_mib)


def share(settings: Settings) -> float:
    """The part of a GPU that one job gets unless it says otherwise; 0 = unlimited."""
    if settings.share is not None:
        return settings.share
    return 0.0 if settings.max_jobs_per_gpu == "unlimited" else 1.0 / settings.max_jobs_per_gpu


def limits(section: JobSection) -> GpuLimits:
    """A job's own thresholds."""
    return GpuLimits(
        max_memory_pct=section.max_memory,
        max_util_pct=section.max_util,
        min_free_mib=mib(section.min_free_memory),
    )


def mib(size: Size) -> int | None:
    """Whole MiB, rounded up; None = not said. Raises ValueError for what is no size."""
    return None if size in (None, "") else math.ceil(parse_size(size))
