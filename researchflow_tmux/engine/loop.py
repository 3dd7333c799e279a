"""The scheduler's loop: observe → reconcile → decide → record the intent → act.

The result of an act is recorded with what the next tick observes. This is the only part of the engine that talks to
the world, and only through ports. A crash at any line is repaired by the next `tick` of the next scheduler: an intent
is durable before its act, and every act may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.domain.attempt import Launching, Planned, Stopping
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import (
    Event,
    Notice,
)
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine import by_hand, inbox
from researchflow_tmux.engine.clock_watch import ClockWatch
from researchflow_tmux.engine.commons import Commons
from researchflow_tmux.engine.context import Context, Rules
from researchflow_tmux.engine.decide import Capacity, Start, goes_on
from researchflow_tmux.engine.emptiness import Emptiness
from researchflow_tmux.engine.gpu_watch import GpuWatch
from researchflow_tmux.engine.granting import Granting
from researchflow_tmux.engine.launching import Launcher
from researchflow_tmux.engine.observing import Observer
from researchflow_tmux.engine.pause import Pause
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.preempting import Preemptor
from researchflow_tmux.engine.ram_guard import RamGuard
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.saving import Saver
from researchflow_tmux.engine.submitting import Submission, Submitted, submit
from researchflow_tmux.engine.taking_in import SourceNews, TakenIn, take_in
from researchflow_tmux.engine.workload import Book, Workload
from researchflow_tmux.ports import (
    Clock,
    Request,
    SessionHost,
    Snapshot,
    Store,
    Waiter,
    Wakeup,
)

Control = Callable[[dict[str, Any]], dict[str, Any]]


class Engine:
    """One workspace's scheduler, apart from waiting. `tick` does everything that is due."""

    def __init__(
        self, *, rules: Rules, clock: Clock, store: Store, host: SessionHost, room: RoomReader, waiter: Waiter
    ) -> None:
        self.context = Context(rules=rules, clock=clock, store=store, host=host, waiter=waiter)
        self.workload: Workload = self.context.workload
        self.context.readings = lambda: self.room.last_readings(self.workload)
        self.context.devices = lambda: self.room.devices
        self.context.machine_mib = lambda: self.room.rules.machine_mib
        self.clock = clock
        self.waiter = waiter
        self.room = room
        self.choice = Choice(self.workload)
        """Decides what starts next."""
        self.stopping = False
        """No new launches; the loop ends (see `drained`)."""
        self.controls: dict[str, Control] = {}
        """Requests that concern the process around the engine (stop, reload)."""
        self._pause = Pause(clock)
        self._launcher = Launcher(self.context, self._pause)
        self._observer = Observer(self.context, self._launcher)
        self._saver = Saver(self.context, self._launcher, self._pause, self.choice)
        self._preemptor = Preemptor(self.context, self.choice)
        self._stops = False
        """Whether jobs were told to make room since the last stops were passed on."""
        self._next_sweep = float("-inf")
        self._more = False
        self._clock_watch = ClockWatch(self.context, self.choice.jumped)
        self._emptiness = Emptiness(self.context)
        self.gpus = GpuWatch(self.context)
        self._guard = RamGuard(self.context)
        self.granting = Granting(self.context)
        self.commons: Commons | None = None
        """What is shared with other workspaces of the machine; None = nothing."""
        self._seen_room: Capacity | None = None
        """What the last decision left, while jobs wait."""

    # -- the tick ------------------------------------------------------------------------------------------------------

    def tick(self, wakeup: Wakeup | None = None) -> None:
        """Observe, reconcile, decide and act once. Raises nothing that a full disk or a silent tmux can cause."""
        wakeup = wakeup or Wakeup(poked=True)
        self._more = False
        sweep = self.clock.monotonic() >= self._next_sweep
        if sweep:
            self._next_sweep = self.clock.monotonic() + self.rules.sweep_s
        self._observer.begin_tick()
        now = self.clock.now()
        self._clock_watch.look(now)
        everything = wakeup.poked or sweep
        if everything:
            self._answer_requests(now)
        keys = list(self.workload.attempts) if everything else self._observer.with_news(wakeup)
        self._observer.observe(keys, now, sweep=sweep)
        self.context.step("observed")
        self._observer.pass_on_stops(again=sweep)
        self._guard.look(self.room.ram, self.room.rules, now)
        self.room.keep_up(self.workload)
        with nullcontext() if self.commons is None else self.commons.turn(now):
            self.granting.look(now)
            decided = self._decide(now) if self.halted() is None else None
        if self.commons is not None and self.commons.untold is not None:
            self.granting.take_back(self.commons.names, now)
        if decided is not None:
            self._prepare(*decided, now)
        for news in (*self.room.take_news(), *self.choice.take_news()):
            self.context.apply(news, now)
        self.gpus.tell_idle(self.room.free_devices(self.workload), now)
        self._emptiness.look(now)
        self.context.step("planned")
        if self._saver.save(now, touched=bool(self.room.rules.grace_s)):
            self.context.step("intent saved")
            self.granting.tell()
            if self._stops:
                self._observer.pass_on_stops(again=False)
            self._launcher.launch_planned()
            self._close_sessions()
            self.context.step("acted")
        self._saver.note_rest()

    @property
    def rules(self) -> Rules:
        """The settings in force."""
        return self.context.rules

    @property
    def host(self) -> SessionHost:
        """Where attempts run."""
        return self.context.host

    def retune(self, rules: Rules, host: SessionHost, room: RoomReader) -> None:
        """Go on with changed settings."""
        room.go_on_from(self.room)
        self.context.rules, self.context.host, self.room = rules, host, room

    @property
    def on_saved(self) -> Callable[[list[Event]], None]:
        """Called with the events of each save."""
        return self._saver.on_saved

    @on_saved.setter
    def on_saved(self, call: Callable[[list[Event]], None]) -> None:
        self._saver.on_saved = call

    @property
    def durable(self) -> bool:
        """Whether the last tick put everything on disk but launches and starts, which can be observed again."""
        return not self._saver.refused

    @property
    def halted_by_host(self) -> str | None:
        """What the machine refused, in its own words; None = nothing."""
        reason = self._pause.reason
        return None if reason is None else reason.text

    @property
    def drained(self) -> bool:
        """Nothing runs."""
        return not self.workload.attempts

    def wait_s(self) -> float:
        """Seconds until something is due by time."""
        if self._more and self.halted() is None:
            return 0.0
        now = self.clock.now()
        due = [self._next_sweep - self.clock.monotonic(), self.rules.sweep_s]
        due.append(self.gpus.due_s())
        due.append(self._guard.due_s(self.room.rules))
        due.append(self.granting.due_s())
        due.append(float("inf") if self.commons is None else self.commons.due_s())
        waits = None if self.stopping or self._pause.left_s else self._seen_room
        due.append(self.room.due_s(self.workload, waits))
        if self._pause.left_s:
            due.append(self._pause.left_s)
        backoff = self.workload.next_backoff_end(now)
        if backoff is not None and not self.stopping:
            due.append(max((backoff - now).total_seconds(), self._pause.left_s))
        due.append(self.rules.sweep_s if self.stopping else self.choice.due_s(now))
        if self._saver.due_s is not None:
            due.append(self._saver.due_s)
        for attempt in self.workload.attempts.values():
            if isinstance(attempt.phase, Stopping):
                due.append(max((attempt.phase.kill_at - now).total_seconds(), 1.0))
            elif isinstance(attempt.phase, Planned | Launching):
                due.append(1.0)
        return max(min(due), 0.0)

    # -- from inside the process ---------------------------------------------------------------------------------------

    def answer(self, request: Request) -> dict[str, Any]:
        """Answer a request that never was in the inbox; what it did is saved by the next tick."""
        return self._answer(Book(self.workload, self.clock.now()), request)

    def submit(self, submission: Submission) -> Submitted:
        """Queue jobs; saved by the next tick."""
        return submit(Book(self.workload, self.clock.now()), submission)

    def take_in(self, news: SourceNews) -> TakenIn:
        """Carry out what the files of a source say; saved by the next tick."""
        return take_in(Book(self.workload, self.clock.now()), news)

    def cancel(self, job_ids: Iterable[int], by: str) -> None:
        """Cancel jobs (kill-all); carried out and saved by the next tick."""
        by_hand.cancel(Book(self.workload, self.clock.now()), job_ids, by, self.rules.stop_grace_s)

    def remember(self, meta: dict[str, str]) -> None:
        """Keep facts about the workspace; saved by the next tick."""
        self.context.note_meta(meta)

    def disown(self, why: str) -> None:
        """Give up every live attempt without touching it: they are another workspace's. Saved by the next tick."""
        self._observer.disown(why, self.clock.now())

    def notice(self, text: str, *, level: str = "info", job_id: int | None = None) -> None:
        """Put a line into the history; saved by the next tick."""
        self.context.apply(Notice(text=text, level=level, job_id=job_id), self.clock.now())

    def look(self) -> Capacity:
        """What may be used now, for showing reasons."""
        room = self.room.capacity(self.workload, self.halted(), fresh=False)
        room.accounts = self.context.accounting.accounts(self.clock.now())
        return room

    def halted(self) -> Reason | None:
        """Why nothing at all is launched just now; None = launching goes on."""
        if self.stopping:
            return Reason(code=ReasonCode.STOPPING)
        if self.context.failure and self.rules.stop_on_failure:
            text = f"{self.context.failure}; `rfsched start` goes on"
            return Reason(code=ReasonCode.AFTER_FAILURE, text=text)
        return self._pause.reason

    def sessions(self, *, fresh: bool = False) -> Snapshot:
        """The tmux sessions, asked at most once a tick."""
        return self._observer.sessions(fresh=fresh)

    def adopt_sessions(self) -> None:
        """Take over the ended sessions that an earlier scheduler kept."""
        self._observer.adopt_sessions()

    # -- requests ------------------------------------------------------------------------------------------------------

    def _answer_requests(self, now: datetime) -> None:
        try:
            waiting = self.context.store.requests()
        except StoreError:
            return  # the next sweep asks again
        book = Book(self.workload, now)
        for request in waiting:
            if request.id not in self._saver.replies:  # else: done, but the disk has refused the answer so far
                self._saver.replies[request.id] = self._answer(book, request)

    def _answer(self, book: Book, request: Request) -> dict[str, Any]:
        try:
            if request.kind == "remember":
                self.context.note_meta({key: str(value) for key, value in request.body.items()})
            if request.kind in self.controls:
                return self.controls[request.kind](request.body)
            return inbox.handle(book, request, self.rules.stop_grace_s)
        except (msgspec.MsgspecError, TypeError, KeyError, ValueError) as error:
            return {"error": f"the request {request.kind!r} cannot be understood: {error}"}

    # -- decide, act, save ---------------------------------------------------------------------------------------------

    def _decide(self, now: datetime) -> tuple[Sequence[Start], Capacity] | None:
        self._seen_room, self._stops = None, False
        if not self.workload.queue_length:
            return None
        room = self.room.capacity(self.workload, self.halted(), fresh=True)
        room.accounts = self.context.accounting.accounts(now)
        starts = self.choice.decide(room, now)
        self._more, self._seen_room = goes_on(starts, room), room
        if self.commons is None:
            return starts, room
        agreed = self.commons.booked(self.commons.allowed(starts, now), now)
        self._more = self._more and len(agreed) == len(starts)
        return agreed, room

    def _prepare(self, starts: Sequence[Start], room: Capacity, now: datetime) -> None:
        for start in starts:
            if not self._launcher.prepare(start, now):
                break
        self._stops = self._preemptor.make_room(room, now)

    def _close_sessions(self) -> None:
        keep_successes = not self.rules.cleanup_on_complete
        closing = self.context.kept.to_close(keep=self.rules.keep_sessions, keep_successes=keep_successes)
        if closing:
            self.host.close_sessions(closing)
