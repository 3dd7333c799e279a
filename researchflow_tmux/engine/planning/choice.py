"""Who decides what starts next: the queue's own order, or a policy."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, Payload
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.engine import decide
from researchflow_tmux.engine.decide import Capacity, Start
from researchflow_tmux.engine.planning.explaining import explain
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.usage import Kept

META_USAGE = "project_usage"
"""In the store's meta table: who has used how much, for the next scheduler."""


def kept_usage(meta: str | None) -> Kept | None:
    """What an earlier scheduler saved. What cannot be read counts as nothing: shares begin anew, no job is lost."""
    try:
        return None if meta is None else msgspec.json.decode(meta, type=Kept)
    except msgspec.MsgspecError:
        return None


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
        return decide.decide(self.workload, room, now) if self.planner is None else self.planner.decide(room, now)

    def explain(self, room: Capacity, now: datetime, most: int | None = None) -> dict[int, Reason]:
        """Why each queued job (the first `most`) is not running, by job id."""
        if self.planner is None:
            return decide.explain(self.workload, room, now, most)
        return explain(self.planner, room, now, most)

    def meta(self, payloads: Iterable[Payload], now: datetime) -> dict[str, str]:
        """What is to be saved with these events, for the next scheduler."""
        if self.planner is None or not any(isinstance(payload, AttemptPlanned | AttemptEnded) for payload in payloads):
            return {}
        return {META_USAGE: msgspec.json.encode(self.planner.index.usage.kept(now.timestamp())).decode()}

    def due_s(self, now: datetime) -> float:
        """Seconds until it should be asked again though nothing happened."""
        due_s = None if self.planner is None else self.planner.due_s(now)
        return float("inf") if due_s is None else due_s
