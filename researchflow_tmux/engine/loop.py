"""The scheduler's loop: observe → reconcile → decide → record the intent → act.

The result of an act is recorded with what the next tick observes. This is the only part of the engine that talks to
the world, and only through ports. A crash at any line is repaired by the next `tick` of the next scheduler: an intent
is durable before its act, and every act may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended, Launching, Planned, Running, Stopping
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptLaunching,
    AttemptStarted,
    Event,
    Notice,
    Payload,
    QuarantineLifted,
)
from researchflow_tmux.domain.gpus import META_CONDITIONS, encode_conditions
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.wording import stopper
from researchflow_tmux.engine import by_hand, inbox
from researchflow_tmux.engine.context import Context, Rules
from researchflow_tmux.engine.decide import Capacity, goes_on
from researchflow_tmux.engine.emptiness import Emptiness
from researchflow_tmux.engine.gpu_watch import GpuWatch
from researchflow_tmux.engine.launching import Launcher
from researchflow_tmux.engine.pause import Pause
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.ram_guard import RamGuard
from researchflow_tmux.engine.reconcile import Destroy, Fence, NeedSnapshot, Relaunch, disowned, fenced, lost, reconcile
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.submitting import Submission, Submitted, submit
from researchflow_tmux.engine.taking_in import SourceNews, TakenIn, take_in
from researchflow_tmux.engine.workload import Book, Workload
from researchflow_tmux.policies.grace import META_TOUCHED, encode_touched
from researchflow_tmux.ports import (
    ClaimFree,
    Clock,
    Request,
    SessionHost,
    Sessions,
    Snapshot,
    Store,
    Unknown,
    Unreaped,
    Waiter,
    Wakeup,
)

FULL_DISK_S = 1.0
"""How often a disk that refused is tried again; launching goes on as soon as it takes what there is to say."""
RESULTS_S = 0.2
"""That an attempt was launched or began is saved with whatever comes next, or after about this. Losing it in a
crash is harmless: it can be observed again. It saves two waits for the disk per job."""

Control = Callable[[dict[str, Any]], dict[str, Any]]


class Engine:
    """One workspace's scheduler, apart from waiting. `tick` does everything that is due."""

    def __init__(
        self, *, rules: Rules, clock: Clock, store: Store, host: SessionHost, room: RoomReader, waiter: Waiter
    ) -> None:
        self.context = Context(rules=rules, clock=clock, store=store, host=host, waiter=waiter)
        self.workload: Workload = self.context.workload
        self.context.readings = lambda: self.room.last_readings(self.workload)
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
        self.on_saved: Callable[[list[Event]], None] = lambda _events: None
        self._pause = Pause(clock)
        self._launcher = Launcher(self.context, self._pause)
        self._snapshot: Snapshot | None = None
        self._next_sweep = float("-inf")
        self._more = False
        self._save_by = float("inf")
        """When what may wait a moment for company must be saved."""
        self._told: set[AttemptKey] = set()
        self._replies: dict[int, dict[str, Any]] = {}
        self._unsaved = False
        self._emptiness = Emptiness(self.context)
        self.gpus = GpuWatch(self.context)
        self._guard = RamGuard(self.context)
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
        self._snapshot = None  # what an earlier tick saw says nothing about sessions opened since
        now = self.clock.now()
        everything = wakeup.poked or sweep
        if everything:
            self._answer_requests(now)
        self._observe(list(self.workload.attempts) if everything else self._news(wakeup), now, sweep=sweep)
        self.context.step("observed")
        self._pass_on_stops(again=sweep)
        self._guard.look(self.room.ram, self.room.rules, now)
        self.room.keep_up(self.workload)
        if self.halted() is None:
            self._plan(now)
        for news in self.room.take_news():
            self.context.apply(news, now)
        self.gpus.tell_idle(self.room.free_devices(self.workload), now)
        self._emptiness.look(now)
        self.context.step("planned")
        if self._save(now):
            self.context.step("intent saved")
            self._launcher.launch_planned()
            self._close_sessions()
            self.context.step("acted")
        if self.workload.changed:
            self._save_by = min(self._save_by, self.clock.monotonic() + RESULTS_S)

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
    def durable(self) -> bool:
        """Whether the last tick put everything on disk but launches and starts, which can be observed again."""
        return not self._unsaved

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
        waits = None if self.stopping or self._pause.left_s else self._seen_room
        due.append(self.room.due_s(self.workload, waits))
        if self._pause.left_s:
            due.append(self._pause.left_s)
        backoff = self.workload.next_backoff_end(now)
        if backoff is not None and not self.stopping:
            due.append(max((backoff - now).total_seconds(), self._pause.left_s))
        due.append(self.rules.sweep_s if self.stopping else self.choice.due_s(now))
        if self.workload.changed:
            due.append(FULL_DISK_S if self._unsaved else RESULTS_S)
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
        now = self.clock.now()
        for attempt in list(self.workload.attempts.values()):
            if isinstance(attempt.phase, Ended):
                self.context.apply(QuarantineLifted(job_id=attempt.job_id, number=attempt.number), now)
            else:
                self.context.end(disowned(attempt, why, now), now)

    def notice(self, text: str, *, level: str = "info", job_id: int | None = None) -> None:
        """Put a line into the history; saved by the next tick."""
        self.context.apply(Notice(text=text, level=level, job_id=job_id), self.clock.now())

    def look(self) -> Capacity:
        """What may be used now, for showing reasons."""
        return self.room.capacity(self.workload, self.halted(), fresh=False)

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
        if self._snapshot is None or fresh:
            self._snapshot = self.host.snapshot()
        return self._snapshot

    def adopt_sessions(self) -> None:
        """Take over the ended sessions that an earlier scheduler kept."""
        snapshot = self.sessions(fresh=True)
        if isinstance(snapshot, Sessions):
            live = {self.context.tag(attempt) for attempt in self.workload.attempts.values()}
            self.context.kept.adopt(snapshot.by_name.values(), live, self.workload.jobs)

    # -- observe and reconcile -----------------------------------------------------------------------------------------

    def _news(self, wakeup: Wakeup) -> list[AttemptKey]:
        """The attempts to look at: those with news, or, when only time has passed, those with a deadline."""
        attempts = self.workload.attempts.values()
        return sorted(wakeup.runners or (a.key for a in attempts if not isinstance(a.phase, Running | Ended)))

    def _observe(self, keys: Iterable[AttemptKey], now: datetime, *, sweep: bool) -> None:
        for key in keys:
            attempt = self.workload.attempts.get(key)
            if attempt is None or self._launcher.is_fresh(attempt):
                continue
            if isinstance(attempt.phase, Ended):
                self._look_at_quarantine(attempt, now)
            else:
                self._reconcile(attempt, now, ask_host=sweep)

    def _reconcile(self, attempt: Attempt, now: datetime, *, ask_host: bool) -> None:
        seen = self.host.observe(attempt)
        verdict = reconcile(attempt, seen, self.sessions() if ask_host else None, now)
        if isinstance(verdict, NeedSnapshot):
            verdict = reconcile(attempt, seen, self.sessions(), now)
        match verdict:
            case None | NeedSnapshot() | Relaunch():
                pass  # a planned attempt is launched after the next save
            case Fence(why=why):
                if self.host.fence(attempt):
                    self.context.end(fenced(attempt, why, now), now)
            case Destroy(why=why):
                self._destroy(attempt, why, now)
            case AttemptEnded():
                self.context.end(verdict, now)
            case _:
                self.context.apply(verdict, now)
        current = self.workload.attempts.get(attempt.key)
        if current is not None and isinstance(current.phase, Running):
            self.waiter.watch_runner(current.key, current.phase.runner_pid)

    def _destroy(self, attempt: Attempt, why: str, now: datetime) -> None:
        """Kill by cookie until nothing is left: only that proves the tree dead. Then its end can be told."""
        left = self.host.destroy(attempt)
        seen = self.host.observe(attempt)
        if isinstance(seen, ClaimFree):
            self.context.end(replace(lost(attempt, seen, now), quarantined=left), now)
            return
        text = f"killed what was left of it: {why}"
        self.context.apply(Notice(text=text, job_id=attempt.job_id, level="warning"), now)
        verdict = reconcile(attempt, seen, None, now)
        if isinstance(verdict, AttemptEnded):
            self.context.end(replace(verdict, quarantined=left or verdict.quarantined), now)

    def _look_at_quarantine(self, attempt: Attempt, now: datetime) -> None:
        if not self.host.destroy(attempt) and not isinstance(self.host.observe(attempt), Unreaped | Unknown):
            self.context.apply(QuarantineLifted(job_id=attempt.job_id, number=attempt.number), now)

    def _pass_on_stops(self, *, again: bool) -> None:
        """Tell the runners of stopping attempts: once, and after a restart of the scheduler once more."""
        for attempt in self.workload.attempts.values():
            phase = attempt.phase
            if isinstance(phase, Stopping) and attempt.key not in self._told:
                self._told.add(attempt.key)
                self.host.stop(attempt, phase.by, f"stopped by {stopper(phase.by)}")
        if again:
            self._told &= set(self.workload.attempts)

    # -- requests ------------------------------------------------------------------------------------------------------

    def _answer_requests(self, now: datetime) -> None:
        try:
            waiting = self.context.store.requests()
        except StoreError:
            return  # the next sweep asks again
        book = Book(self.workload, now)
        for request in waiting:
            if request.id not in self._replies:  # else: done, but the disk has refused the answer so far
                self._replies[request.id] = self._answer(book, request)

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

    def _plan(self, now: datetime) -> None:
        self._seen_room = None
        if not self.workload.queue_length:
            return
        room = self.room.capacity(self.workload, self.halted(), fresh=True)
        starts = self.choice.decide(room, now)
        self._more, self._seen_room = goes_on(starts, room), room
        for start in starts:
            if not self._launcher.prepare(start, now):
                break

    def _close_sessions(self) -> None:
        keep_successes = not self.rules.cleanup_on_complete
        closing = self.context.kept.to_close(keep=self.rules.keep_sessions, keep_successes=keep_successes)
        if closing:
            self.host.close_sessions(closing)

    def _save(self, now: datetime) -> bool:
        """Make everything durable. False = the disk refuses: nothing is launched until it does not."""
        payloads, jobs, attempts = self.workload.take_changes()
        if self.workload.gpus_changed:
            self.context.meta[META_CONDITIONS] = encode_conditions(self.workload.gpus)
        if self.room.rules.grace_s and any(isinstance(payload, AttemptEnded) for payload in payloads):
            self.context.meta[META_TOUCHED] = encode_touched(self.workload.touched)
        self.context.meta |= self.choice.meta(payloads, now)
        if not (payloads or self._replies or self.context.meta) or self._may_wait(payloads):
            return True
        try:
            meta, store = self.context.meta, self.context.store
            events = store.commit(payloads, jobs, attempts, at=now, replies=self._replies, meta=meta)
        except StoreError as error:
            self._unsaved = True
            self._launcher.refused(str(error))
            return False
        if self._unsaved:  # the disk takes it again: no reason to wait for the end of a long pause
            self._unsaved = False
            self._pause.over()
        self.workload.changes_saved()
        self._replies.clear()
        self.context.meta.clear()
        self._save_by = float("inf")
        self.on_saved(events)
        return True

    def _may_wait(self, payloads: list[Payload]) -> bool:
        """Whether nothing of it is an intent, an end or an answer: then it may wait a moment for company."""
        if self._replies or self.context.meta or self.clock.monotonic() >= self._save_by:
            return False
        return all(isinstance(payload, AttemptLaunching | AttemptStarted) for payload in payloads)
