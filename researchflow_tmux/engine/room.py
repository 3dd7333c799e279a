"""What may be used right now: readings, leases and our own attempts seen together, once for one decision."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.domain.attempt import Running, Stopping
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, GpuDevice, GpuReading, Ticket
from researchflow_tmux.engine.decide import Capacity, capacity
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.foreign import blocked
from researchflow_tmux.ports import Clock, GpuProbe, Leases

MEASURED = frozenset({"nvml", "amd"})
"""Kinds of devices whose memory is measured; the others have none to be filled by anybody."""
READING_LASTS_S = 0.5
"""Readings this young serve another launch: a burst of launches reads the GPUs once."""


class RoomReader:
    """Reads the GPUs and leases when a launch is near, and remembers the last readings for showing."""

    def __init__(
        self,
        *,
        devices: Sequence[GpuDevice],
        probe: GpuProbe | None,
        leases: Leases,
        clock: Clock,
        share: float,
        max_cpu_jobs: int,
        own_tag_prefix: str,
        avoid_foreign: bool = True,
    ) -> None:
        self.devices = tuple(devices)
        self.probe = probe
        self.leases = leases
        self.clock = clock
        self.share = share
        self.max_cpu_jobs = max_cpu_jobs
        self.own_tag_prefix = own_tag_prefix
        self.avoid_foreign = avoid_foreign
        self.readings: list[GpuReading] = []
        self.tickets: list[Ticket] = []
        self.error: str | None = None
        self.blocked: dict[str, Reason] = {}
        self._read_at = float("-inf")

    def capacity(self, workload: Workload, halted: Reason | None, *, fresh: bool) -> Capacity:
        """The room there is; `fresh` reads the GPUs again if the last reading is older than half a second."""
        room = self._capacity(workload, halted)
        if fresh and self._free_by_count(room) and self.clock.monotonic() - self._read_at > READING_LASTS_S:
            self.read(workload)
            room = self._capacity(workload, halted)
        return room

    def forget(self) -> None:
        """What was read is out of date (a lease of somebody else changed): the next look reads again."""
        self._read_at = float("-inf")

    def read(self, workload: Workload) -> None:
        """Read GPUs and leases now. A failure blocks every real GPU: unknown is not free."""
        self._read_at = self.clock.monotonic()
        leased = [device.uuid for device in self.devices if device.leased]
        try:
            self.tickets = self.leases.live(leased) if leased else []
            self.readings = self.probe.read() if self.probe is not None else []
            self.error = None
        except ProbeError as error:
            self.error, self.readings = str(error), []
        self.blocked = self._blocks(workload)

    def foreign_tickets(self) -> list[Ticket]:
        """The leases of other workspaces, as last read."""
        own = self.own_tag_prefix
        return [ticket for ticket in self.tickets if not (own and (ticket.tag or "").startswith(own))]

    def blocks(self, workload: Workload) -> dict[str, Reason]:
        """Why nothing is started on a GPU now, by UUID: what was decided about it first, then what was read."""
        decided = {gpu.uuid: gpu.reason for gpu in workload.gpus.values() if gpu.reason is not None}
        return {**self.blocked, **decided}

    def free_devices(self, workload: Workload) -> list[GpuDevice]:
        """The GPUs that could be used as last read, and have no job of any workspace."""
        taken = {gpu.uuid for attempt in workload.attempts.values() for gpu in attempt.allocation.gpus}
        taken |= self.blocks(workload).keys()
        taken |= {ticket.uuid for ticket in self.tickets}
        return [device for device in self.devices if device.uuid not in taken]

    def _capacity(self, workload: Workload, halted: Reason | None) -> Capacity:
        return capacity(
            workload,
            self.devices,
            share=self.share,
            max_cpu_jobs=self.max_cpu_jobs,
            own_tag_prefix=self.own_tag_prefix,
            tickets=self.tickets,
            blocked=self.blocks(workload),
            halted=halted,
        )

    def _free_by_count(self, room: Capacity) -> bool:
        """Whether a slot is free by our own count: only then is a reading worth its time.

        The others' leases do not count here: whether they still stand is what the reading tells.
        """
        return any(view.used + self.share <= 1 + SHARE_TOLERANCE for view in room.views)

    def _blocks(self, workload: Workload) -> dict[str, Reason]:
        real = [device for device in self.devices if device.kind in MEASURED]
        if self.error is not None:
            unread = Reason(code=ReasonCode.UNREADABLE, text=self.error)
            return {device.uuid: unread for device in self.devices if device.leased}
        if not self.avoid_foreign or not real:
            return {}
        by_uuid = {reading.uuid: reading for reading in self.readings}
        pids = {process.pid for reading in self.readings for process in reading.processes or ()}
        managed = self._managed(workload, pids)
        names = self.leases.describe(pids - managed)
        ours = {ticket.uuid for ticket in self.tickets}
        ours |= {gpu.uuid for attempt in workload.attempts.values() for gpu in attempt.allocation.gpus}
        reasons = {
            device.uuid: blocked(
                by_uuid.get(device.uuid), managed, leased=device.uuid in ours, names=names, index=device.index
            )
            for device in real
        }
        return {uuid: reason for uuid, reason in reasons.items() if reason is not None}

    def _managed(self, workload: Workload, pids: set[int]) -> frozenset[int]:
        runners = {ticket.pid for ticket in self.tickets if ticket.pid is not None}
        for attempt in workload.attempts.values():
            if isinstance(attempt.phase, Running | Stopping) and attempt.phase.runner_pid is not None:
                runners.add(attempt.phase.runner_pid)
        return self.leases.managed(runners, pids) if pids else frozenset()
