"""How full a GPU and the machine may be for another job to start. None = no such limit."""

from __future__ import annotations

import msgspec

BUILT_IN_ORDERS = (
    "spread",
    "pack",
    "most_free_memory",
    "least_utilised",
    "fewest_processes",
    "coolest",
    "least_power",
    "lowest_index",
    "highest_index",
)
"""The values of `gpu_order` that name no function of the user's; `policies.ordering` has what they mean."""


class GpuLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Thresholds on what is measured of one GPU. They look at the GPU before the start."""

    max_memory_pct: float | None = None
    """No job starts where this much of the memory (or more) is in use or promised."""
    max_util_pct: float | None = None
    """No job starts where the GPU was this busy (or busier) on average over the last minute."""
    min_free_mib: int | None = None
    """No job starts where less than this is free."""
    max_processes: int | None = None
    """No job starts where this many processes (or more) run, whosever they are."""

    def over(self, base: GpuLimits) -> GpuLimits:
        """These limits where they are given, those of `base` elsewhere."""
        if self == NO_LIMITS or base == NO_LIMITS:
            return base if self == NO_LIMITS else self
        own = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        return msgspec.structs.replace(base, **own)


NO_LIMITS = GpuLimits()


class RoomRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a workspace says about room, for jobs that say nothing themselves."""

    gpu_memory_mib: int = 0
    """Declared memory of a job on each of its GPUs; 0 = none."""
    limits: GpuLimits = NO_LIMITS
    grace_s: float | None = None
    """Seconds in which nothing starts on a GPU after a start or an end there; None = see `policies.grace`."""
    max_jobs: int | None = None
    """Jobs at a time in all."""
    max_ram_pct: float | None = None
    """No job starts while this much of the machine's memory (or more) is in use."""
    kill_ram_pct: float | None = None
    """From here on a job is stopped, and waits again."""
    cores: tuple[int, ...] = ()
    """Cores that jobs may be given."""
    machine_mib: int | None = None
    """The machine's memory, which jobs may be promised; None = unknown."""
    order: str = "spread"
    """Which of several GPUs comes first: a built-in order, or `module:function`."""
    keep_scarce_gpus: bool = True
    """Jobs that can run anywhere leave the GPUs to others that those need which cannot."""


NO_RULES = RoomRules()


class RamReading(msgspec.Struct, frozen=True, kw_only=True):
    """The machine's memory (or that of the container we live in)."""

    total_mib: int
    used_mib: int
    """What is not available to new programs; caches are."""

    @property
    def used_pct(self) -> float:
        """Of the total."""
        return 100.0 * self.used_mib / self.total_mib
