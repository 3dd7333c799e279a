"""Who decides what starts next: the queue's own order, or a policy."""

from __future__ import annotations

from datetime import datetime

from researchflow_tmux.engine.decide import Capacity, Start, decide
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.workload import Workload


class Choice:
    """Asked by the engine; `planner` None = the queue's own order."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.planner: Planner | None = None

    def use(self, planner: Planner | None) -> None:
        """From now on let `planner`, made for this workload, decide."""
        if self.planner is not None:
            self.workload.watchers.remove(self.planner.see)
        self.planner = planner
        if planner is not None:
            self.workload.watchers.append(planner.see)

    def decide(self, room: Capacity, now: datetime) -> list[Start]:
        """The jobs to start now, in order; decide again when `goes_on` says so."""
        return decide(self.workload, room, now) if self.planner is None else self.planner.decide(room, now)

    def due_s(self, now: datetime) -> float:
        """Seconds until it should be asked again though nothing happened."""
        due_s = None if self.planner is None else self.planner.due_s(now)
        return float("inf") if due_s is None else due_s
