"""Scripted GPUs: `gpu_count: simulated`, the simulator and the tests read these instead of hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import GpuDevice, GpuProcess, GpuReading
from researchflow_tmux.simulation.load import JOB_UTIL_PCT, Use

Uses = Mapping[str, Sequence[Use]]
"""What the jobs on each GPU do to it, by UUID."""

TOTAL_MIB = 24_576
IDLE_MIB = 3
IDLE_C, FULL_C = 34, 76
IDLE_W, FULL_W = 22.0, 285.0


@dataclass(slots=True, kw_only=True)
class _Gpu:
    device: GpuDevice
    total_mib: int
    foreign: dict[int, int] = field(default_factory=dict)
    """Pid → MiB of processes that are not ours."""
    error: str | None = None
    lost: bool = False
    xids: tuple[int, ...] = ()


class ScriptedGpus:
    """A GpuProbe whose figures follow what it is told: how many jobs run where, who else is there, what is broken."""

    def __init__(self, devices: Iterable[GpuDevice], *, total_mib: int = TOTAL_MIB) -> None:
        """Give each device `total_mib`, unless it has a size; until `follow` says otherwise no job is on any."""
        self._gpus = {device.uuid: _Gpu(device=device, total_mib=device.total_mib or total_mib) for device in devices}
        self._uses: Callable[[], Uses] = dict
        self._broken: str | None = None

    def read(self) -> list[GpuReading]:
        """One reading per GPU, by ascending index. Raises ProbeError while scripted to."""
        if self._broken is not None:
            raise ProbeError(self._broken)
        ordered = sorted(self._gpus.values(), key=lambda gpu: gpu.device.index)
        uses = self._uses()
        return [self._reading(gpu, uses.get(gpu.device.uuid, ())) for gpu in ordered]

    def follow(self, uses: Callable[[], Uses]) -> None:
        """From now on ask this at each reading what the jobs do."""
        self._uses = uses

    def intrude(self, uuid: str, pid: int, used_mib: int) -> None:
        """A process that is not ours takes memory; 0 = it leaves."""
        self._gpus[uuid].foreign[pid] = used_mib
        if not used_mib:
            del self._gpus[uuid].foreign[pid]

    def fail(self, uuid: str, error: str | None, *, lost: bool = False) -> None:
        """The GPU cannot be read, with this error, which says (or does not) that it is lost; None = it is back."""
        gpu = self._gpus[uuid]
        gpu.error, gpu.lost = error, lost and error is not None

    def fault(self, uuid: str, xid: int) -> None:
        """The driver meets a critical error on the GPU, and tells it with the next reading."""
        self._gpus[uuid].xids += (xid,)

    def fail_all(self, error: str | None) -> None:
        """Reading as a whole fails with this error; None = it works again."""
        self._broken = error

    def _reading(self, gpu: _Gpu, uses: Sequence[Use]) -> GpuReading:
        device = gpu.device
        xids, gpu.xids = gpu.xids, ()
        if gpu.error is not None:
            return GpuReading(
                uuid=device.uuid, index=device.index, name=device.name, error=gpu.error, lost=gpu.lost, xids=xids
            )
        used = dict(sorted(gpu.foreign.items())) | {use.pid: use.memory_mib for use in uses}
        loads = {use.pid: round(use.util_pct) for use in uses}
        busy_pct = sum(use.util_pct for use in uses) + len(gpu.foreign) * JOB_UTIL_PCT
        load = min(1.0, busy_pct / 100)
        return GpuReading(
            uuid=device.uuid,
            index=device.index,
            name=device.name,
            total_mib=gpu.total_mib,
            used_mib=min(gpu.total_mib, IDLE_MIB + sum(used.values())),
            util_pct=round(100 * load),
            temperature_c=round(IDLE_C + load * (FULL_C - IDLE_C)),
            power_w=round(IDLE_W + load * (FULL_W - IDLE_W), 1),
            max_power_w=FULL_W,
            processes=tuple(GpuProcess(pid=pid, used_mib=mib, util_pct=loads.get(pid)) for pid, mib in used.items()),
            xids=xids,
        )
