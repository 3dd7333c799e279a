"""What settings and a job's own section say about room, in the domain's units."""

from __future__ import annotations

import math
import os
from typing import Protocol

import msgspec

from researchflow_tmux.adapters.system_ram import SystemRam
from researchflow_tmux.domain.hardware import NO_HARDWARE, Hardware, hardware
from researchflow_tmux.domain.limits import BUILT_IN_ORDERS, NO_LIMITS, GpuLimits, RoomRules
from researchflow_tmux.domain.units import parse_duration, parse_size
from researchflow_tmux.domain.workspace import JobSection, Settings

Size = str | int | None
HARDWARE = ("gpu_type", "min_gpu_memory", "compute_capability", "topology")
"""Keys that say what kind of GPU is needed."""


class SaysHardware(Protocol):
    """A job's own words: its section, or what was said to `add`."""

    @property
    def gpu_type(self) -> str | None:
        """Such as `A100|H100`; None = the settings say."""
        ...

    @property
    def min_gpu_memory(self) -> Size:
        """Such as `40GiB`; None = the settings say."""
        ...

    @property
    def compute_capability(self) -> str | None:
        """Such as `8.0`; None = the settings say."""
        ...

    @property
    def topology(self) -> str | None:
        """Such as `nvlink!`; None = the settings say."""
        ...


def foreseeable(rules: RoomRules) -> RoomRules:
    """The rules of room without those on what is measured, and the grace periods that are for measuring."""
    order = rules.order if rules.order in BUILT_IN_ORDERS else BUILT_IN_ORDERS[0]
    free = msgspec.structs.replace(rules, limits=NO_LIMITS, grace_s=None, max_ram_pct=None, kill_ram_pct=None)
    return msgspec.structs.replace(free, order=order)


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
        keep_scarce_gpus=settings.keep_scarce_gpus,
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


def hardware_of(settings: Settings, said: SaysHardware | None = None, *, gpus: int = 1) -> Hardware:
    """What kind of GPU a job asks for, the settings where it says nothing; a CPU job for none.

    Raises ValueError for words that no check has seen.
    """
    if not gpus:
        return NO_HARDWARE
    words = {name: None if said is None else getattr(said, name) for name in HARDWARE}
    return hardware(**{name: getattr(settings, name) if word is None else word for name, word in words.items()})


def mib(size: Size) -> int | None:
    """Whole MiB, rounded up; None = not said. Raises ValueError for what is no size."""
    return None if size in (None, "") else math.ceil(parse_size(size))
