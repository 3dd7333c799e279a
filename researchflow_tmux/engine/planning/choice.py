"""Who decides what starts next: the queue's own order, a policy, or a plug-in of the user's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import TypeVar

import msgspec

from researchflow_tmux.domain.errors import PolicyError
from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, Notice, Payload
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.plugin import DEFAULT_POLICY
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import Allocation
from researchflow_tmux.engine import decide
from researchflow_tmux.engine.decide import Capacity, Start, goes_on
from researchflow_tmux.engine.planning.explaining import explain
from researchflow_tmux.engine.planning.guest import LOADING_S, Guest
from researchflow_tmux.engine.planning.making_room import Saved, Wave
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.recording import QueueRough, Recorder
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.usage import Kept

Answered = TypeVar("Answered")

META_USAGE = "project_usage"
"""In the store's meta table: who has used how much, for the next scheduler."""


def kept_usage(meta: str | None) -> Kept | None:
    """What an earlier scheduler saved. What cannot be read counts as nothing: shares begin anew, no job is lost."""
    try:
        return None if meta is None else msgspec.json.decode(meta, type=Kept)
    except msgspec.MsgspecError:
        return None


class Choice:
    """Asked by the engine; `planner` None = the queue's own order. Nothing that a policy does ends the engine."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.planner: Planner | None = None
        self.guest: Guest | None = None
        """The policy plug-in that gives the planner its keys; None = there is none."""
        self.fault: str | None = None
        """Why the queue's own order decides although a policy was chosen; None = it does not."""
        self.recorder: Recorder | None = None
        """Notes each decision; None = nobody wants to know."""
        self._news: list[Notice] = []
        self._soon_s: float | None = None
        workload.watchers.append(self._see)

    @property
    def trouble(self) -> str | None:
        """Why another policy decides than the one that was chosen; None = it does not."""
        if self.guest is not None and self.guest.error is not None:
            return f"{self.guest.error}; `{DEFAULT_POLICY}` decides until its file changes or `policy` is set anew"
        return self.fault

    def use(self, planner: Planner | None) -> None:
        """From now on let `planner`, made for this workload, decide."""
        self.guest = self.fault = None
        self.planner = planner

    def invite(self, guest: Guest) -> None:
        """From now on let a plug-in decide, as soon as it is loaded; until then nothing starts."""
        self.use(guest.stand_in())
        self.guest = guest

    def decide(self, room: Capacity, now: datetime) -> list[Start]:
        """The jobs to start now, in order; decide again when `goes_on` or `due_s` says so."""
        self._soon_s = None
        try:
            if self.guest is not None and not self._heard(self.guest, room, now):
                return []
            if self.planner is not None:
                self.planner.on_decided = None if self.recorder is None else self.recorder.see
                return self.planner.decide(room, now)
        except PolicyError:  # only where somebody wants to see it: see `Guest`
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a policy: jobs go on, by the queue's order
            self._give_up(error)
            self._soon_s = 0.0  # the room may be half booked: decide again over a new one
            return []
        return self._by_queue(room, now)

    def _by_queue(self, room: Capacity, now: datetime) -> list[Start]:
        if self.recorder is None:
            return decide.decide(self.workload, room, now)
        free = {view.device.uuid: 1.0 - view.used - view.others for view in room.views if view.blocked is None}
        places = room.cpu_places
        walked: list[tuple[Job, Allocation | Reason]] = []
        starts = decide.decide(self.workload, room, now, walked)
        if walked:
            rough = QueueRough(
                at=now,
                waiting=self.workload.queue_length,
                free=free,
                cpu_places=places,
                walked=walked,
                started=tuple(start.job.id for start in starts),
                more=goes_on(starts, room),
            )
            self.recorder.see_queue(rough)
        return starts

    def make_room(self, room: Capacity, now: datetime, saved: Saved) -> Wave | None:
        """Whom to stop for a job that would miss its deadline; None = nobody. See `Planner.make_room`."""
        return self._asked(lambda planner: planner.make_room(room, now, saved))

    def _heard(self, guest: Guest, room: Capacity, now: datetime) -> bool:
        """Let the plug-in speak, or the default take its place; False = nothing may start for the moment."""
        try:
            arrived = guest.arrive()
            if arrived is not None:
                self.planner = arrived
                self._news.append(Notice(text=f"policy {guest.name} is loaded: it decides what starts next"))
            if guest.loading:
                self._soon_s = LOADING_S
            if self.planner is None or not guest.known:
                return False
            if not self.planner.open(room, now):
                return True
            complete = guest.ask(self.planner, room, now)
        except PolicyError as error:
            self.planner = guest.fail(error)
            self._news.append(Notice(text=self.trouble or str(error), level="warning"))
            return True
        if not complete:
            self._soon_s = 0.0
        return complete

    def _see(self, payload: Payload, at: datetime) -> None:
        planner = self.planner
        if planner is None:
            return
        try:
            planner.see(payload, at)
            if self.guest is not None:
                self.guest.see(planner, payload, at)
        except Exception as error:  # noqa: BLE001 - see `decide`
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """A planner raised: that is a fault of ours, and what it knows cannot be trusted any more."""
        name = "" if self.planner is None else f" {self.planner.rules.policy.name}"
        self.planner = self.guest = None
        self.fault = (
            f"the policy{name} failed ({_words(error)}): the queue's own order decides until "
            "`rfsched config set policy` or a restart; please report this"
        )
        self._news.append(Notice(text=self.fault, level="warning"))

    def jumped(self, by_s: float) -> None:
        """The wall clock was set: what has gone by since is not as long as it seems."""
        self._asked(lambda planner: planner.jumped(by_s))

    def take_news(self) -> list[Notice]:
        """What is worth telling since the last call."""
        news, self._news = self._news, []
        return news

    def explain(
        self, room: Capacity, now: datetime, most: int | None = None, only: Collection[int] | None = None
    ) -> dict[int, Reason]:
        """Why each queued job (the first `most`, or `only` these) is not running, by job id."""
        found = self._asked(lambda planner: explain(planner, room, now, most, only))
        if found is not None:
            return found
        found = decide.explain(self.workload, room, now, most)
        return found if only is None else {job_id: found[job_id] for job_id in only if job_id in found}

    def meta(self, payloads: Iterable[Payload], now: datetime) -> dict[str, str]:
        """What is to be saved with these events, for the next scheduler."""
        if not any(isinstance(payload, AttemptPlanned | AttemptEnded) for payload in payloads):
            return {}
        kept = self._asked(lambda planner: planner.index.usage.kept(now.timestamp()))
        return {} if kept is None else {META_USAGE: msgspec.json.encode(kept).decode()}

    def due_s(self, now: datetime) -> float:
        """Seconds until it should be asked again though nothing happened."""
        if self._soon_s is not None and self.workload.queue_length:
            return self._soon_s
        due_s = self._asked(lambda planner: planner.due_s(now))
        return float("inf") if due_s is None else due_s

    def _asked(self, question: Callable[[Planner], Answered | None]) -> Answered | None:
        """What the planner answers; None = there is none, or it raises."""
        if self.planner is None:
            return None
        try:
            return question(self.planner)
        except Exception as error:  # noqa: BLE001 - see `decide`
            self._give_up(error)
            self._soon_s = 0.0
            return None


def _words(error: Exception) -> str:
    """The error in one line, with the place that raised it."""
    place, trace = "", error.__traceback__
    while trace is not None:
        place, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}: ", trace.tb_next
    return f"{place}{type(error).__name__}: {error}"
