"""The scheduler's loop: observe → reconcile → decide → record the intent → act → record the result.

The only part of the engine that talks to the world, and only through ports. A crash at any line is repaired by the
next `tick` of the next scheduler: an intent is durable before its act, and every act may be repeated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import (
    Attempt,
    AttemptKey,
    Ended,
    LaunchFailed,
    Launching,
    Planned,
    Running,
    Stopping,
)
from researchflow_tmux.domain.errors import LaunchError, StoreError
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptLaunching,
    AttemptPlanned,
    Event,
    JobChanged,
    Notice,
    Payload,
    QuarantineLifted,
)
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.names import session_name, short_hash
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine import requests as asking
from researchflow_tmux.engine.decide import MAX_STARTS, Capacity, Start, decide
from researchflow_tmux.engine.reconcile import (
    Destroy,
    Fence,
    NeedSnapshot,
    Relaunch,
    fenced,
    is_success,
    reconcile,
)
from researchflow_tmux.engine.requests import Book
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies import retry
from researchflow_tmux.ports import (
    Clock,
    Launched,
    LaunchRefused,
    NameTaken,
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

Control = Callable[[dict[str, Any]], dict[str, Any]]

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that the engine itself acts on."""

    workspace_id: str
    prefix: str
    """First part of session names."""
    hostname: str
    sweep_s: float = 10.0
    stop_grace_s: float = 10.0
    retry_delay_s: float = 10.0
    restart_lost: bool = False
    cleanup_on_complete: bool = False
    keep_sessions: int = 20


