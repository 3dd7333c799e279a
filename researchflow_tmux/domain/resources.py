"""GPUs, what a job asks of them, and what it was given."""

from __future__ import annotations

import msgspec

from researchflow_tmux.domain.hardware import NO_HARDWARE, GpuLink, Hardware
from researchflow_tmux.domain.limits import NO_LIMITS, GpuLimits

SHARE_TOLERANCE = 1e-6
"""Shares are sums of fractions such as 1/3: equal up to this."""


class ResourceRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one job needs while it runs."""

    gpus: int = 1
    """Number of GPUs; 0 = a CPU job."""
    pinned: tuple[int | str, ...] = ()
    """Physical indices or UUIDs of GPUs the job must run on; empty = any."""
    share: float | None = None
    """Fraction of each of its GPUs in (0, 1]; None = what `max_jobs_per_gpu` makes of one."""
    gpu_memory_mib: int | None = None
    """MiB it is expected to need on each of its GPUs, kept free for it from its start on; None = not said."""
    limits: GpuLimits = NO_LIMITS
    """Thresholds of its own; they take the place of the workspace's."""
    hardware: Hardware = NO_HARDWARE
    """What kind of GPU it needs; of no meaning to a CPU job."""
    time_limit_s: float | None = None
    cpus: int | None = None
    """Cores of its own; None = it shares all with everybody."""
    memory_mib: int | None = None
    """MiB of the machine's memory that it may use: promised to it, and it is stopped above; None = not said."""


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One process that holds memory on a GPU."""

    pid: int
    used_mib: int | None = None
    """None = the driver does not say."""
    util_pct: int | None = None
    """Part of the time since the reading before in which it kept the GPU busy."""


class GpuReading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one GPU. None = unknown, never 0."""

    uuid: str
    index: int
    name: str
    total_mib: int | None = None
    used_mib: int | None = None
    util_pct: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    max_power_w: float | None = None
    """What it may draw."""
    split: bool = False
    """It is divided into MIG devices: jobs use those, not this one."""
    parent: str | None = None
    """UUID of the GPU that this MIG device is a part of."""
    processes: tuple[GpuProcess, ...] | None = None
    error: str | None = None
    """Why this GPU could not be read (lost, Xid…); then every figure is None."""
    lost: bool = False
    """The error is definite: the driver has lost this GPU, or it needs a reset. Other errors are merely unknown."""
    xids: tuple[int, ...] = ()
    """Critical errors (Xid numbers) that the driver met on it since the reading before."""


class GpuDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU that the workspace may use: its lasting identity."""

    uuid: str
    index: int
    name: str
    kind: str
    """"nvml" (real, leased machine-wide), "logical" (no driver to ask) or "simulated" (private to the workspace)."""
    leased: bool = False
    """True = a machine-wide lease is taken before use."""
    total_mib: int | None = None
    """Its memory."""
    capability: tuple[int, int] | None = None
    """Its CUDA compute capability, such as (8, 0)."""
    links: tuple[GpuLink, ...] = ()
    """How it is connected to others; nothing is known of those that are missing."""


class GpuShare(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one GPU that an attempt owns."""

    uuid: str
    index: int
    share: float
    """Fraction of the GPU in [0, 1]; 0 = unlimited sharing."""
    memory_mib: int = 0
    """MiB of it that are kept for the attempt, used or not; 0 = none were declared."""


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """The slots of one attempt, in ascending physical index. No GPUs = a CPU job."""

    gpus: tuple[GpuShare, ...] = ()
    cores: tuple[int, ...] = ()
    """CPU cores of its own; empty = all that there are, together with others."""

    @property
    def indices(self) -> tuple[int, ...]:
        """Physical indices, ascending."""
        return tuple(gpu.index for gpu in self.gpus)


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A live machine-wide lease on a GPU, as another workspace or user sees it."""

    uuid: str
    share: float
    holder: str
    pid: int | None = None
    session: str | None = None
    tag: str | None = None
    memory_mib: int = 0


class GpuInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as the user's comparison sees it: the names are those that such functions use. None = unknown."""

    uuid: str
    index: int
    name: str
    free_memory: int | None
    """MiB that are neither used nor promised."""
    total_memory: int | None
    utilization: float | None
    """Percent, the average of the last minute where that is known."""
    user_process_num: int
    """Jobs of this workspace on it."""
    all_process_num: int | None
    time: float
    """Seconds since 1970 of the reading."""
    temperature: int | None
    power: float | None
    """Watts."""
    max_power: float | None
