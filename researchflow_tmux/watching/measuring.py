"""One round of measuring: the processes of every attempt, and their part of the GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.adapters.process_table import Load, ProcessTable
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Running, Stopping
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.domain.usage import Measured, Usage
from researchflow_tmux.policies.usage import added, gpu_use


class Target(msgspec.Struct, frozen=True):
    """An attempt that runs: what is measured of it."""

    key: AttemptKey
    runner_pid: int
    gpus: tuple[str, ...]
    """UUIDs of its GPUs."""


def target(attempt: Attempt) -> Target | None:
    """What to measure of an attempt; None = it does not run yet."""
    phase = attempt.phase
    if not isinstance(phase, Running | Stopping) or phase.runner_pid is None:
        return None
    return Target(attempt.key, phase.runner_pid, tuple(gpu.uuid for gpu in attempt.allocation.gpus))


class Meter:
    """Measures attempts again and again, and keeps what is known of each."""

    def __init__(self, known: Mapping[AttemptKey, Usage] | None = None, table: ProcessTable | None = None) -> None:
        """`known` = peaks of attempts that an earlier scheduler measured."""
        self.usages: dict[AttemptKey, Usage] = dict(known or {})
        self._table = table or ProcessTable()
        self._before: dict[AttemptKey, tuple[float, float]] = {}
        """CPU seconds so far, and when."""

    def measure(
        self, targets: Sequence[Target], readings: Mapping[str, GpuReading], *, now: datetime, monotonic_s: float
    ) -> None:
        """Measure every attempt once. One whose runner is gone keeps what was known of it."""
        if not targets:
            return
        self._table.read()
        loads = self._table.below([each.runner_pid for each in targets])
        for each in targets:
            load = loads.get(each.runner_pid)
            if load is not None:
                measured = Measured(
                    cpu_pct=self._cpu_pct(each.key, load, monotonic_s),
                    rss_mib=round(load.rss_mib, 1),
                    gpus={uuid: gpu_use(readings.get(uuid), load.pids, self._table.__contains__) for uuid in each.gpus},
                )
                self.usages[each.key] = added(self.usages.get(each.key), measured, now)

    def forget(self, keep: frozenset[AttemptKey]) -> None:
        """Drop what is known of all other attempts."""
        for key in self.usages.keys() - keep:
            del self.usages[key]
        for key in self._before.keys() - keep:
            del self._before[key]

    def _cpu_pct(self, key: AttemptKey, load: Load, monotonic_s: float) -> float | None:
        """Between the measurement before and this one. Children that nobody waited for take their time with them."""
        before = self._before.get(key)
        self._before[key] = (load.cpu_s, monotonic_s)
        if before is None or monotonic_s <= before[1]:
            return None
        return round(max(0.0, load.cpu_s - before[0]) / (monotonic_s - before[1]) * 100.0, 1)
