"""Scripted GPUs: `gpu_count: simulated`, the simulator and the tests read these instead of hardware."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import GpuDevice, GpuProcess, GpuReading

TOTAL_MIB = 24_576
IDLE_MIB = 3
IDLE_C, FULL_C = 34, 76
IDLE_W, FULL_W = 22.0, 285.0


@dataclass(slots=True, kw_only=True)
class _Gpu:
    device: GpuDevice
    total_mib: int
    jobs: int = 0
    foreign: dict[int, int] = field(default_factory=dict)
    """Pid → MiB of processes that are not ours."""
    error: str | None = None


class ScriptedGpus:
    """A GpuProbe whose figures follow what it is told: how many jobs run where, who else is there, what is broken."""

    def __init__(
        self,
        devices: Iterable[GpuDevice],
        *,
        total_mib: int = TOTAL_MIB,
        job_mib: int = 9_000,
        job_util_pct: int = 72,
    ) -> None:
        """Give each device `total_mib`, unless it has a size; each job holds `job_mib` and is `job_util_pct` busy."""
        self._gpus = {device.uuid: _Gpu(device=device, total_mib=device.total_mib or total_mib) for device in devices}
        self._job_mib, self._job_util_pct = job_mib, job_util_pct
        self._broken: str | None = None

    def read(self) -> list[GpuReading]:
        """One reading per GPU, by ascending index. Raises ProbeError while scripted to."""
        if self._broken is not None:
            raise ProbeError(self._broken)
        ordered = sorted(self._gpus.values(), key=lambda gpu: gpu.device.index)
        return [self._reading(gpu) for gpu in ordered]

    def occupy(self, uuid: str, jobs: int) -> None:
        """From now on `jobs` jobs run on the GPU."""
        self._gpus[uuid].jobs = jobs

    def intrude(self, uuid: str, pid: int, used_mib: int) -> None:
        """A process that is not ours takes memory; 0 = it leaves."""
        self._gpus[uuid].foreign[pid] = used_mib
        if not used_mib:
            del self._gpus[uuid].foreign[pid]

    def fail(self, uuid: str, error: str | None) -> None:
        """The GPU falls off the bus with this error; None = it is back."""
        self._gpus[uuid].error = error

    def fail_all(self, error: str | None) -> None:
        """Reading as a whole fails with this error; None = it works again."""
        self._broken = error

    def _reading(self, gpu: _Gpu) -> GpuReading:
        device = gpu.device
        if gpu.error is not None:
            return GpuReading(uuid=device.uuid, index=device.index, name=device.name, error=gpu.error)
        used = IDLE_MIB + gpu.jobs * self._job_mib + sum(gpu.foreign.values())
        load = min(1.0, (gpu.jobs + len(gpu.foreign)) * self._job_util_pct / 100)
        return GpuReading(
            uuid=device.uuid,
            index=device.index,
            name=device.name,
            total_mib=gpu.total_mib,
            used_mib=min(gpu.total_mib, used),
            util_pct=round(100 * load),
            temperature_c=round(IDLE_C + load * (FULL_C - IDLE_C)),
            power_w=round(IDLE_W + load * (FULL_W - IDLE_W), 1),
            processes=self._processes(gpu),
        )

    def _processes(self, gpu: _Gpu) -> tuple[GpuProcess, ...]:
        """Only the others': our simulated jobs are real processes elsewhere, of which a GPU knows nothing."""
        return tuple(GpuProcess(pid=pid, used_mib=used) for pid, used in sorted(gpu.foreign.items()))
