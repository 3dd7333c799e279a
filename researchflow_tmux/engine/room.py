"""What may be used right now: readings, leases and our own attempts seen together, once for one decision."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.domain.errors import ProbeError, RankError
from researchflow_tmux.domain.events import Notice
from researchflow_tmux.domain.limits import NO_RULES, RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, GpuDevice, GpuReading, Ticket
from researchflow_tmux.engine import sight
from researchflow_tmux.engine.capacity import NOTHING_SEEN, Capacity, Seen, capacity, next_opening
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies import ram as ram_policy
from researchflow_tmux.policies.foreign import blocked
from researchflow_tmux.policies.topology import Links
from researchflow_tmux.policies.window import UtilisationWindow
from researchflow_tmux.ports import Clock, GpuProbe, GpuRanker, Leases, RamProbe

MEASURED = frozenset({"nvml", "amd"})
"""Kinds of devices that others may fill."""
WITH_READINGS = MEASURED | {"simulated"}
READING_LASTS_S = 0.5
"""Readings this young serve another launch: a burst of launches reads the GPUs once."""
SAMPLE_S = 5.0
"""How often GPUs are read while a job waits or runs and somebody wants to know how busy they were."""


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
        rules: RoomRules = NO_RULES,
        ram: RamProbe | None = None,
        ranker: GpuRanker | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            devices: The GPUs that may be used.
            probe: What reads them; None = nothing can.
            leases: The machine-wide leases.
            clock: The time.
            share: What one job gets of a GPU unless it says otherwise; 0 = unlimited.
            max_cpu_jobs: CPU jobs at a time.
            own_tag_prefix: How the tags of this workspace's leases begin.
            avoid_foreign: Whether a GPU that others fill is closed.
            rules: Thresholds and what else there is to room.
            ram: What reads the machine's memory; None = nothing does.
            ranker: The user's comparison, where `rules.order` names one.
        """
        self.devices = tuple(devices)
        self.links = Links(devices)
        self.probe = probe
        self.leases = leases
        self.clock = clock
        self.share = share
        self.max_cpu_jobs = max_cpu_jobs
        self.own_tag_prefix = own_tag_prefix
        self.avoid_foreign = avoid_foreign
        self.rules = rules
        self.ram = ram
        self.ranker = ranker
        self.readings: list[GpuReading] = []
        self.tickets: list[Ticket] = []
        self.error: str | None = None
        self.blocked: dict[str, Reason] = {}
        self.seen: Seen = NOTHING_SEEN
        self.windows = {device.uuid: UtilisationWindow() for device in self._readable()}
        self._read_at = float("-inf")
        self._noted_at = float("-inf")
        """When the readings that were last understood were made."""
        self._told: set[AttemptKey] = set()
        self._rank_error: str | None = None
        self._news: list[Notice] = []

    def go_on_from(self, other: RoomReader) -> None:
        """Keep what another reader knows that takes time to learn: the settings changed, the GPUs did not."""
        self.windows |= {uuid: window for uuid, window in other.windows.items() if uuid in self.windows}
        self._told, self._news, self._rank_error = other._told, other._news, other._rank_error

    def capacity(self, workload: Workload, halted: Reason | None, *, fresh: bool) -> Capacity:
        """The room there is; `fresh` = something may start: nothing of it is then older than half a second."""
        room = self._capacity(workload, halted)
        if fresh and self._refresh(workload, room):
            room = self._capacity(workload, halted)
        return self._ranked(workload, halted, room) if fresh and self.ranker is not None else room

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
        self._understand(workload, self._read_at)
        self.blocked = self._blocks(workload)
        self._read_ram()

    def note(self, taken: Sequence[tuple[float, list[GpuReading]]], workload: Workload) -> None:
        """Take over readings that others made since, oldest first with their monotonic times. Leases stay as they were.

        They serve for what is shown and for how busy the GPUs were; what starts now is still read for itself.
        """
        newer = [(at_s, readings) for at_s, readings in taken if at_s > self._noted_at]
        if not newer or self.probe is None:
            return
        for at_s, readings in newer:
            self.readings, self.error = readings, None
            self._understand(workload, at_s)
        self.blocked = self._blocks(workload)

    def last_readings(self, workload: Workload) -> list[GpuReading]:
        """The last readings; the first ones are taken now."""
        if self._read_at == float("-inf"):
            self.read(workload)
        return self.readings

    def keep_up(self, workload: Workload) -> None:
        """Read when it is time for another sample of how busy the GPUs are."""
        if self._sample_in_s(workload) <= 0:
            self.read(workload)

    def due_s(self, workload: Workload, room: Capacity | None) -> float:
        """Seconds until something here changes by time alone: a sample is due, a grace period or a window ends.

        `room` = what the last decision saw; None = nothing waits.
        """
        now = self.clock.now()
        opens = None if room is None else next_opening(room, now)
        opens_s = float("inf") if opens is None else (opens - now).total_seconds()
        return min(max(self._sample_in_s(workload), 0.0), opens_s)

    def take_news(self) -> list[Notice]:
        """What is worth telling since the last call."""
        news, self._news = self._news, []
        return news

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
            rules=self.rules,
            seen=self.seen,
            links=self.links,
            now=self.clock.now(),
        )

    def _refresh(self, workload: Workload, room: Capacity) -> bool:
        """Read again what is too old to decide by; True = something was read."""
        if self._free_by_count(workload, room) and self.clock.monotonic() - self._read_at > READING_LASTS_S:
            self.read(workload)
            return True
        if ram_policy.admit_pct(self.rules) is None:
            return False
        self._read_ram()
        return True

    def _ranked(self, workload: Workload, halted: Reason | None, room: Capacity) -> Capacity:
        """The room with the ranks that the user's comparison gives; the built-in order holds where it fails."""
        assert self.ranker is not None
        if not any(view.admits(workload.least_share(self.share)) for view in room.views):
            return room
        try:
            order = self.ranker.rank(sight.infos(room, self.clock.now()))
        except RankError as error:
            self._complain(str(error))
            order = []
        self.seen = replace(self.seen, ranks={uuid: place for place, uuid in enumerate(order)})
        return self._capacity(workload, halted)

    def _complain(self, why: str) -> None:
        if why != self._rank_error:
            self._rank_error = why
            self._news.append(Notice(text=f"{why}; meanwhile jobs are spread over the GPUs", level="warning"))

    def _free_by_count(self, workload: Workload, room: Capacity) -> bool:
        """Whether a slot is free by our own count: only then is a reading worth its time.

        The others' leases do not count here: whether they still stand is what the reading tells.
        """
        least = workload.least_share(self.share)
        return any(view.used + least <= 1 + SHARE_TOLERANCE for view in room.views)

    def _sample_in_s(self, workload: Workload) -> float:
        """Seconds until a sample is due; infinite while nobody asks how busy a GPU was."""
        wanted = self.rules.limits.max_util_pct is not None or workload.queued_minding_util > 0
        if not wanted or not self.windows or not (workload.queue_length or workload.attempts):
            return float("inf")
        return self._read_at + SAMPLE_S - self.clock.monotonic()

    def _readable(self) -> list[GpuDevice]:
        """The devices of which there should be readings."""
        return [device for device in self.devices if self.probe is not None and device.kind in WITH_READINGS]

    def _understand(self, workload: Workload, at_s: float) -> None:
        """Sort what was read by whose it is; nothing is known of a GPU that could not be read."""
        self._noted_at = max(self._noted_at, at_s)
        by_uuid = {reading.uuid: reading for reading in self.readings}
        for uuid, window in self.windows.items():
            reading = by_uuid.get(uuid)
            if reading is not None and reading.util_pct is not None:  # else: a gap, which may be short enough
                window.add(at_s, reading.util_pct)
        holders = sight.holders_by_runner(workload, self.foreign_tickets())
        pids = {process.pid for reading in self.readings for process in reading.processes or ()}
        runners = self.leases.owners(holders, pids) if pids else {}
        owners = {pid: holders[runner] for pid, runner in runners.items()}
        now = self.clock.now()
        loads = sight.loads(self._readable(), by_uuid, owners, self.windows, monotonic_s=at_s, now=now)
        self.seen = replace(self.seen, loads=loads, readings=by_uuid)
        self._look_for_strays(workload, owners)

    def _look_for_strays(self, workload: Workload, owners: dict[int, str]) -> None:
        self._told &= set(workload.attempts)
        for stray in sight.astray(workload, self.readings, owners):
            if stray.attempt.key not in self._told:
                self._told.add(stray.attempt.key)
                self._news.append(Notice(text=str(stray), job_id=stray.attempt.job_id, level="warning"))

    def _read_ram(self) -> None:
        if self.ram is not None:
            self.seen = replace(self.seen, ram=self.ram.read())

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
        runners = sight.holders_by_runner(workload, self.tickets)
        return self.leases.managed(runners, pids) if pids else frozenset()