class Engine:
    """One workspace's scheduler, apart from waiting. `tick` does everything that is due."""

    def __init__(
        self, *, rules: Rules, clock: Clock, store: Store, host: SessionHost, room: RoomReader, waiter: Waiter
    ) -> None:
        self.rules = rules
        self.clock = clock
        self.store = store
        self.host = host
        self.room = room
        self.waiter = waiter
        stored = store.load()
        self.workload = Workload(stored.jobs, stored.attempts, stored.next_job_id)
        self.stopping = False
        """No new launches; the loop ends (see `drained`)."""
        self.snapshot: Snapshot | None = None
        self.sessions_at: float = float("-inf")
        self._kept_ok: deque[tuple[str, str]] = deque()
        self._kept_failed: deque[tuple[str, str]] = deque()
        self._next_sweep = float("-inf")
        self._pause_until = float("-inf")
        self._pause_s = 0.0
        self._halt: Reason | None = None
        self._fresh: set[AttemptKey] = set()
        self._told: set[AttemptKey] = set()
        self._replies: dict[int, dict[str, Any]] = {}
        self._meta: dict[str, str] = {}
        self._more = False
        self.controls: dict[str, Control] = {}
        """Requests that concern the process around the engine (stop, reload)."""
        self.on_saved: Callable[[list[Event]], None] = lambda _events: None

    # -- the tick ------------------------------------------------------------------------------------------------------

    def tick(self, wakeup: Wakeup | None = None) -> None:
        """Observe, reconcile, decide and act once. Raises nothing that a full disk or a silent tmux can cause."""
        wakeup = wakeup or Wakeup(poked=True)
        sweep = self.clock.monotonic() >= self._next_sweep
        if sweep:
            self._next_sweep = self.clock.monotonic() + self.rules.sweep_s
        self.snapshot = None  # what an earlier tick saw says nothing about sessions opened since
        now = self.clock.now()
        if wakeup.poked or sweep:
            self._answer_requests(now)
        everything = sweep or wakeup.poked
        self._observe(list(self.workload.attempts) if everything else sorted(wakeup.runners), now, sweep=sweep)
        self._stop_attempts()
        if not self.stopping and self.clock.monotonic() >= self._pause_until:
            self._plan(now)
        if self._save(now):
            self._launch()
            self._close_sessions()
            self._save(self.clock.now())

    @property
    def drained(self) -> bool:
        """Nothing runs and nothing is to be launched."""
        return not self.workload.attempts

    def wait_s(self) -> float:
        """Seconds until something is due by time."""
        now, mono = self.clock.now(), self.clock.monotonic()
        if self._more:
            return 0.0
        due = [self._next_sweep - mono]
        if self._pause_until > mono:
            due.append(self._pause_until - mono)
        backoff = self.workload.next_backoff_end()
        if backoff is not None and not self.stopping:
            due.append(max((backoff - now).total_seconds(), self._pause_until - mono))
        for attempt in self.workload.attempts.values():
            if isinstance(attempt.phase, Stopping):
                due.append((attempt.phase.kill_at - now).total_seconds())
            elif isinstance(attempt.phase, Planned | Launching):
                due.append(1.0)
        return min(max(min(due), 0.0), self.rules.sweep_s)

    def submit(self, submission: asking.Submission) -> asking.Submitted:
        """Queue jobs from inside the scheduler (a watched directory); saved by the next tick."""
        return asking.submit(Book(self.workload, self.clock.now()), submission)

    def cancel(self, job_ids: Iterable[int], by: str) -> None:
        """Cancel jobs from inside (kill-all); carried out and saved by the next tick."""
        asking.cancel(Book(self.workload, self.clock.now()), job_ids, by, self.rules.stop_grace_s)

    def notice(self, text: str, *, level: str = "info", job_id: int | None = None) -> None:
        """Put a line into the history; saved by the next tick."""
        self._apply(Notice(text=text, level=level, job_id=job_id), self.clock.now())

    def look(self) -> Capacity:
        """What may be used now, for showing reasons."""
        return self.room.capacity(self.workload, self.halted(), fresh=False)

    def sessions(self, *, fresh: bool = False) -> Snapshot:
        """The tmux sessions, asked at most once a tick."""
        if self.snapshot is None or fresh:
            self.snapshot = self.host.snapshot()
        return self.snapshot

    # -- observe and reconcile -----------------------------------------------------------------------------------------

    def _observe(self, keys: Iterable[AttemptKey], now: datetime, *, sweep: bool) -> None:
        for key in keys:
            attempt = self.workload.attempts.get(key)
            if attempt is None:
                continue
            if isinstance(attempt.phase, Ended):
                self._look_at_quarantine(attempt, now)
            elif not (key in self._fresh and isinstance(attempt.phase, Planned)):
                self._reconcile_one(attempt, now, ask_host=sweep)

    def _reconcile_one(self, attempt: Attempt, now: datetime, *, ask_host: bool) -> None:
        seen = self.host.observe(attempt)
        verdict = reconcile(attempt, seen, self.sessions() if ask_host else None, now)
        if isinstance(verdict, NeedSnapshot):
            verdict = reconcile(attempt, seen, self.sessions(), now)
        match verdict:
            case None | NeedSnapshot() | Relaunch():
                pass  # a planned attempt is launched by `_launch`
            case Fence(why=why):
                if self.host.fence(attempt):
                    self._end(fenced(attempt, why, now), now)
            case Destroy(why=why):
                self._destroy(attempt, why, now)
            case AttemptEnded():
                self._end(verdict, now)
            case _:
                self._apply(verdict, now)
        current = self.workload.attempts.get(attempt.key)
        if current is not None and isinstance(current.phase, Running):
            self.waiter.watch_runner(current.key, current.phase.runner_pid)

    def _destroy(self, attempt: Attempt, why: str, now: datetime) -> None:
        left = self.host.destroy(attempt)
        self._apply(Notice(text=f"killed what was left of it: {why}", job_id=attempt.job_id, level="warning"), now)
        seen = self.host.observe(attempt)
        verdict = reconcile(attempt, seen, None, now)
        if isinstance(verdict, AttemptEnded):
            self._end(replace(verdict, quarantined=left), now)

    def _end(self, payload: AttemptEnded, now: datetime) -> None:
        """The attempt is over: decide what becomes of its job, in the same transaction."""
        attempt = self.workload.attempts[(payload.job_id, payload.number)]
        job = self.workload.jobs[payload.job_id]
        self._apply(payload, now)
        self.waiter.forget_runner(attempt.key)
        self._remember_session(attempt, ok=is_success(payload))
        stopping = attempt.phase if isinstance(attempt.phase, Stopping) else None
        change = retry.after(
            job,
            payload.ended.outcome,
            requeue=bool(stopping and stopping.requeue),
            retry_delay_s=self.rules.retry_delay_s,
            restart_lost=self.rules.restart_lost,
            now=now,
        )
        self._apply(change, now)
        if change.state in (JobState.FAILED, JobState.CANCELLED):
            asking.skip_dependents(Book(self.workload, now), job.id)

    def _look_at_quarantine(self, attempt: Attempt, now: datetime) -> None:
        if not isinstance(self.host.observe(attempt), Unreaped | Unknown):
            self._apply(QuarantineLifted(job_id=attempt.job_id, number=attempt.number), now)

    # -- requests ------------------------------------------------------------------------------------------------------

    def _answer_requests(self, now: datetime) -> None:
        try:
            waiting = self.store.requests()
        except StoreError:
            return  # the next sweep asks again
        book = Book(self.workload, now)
        for request in waiting:
            if request.id in self._replies:
                continue  # done, but the disk has refused the answer so far
            self._replies[request.id] = self._answer(book, request)

    def _answer(self, book: Book, request: Request) -> dict[str, Any]:
        try:
            if request.kind == "remember":
                self._meta |= {key: str(value) for key, value in request.body.items()}
                control = self.controls.get("remembered")
                return control(request.body) if control else {}
            if request.kind in self.controls:
                return self.controls[request.kind](request.body)
            return asking.handle(book, request.kind, request.body, request.by, self.rules.stop_grace_s)
        except (msgspec.ValidationError, TypeError, KeyError, ValueError) as error:
            return {"error": f"the request {request.kind!r} cannot be understood: {error}"}

    def _stop_attempts(self) -> None:
        """Pass each new `Stopping` on to its runner. Asked again at every sweep until it ends: repeating is harmless."""
        for attempt in self.workload.attempts.values():
            phase = attempt.phase
            if isinstance(phase, Stopping) and attempt.key not in self._told:
                self._told.add(attempt.key)
                self.host.stop(attempt, phase.by, f"stopped by {phase.by}")
        self._told &= set(self.workload.attempts)

    # -- decide --------------------------------------------------------------------------------------------------------

    def _plan(self, now: datetime) -> None:
        self._more = False
        if not self.workload.queue_length:
            return
        room = self.room.capacity(self.workload, self.halted(), fresh=True)
        starts = decide(self.workload, room, now)
        self._more = len(starts) == MAX_STARTS
        for start in starts:
            if not self._prepare(start, now):
                break

    def _prepare(self, start: Start, now: datetime) -> bool:
        """Write the attempt's directory, then its intent. False = the disk refuses: stop launching for now."""
        job = start.job
        number = job.attempts + 1
        attempt = Attempt(
            job_id=job.id,
            number=number,
            allocation=start.allocation,
            session=session_name(self.rules.prefix, job.slug, start.allocation.indices),
            log=None,
            planned_at=now,
            boot_id=self.clock.boot_id,
            hostname=self.rules.hostname,
            phase=Planned(at=now),
        )
        try:
            attempt, warnings = self.host.prepare(attempt, job, self.store.environment(job.spec.env_digest))
        except LaunchError as error:
            reason = Reason(code=ReasonCode.LAUNCH_FAILED, text=str(error))
            self._apply(JobChanged(job_id=job.id, state=JobState.FAILED, reason=reason), now)
            asking.skip_dependents(Book(self.workload, now), job.id)
            return True
        except StoreError as error:
            self._pause(str(error))
            return False
        for text in warnings:
            self._apply(Notice(text=text, job_id=job.id, level="warning"), now)
        self._apply(AttemptPlanned(attempt=attempt), now)
        self._fresh.add(attempt.key)
        return True

    def halted(self) -> Reason | None:
        """Why nothing at all is launched just now; None = launching goes on."""
        if self.stopping:
            return Reason(code=ReasonCode.STOPPING)
        return self._halt if self.clock.monotonic() < self._pause_until else None

    # -- act -----------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        """Launch every planned attempt: its intent is durable. Those of an earlier scheduler come the same way."""
        planned = [a for a in self.workload.attempts.values() if isinstance(a.phase, Planned)]
        for attempt in planned:
            if self.clock.monotonic() < self._pause_until:
                return
            result = self.host.launch(attempt)
            self._fresh.discard(attempt.key)
            self._launched(attempt, result, self.clock.now())

    def _launched(
        self, attempt: Attempt, result: Launched | NameTaken | LaunchRefused | Unknown, now: datetime
    ) -> None:
        job_id, number = attempt.key
        match result:
            case Launched(runner_pid=pid):
                self._pause_s, self._halt = 0.0, None
                self._apply(AttemptLaunching(job_id=job_id, number=number, runner_pid=pid), now)
                self.waiter.watch_runner(attempt.key, pid)
            case NameTaken(owner=owner):
                self._rename(attempt, owner, now)
            case LaunchRefused(why=why, host=host):
                if host:
                    self._pause(why)
                if self.host.fence(attempt):
                    ended = Ended(outcome=LaunchFailed(reason=why, host=host), ended_at=now)
                    self._end(AttemptEnded(job_id=job_id, number=number, ended=ended), now)
            case Unknown(why=why):
                # The call may still arrive: reconcile finds out by the claim, or fences.
                self._pause(why)
                self._apply(AttemptLaunching(job_id=job_id, number=number), now)

    def _rename(self, attempt: Attempt, owner: str, now: datetime) -> None:
        """The session name is somebody else's: leave that alone and take one that carries the workspace's id."""
        other = f"{attempt.session}_{short_hash(self.rules.workspace_id)}"
        if attempt.session.endswith(short_hash(self.rules.workspace_id)):
            why = f"the session names {attempt.session} and without its suffix are taken by {owner}"
            if self.host.fence(attempt):
                ended = Ended(outcome=LaunchFailed(reason=why, host=True), ended_at=now)
                self._end(AttemptEnded(job_id=attempt.job_id, number=attempt.number, ended=ended), now)
            return
        text = f"session {attempt.session} belongs to {owner}; this job runs as {other}"
        self._apply(Notice(text=text, job_id=attempt.job_id, level="warning"), now)
        self._apply(AttemptPlanned(attempt=replace(attempt, session=other)), now)

    def _pause(self, why: str) -> None:
        """Launch nothing for a while: the machine refuses, not one job."""
        self._pause_s = min(max(self._pause_s * 2, FIRST_PAUSE_S), MAX_PAUSE_S)
        self._pause_until = self.clock.monotonic() + self._pause_s
        if self._halt is None or self._halt.text != why:
            self._apply(Notice(text=why, level="warning"), self.clock.now())
        until = self.clock.now() + timedelta(seconds=self._pause_s)
        self._halt = Reason(code=ReasonCode.HOST, text=why, until=until)

    # -- sessions of ended attempts ------------------------------------------------------------------------------------

    def tag(self, attempt: Attempt) -> str:
        """What marks an attempt's session and processes."""
        return f"{self.rules.workspace_id}/{attempt.job_id}.{attempt.number}"

    def _remember_session(self, attempt: Attempt, *, ok: bool) -> None:
        (self._kept_ok if ok else self._kept_failed).append((attempt.session, self.tag(attempt)))

    def _close_sessions(self) -> None:
        """Close sessions of ended attempts beyond the bound, in batches, successes first; off the launching path."""
        kept = self._kept_ok, self._kept_failed
        closing: list[tuple[str, str]] = []
        if self.rules.cleanup_on_complete:
            closing += self._kept_ok
            self._kept_ok.clear()
        surplus = len(kept[0]) + len(kept[1]) - self.rules.keep_sessions
        if surplus > min(8, self.rules.keep_sessions):
            for _ in range(surplus):
                closing.append((kept[0] or kept[1]).popleft())
        if closing:
            self.host.close_sessions(closing)

    def adopt_sessions(self) -> None:
        """Take over the ended sessions that an earlier scheduler kept."""
        snapshot = self.sessions(fresh=True)
        if not isinstance(snapshot, Sessions):
            return
        live = {self.tag(attempt) for attempt in self.workload.attempts.values()}
        for session in sorted(snapshot.by_name.values(), key=lambda s: s.created_at):
            job_part = session.tag.rpartition("/")[2].partition(".")[0]
            if session.tag not in live and session.pane_dead and job_part.isdigit():
                job = self.workload.jobs.get(int(job_part))
                ok = job is not None and job.state is JobState.SUCCEEDED
                (self._kept_ok if ok else self._kept_failed).append((session.name, session.tag))

    # -- saving --------------------------------------------------------------------------------------------------------

    def _apply(self, payload: Payload, now: datetime) -> None:
        self.workload.apply(payload, now)

    def _save(self, now: datetime) -> bool:
        """Make everything durable. False = the disk refuses: nothing is launched until it does not."""
        payloads, jobs, attempts = self.workload.take_changes()
        if not (payloads or self._replies or self._meta):
            return True
        try:
            events = self.store.commit(payloads, jobs, attempts, at=now, replies=self._replies, meta=self._meta)
        except StoreError as error:
            self._pause(str(error))
            return False
        self.workload.changes_saved()
        self._replies.clear()
        self._meta.clear()
        self.on_saved(events)
        return True
