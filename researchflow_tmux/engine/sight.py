"""What readings mean: whose processes are on which GPU, what is left, and which job is where it should not be. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.domain.attempt import Attempt, Launching, Running, Stopping
from researchflow_tmux.domain.resources import GpuDevice, GpuInfo, GpuReading, Ticket
from researchflow_tmux.engine.capacity import Capacity, holder_of, key_of
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.load import GpuLoad, load_of
from researchflow_tmux.policies.window import UtilisationWindow


def runner_of(attempt: Attempt) -> int | None:
    """The pid of the attempt's runner, as far as it is known."""
    phase = attempt.phase
    return phase.runner_pid if isinstance(phase, Launching | Running | Stopping) else None


def holders_by_runner(workload: Workload, tickets: Iterable[Ticket]) -> dict[int, str]:
    """By the pid of its runner, what each job goes by: ours, and those of other workspaces."""
    found = {ticket.pid: holder_of(ticket) for ticket in tickets if ticket.pid is not None}
    for attempt in workload.attempts.values():
        pid = runner_of(attempt)
        if pid is not None:
            found[pid] = key_of(attempt)
    return found


def loads(
    devices: Iterable[GpuDevice],
    readings: Mapping[str, GpuReading],
    owners: Mapping[int, str],
    windows: Mapping[str, UtilisationWindow],
    *,
    monotonic_s: float,
    now: datetime,
) -> dict[str, GpuLoad]:
    """One load for each device, by UUID; of a device without a reading nothing is known."""
    found = {}
    for device in devices:
        window = windows.get(device.uuid)
        mean_pct = window.mean_pct(monotonic_s) if window is not None else None
        covered_s = window.covered_at(monotonic_s) if window is not None else None
        found[device.uuid] = load_of(
            readings.get(device.uuid),
            owners,
            util_pct=None if mean_pct is None else round(mean_pct, 1),
            util_known_at=None if covered_s is None else now + timedelta(seconds=math.ceil(covered_s - monotonic_s)),
        )
    return found


class Astray(msgspec.Struct, frozen=True):
    """An attempt of ours that uses a GPU which is not its own."""

    attempt: Attempt
    index: int
    pid: int

    def __str__(self) -> str:
        own = ", ".join(map(str, self.attempt.allocation.indices))
        given = f"was given GPU {own}" if own else "was given none"
        return (
            f"uses GPU {self.index} (pid {self.pid}) but {given}: its program seems to choose by itself "
            "(CUDA_VISIBLE_DEVICES set in a script, or a fixed device number)"
        )


def astray(workload: Workload, readings: Iterable[GpuReading], owners: Mapping[int, str]) -> list[Astray]:
    """Attempts with a process on a GPU that they were not given; a GPU that is split shows those of its parts."""
    attempts = {key_of(attempt): attempt for attempt in workload.attempts.values()}
    found = []
    for reading in readings:
        for process in () if reading.split else reading.processes or ():
            attempt = attempts.get(owners.get(process.pid, ""))
            if attempt is not None and all(gpu.uuid != reading.uuid for gpu in attempt.allocation.gpus):
                found.append(Astray(attempt, reading.index, process.pid))
    return found


def infos(room: Capacity, now: datetime) -> Sequence[GpuInfo]:
    """The GPUs on which something may start, as the user's comparison sees them."""
    found = []
    for view in room.views:
        if view.blocked is not None:
            continue
        reading, known = view.reading, view.total_mib is not None and view.in_use_mib is not None
        util_pct = view.util_pct if view.util_pct is not None or reading is None else reading.util_pct
        found.append(
            GpuInfo(
                uuid=view.device.uuid,
                index=view.device.index,
                name=view.device.name,
                free_memory=(view.total_mib or 0) - (view.in_use_mib or 0) if known else None,
                total_memory=view.total_mib,
                utilization=util_pct,
                user_process_num=len(view.jobs),
                all_process_num=view.processes,
                time=now.timestamp(),
                temperature=reading.temperature_c if reading else None,
                power=reading.power_w if reading else None,
                max_power=reading.max_power_w if reading else None,
            )
        )
    return found
