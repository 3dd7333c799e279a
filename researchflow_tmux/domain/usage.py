"""What jobs use of the machine, and how GPUs did lately, as the sampler measures it. None = unknown, never 0."""

from __future__ import annotations

from datetime import datetime

import msgspec

from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.domain.resources import GpuReading

SCHEMA = "rfsched.usage/1"


class GpuUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the processes of one attempt use of one GPU."""

    used_mib: int | None = None
    util_pct: float | None = None
    """Part of the time in which they kept it busy."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One measurement of one attempt: of its whole process tree."""

    cpu_pct: float | None = None
    """100 = one core busy. An average since the measurement before, so the first one has none."""
    rss_mib: float | None = None
    """Resident memory; pages that several of its processes share count for each of them."""
    gpus: dict[str, GpuUse] = {}
    """By UUID."""

    @property
    def gpu_mib(self) -> int | None:
        """The most on any one of its GPUs; None if one is unknown, or if it has none."""
        parts = [use.used_mib for use in self.gpus.values() if use.used_mib is not None]
        return None if not parts or len(parts) < len(self.gpus) else max(parts)

    @property
    def gpu_util_pct(self) -> float | None:
        """The mean over its GPUs; None if one is unknown, or if it has none."""
        parts = [use.util_pct for use in self.gpus.values() if use.util_pct is not None]
        return None if not parts or len(parts) < len(self.gpus) else sum(parts) / len(parts)


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt uses, and the most it has used so far in any one measurement."""

    at: datetime
    """When `now` was measured."""
    now: Measured
    samples: int = 0
    """Measurements so far."""
    peak_cpu_pct: float | None = None
    peak_rss_mib: float | None = None
    peak_gpu_mib: int | None = None
    """On any one of its GPUs, as `gpu_memory` is meant."""
    peak_gpu_util_pct: float | None = None
    mean_gpu_util_pct: float | None = None
    gpu_samples: int = 0
    """Measurements that `mean_gpu_util_pct` is of."""


class GpuNow(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as last sampled."""

    reading: GpuReading
    util_mean_pct: float | None = None
    """Over the last minute; None while it was not watched for so long."""


class JobUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that is watched."""

    job_id: int
    number: int
    usage: Usage

    @property
    def key(self) -> AttemptKey:
        """(job id, number)."""
        return (self.job_id, self.number)


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """Everything as last sampled."""

    schema: str = SCHEMA
    at: datetime
    gpus: tuple[GpuNow, ...] = ()
    jobs: tuple[JobUsage, ...] = ()
    error: str | None = None
    """Why the GPUs could not be read; None = they could."""
