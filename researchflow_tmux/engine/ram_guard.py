"""Stops a job before the machine runs out of memory and the kernel picks a process of its own choice."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Running, Stopping
from researchflow_tmux.domain.events import JobRespecified, Notice
from researchflow_tmux.domain.limits import RamReading, RoomRules
from researchflow_tmux.engine.by_hand import stop_attempt
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.policies.ram import STOPPED_BY, JobMemory, victim
from researchflow_tmux.ports import RamProbe

LOOK_S = 2.0
"""How often the memory is looked at while a job runs."""
IN_A_ROW = 2
"""Readings in a row above the limit before anything is stopped: a short peak is none."""


class RamGuard:
    """Watches the machine's memory for one engine."""

    def __init__(self, context: Context) -> None:
        self._it = context
        self._next_s = float("-inf")
        self._above = 0
        self._told = False

    def due_s(self, rules: RoomRules) -> float:
        """Seconds until the next look; infinite where there is nothing to watch."""
        if rules.kill_ram_pct is None or not self._it.workload.attempts:
            return float("inf")
        return max(self._next_s - self._it.clock.monotonic(), 0.0)

    def look(self, probe: RamProbe | None, rules: RoomRules, now: datetime) -> None:
        """Stop one job if the memory in use was above the limit at this look and the one before.

        A reading that fails stops nothing, and neither does anything happen while a job that was told to end ends.
        """
        if probe is None or rules.kill_ram_pct is None or self.due_s(rules) > 0:
            return
        self._next_s = self._it.clock.monotonic() + LOOK_S
        ram = probe.read()
        high = ram is not None and ram.used_pct >= rules.kill_ram_pct
        self._above = self._above + 1 if high else 0
        self._told = self._told and high
        if ram is not None and self._above >= IN_A_ROW and not self._one_ends():
            self._stop_one(probe, ram, rules.kill_ram_pct, now)

    def _one_ends(self) -> bool:
        return any(isinstance(attempt.phase, Stopping) for attempt in self._it.workload.attempts.values())

    def _stop_one(self, probe: RamProbe, ram: RamReading, limit_pct: float, now: datetime) -> None:
        running = {
            attempt.phase.runner_pid: (attempt.job_id, attempt.phase.started_at)
            for attempt in self._it.workload.attempts.values()
            if isinstance(attempt.phase, Running)
        }
        used = probe.used_by(running)
        found = victim(ram, [JobMemory(job, used.get(pid), started) for pid, (job, started) in running.items()])
        fact = f"{ram.used_pct:.0f} % of the machine's memory is in use, limit {limit_pct:g} % (kill_ram)"
        if found is None:
            if not self._told:
                self._told = True
                text = f"{fact}, but no job is known to use a noticeable part of it: none is stopped"
                self._it.apply(Notice(text=text, level="warning"), now)
            return
        self._above = 0
        job = self._it.workload.jobs[found.job_id]
        noted = replace(job, ram_stops=job.ram_stops + 1, ram_mib=found.used_mib)
        text = f"stopped, and waits again: {fact}; it uses {found.used_mib} MiB"
        self._it.apply(JobRespecified(job_id=job.id, job=noted, why=text), now)
        stop_attempt(Book(self._it.workload, now), noted, by=STOPPED_BY, grace_s=self._it.rules.stop_grace_s)
