"""The scheduler process: the engine's loop with its lock, signals, settings, config watching, log and screen.

Everything that decides about jobs is in `engine`; everything that must hold while this process is dead is in `runner`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux import scheduler_session
from researchflow_tmux.adapters import live_file, workspace_lock
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.config_file import load_settings
from researchflow_tmux.adapters.scheduler_log import SchedulerLog
from researchflow_tmux.adapters.user_systemd import LimitsWord
from researchflow_tmux.domain.errors import ConfigError, ProbeError, RfschedError, StoreError
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptLaunching,
    AttemptPlanned,
    Event,
    Notice,
    Payload,
)
from researchflow_tmux.domain.units import counted
from researchflow_tmux.domain.wording import describe, is_silent
from researchflow_tmux.domain.workspace import META_TASK_NAME, WorkspacePaths
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.hooks.telling import Telling
from researchflow_tmux.intake.submissions import META_WATCH
from researchflow_tmux.intake.watching import SourceWatch
from researchflow_tmux.ports import Sessions
from researchflow_tmux.records.recorder import Recorder
from researchflow_tmux.watching.commons import CommonsWatching
from researchflow_tmux.watching.foreseeing import Foreseeing
from researchflow_tmux.watching.gpus import GpuWatching
from researchflow_tmux.watching.publishing import Publisher
from researchflow_tmux.wiring import Parts

KILL_AT = "RFSCHED_KILL_AT"
"""`STEP:N` = be killed with SIGKILL at the Nth pass of a named step of the engine: how crash tests aim."""
REDRAW_S = 1.0
LAST_EVENTS = 200
SUCCESSOR_S = 10.0
NO_SUCCESSOR = 75
"""Exit code after which the keeper starts the scheduler again: it moved, and nobody took over."""

Screen = Callable[["Daemon"], None]
"""Draws the live table; called only while somebody looks."""


class Daemon:
    """One running scheduler."""

    def __init__(self, paths: WorkspacePaths, lock: workspace_lock.Lock, screen: Screen | None, *, foreground: bool):
        self.paths = paths
        self.lock = lock
        self.foreground = foreground
        self._screen = screen
        kill_at = os.environ.get(KILL_AT)  # before the environment of `start` takes its place
        environ = scheduler_session.adopt_environment(paths)
        self.settings = load_settings(paths.config).settings
        self.parts = Parts(paths, self.settings, environ)
        self.inventory = self.parts.look_at_gpus()
        self.engine: Engine = self.parts.engine(listen=True)
        workspace_lock.refuse_foreign_attempts(self.engine.workload.attempts.values(), lock)
        self.engine.on_saved = self._told
        if kill_at:
            self.engine.context.step = _assassin(kill_at)
        self.engine.controls = {
            "stop": self._on_stop,
            "resume": self._on_resume,
            "reload": self._on_reload,
            "remember": self._on_remembered,
            "look": lambda _body: {"looks": self.sources.ask()},
            "clean": self._on_clean,
            "why": self._on_why,
        }
        self.publisher = Publisher(paths, self.engine, scheduler_session.session_name(self.settings))
        self.events: list[tuple[Event, str]] = []
        self.log = SchedulerLog(paths, self.settings)
        self._keep_decisions()
        self.sources = SourceWatch(self.parts, self.engine, self._nudge)
        self.recorder = Recorder(paths, self.log.complain)
        self.hooks = Telling(paths, os.uname().nodename, self.log.complain)
        self.foreseeing = Foreseeing(paths, self.parts.clock, self.log.complain)
        self.gpus = GpuWatching(self.parts, self.engine, self.log.complain, self._nudge)
        self.commons = CommonsWatching(self.parts, self.engine, self._on_reload)
        self._limits = LimitsWord()
        self.moved = False
        """Another session's scheduler is to take over."""
        self._ending = False
        self._signals: list[int] = []
        self._nudge_fd: int | None = None
        self._attached = foreground
        self._last_draw = float("-inf")
        self._next_sweep = float("-inf")

    def _keep_decisions(self) -> None:
        problem = self.publisher.log_decisions(self.settings.decision_log)
        if problem is not None:
            self.log.complain(problem)

    # -- life ----------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Schedule until told to stop."""
        self._listen_to_signals()
        self.engine.notice(f"scheduler started (pid {os.getpid()}): {self.inventory.note}")
        for warning in self.inventory.warnings:
            self.engine.notice(warning, level="warning")
        self.engine.adopt_sessions()
        self.sources.switch(self.parts.store.load_meta().get(META_WATCH, ""))
        self.hooks.begin(self.settings.hooks, self.parts.environ)
        self.recorder.attempt_ended()  # what ended while no scheduler ran
        self.foreseeing.begin()
        wakeup = None
        while True:
            self._stop_if_replaced()
            self._sweep()
            self.sources.take_in()
            self.gpus.take_in()
            self.engine.tick(wakeup)
            self.sources.settle()
            self._publish()
            self._handle_signals()
            if self._ending or (self.engine.stopping and self.engine.drained):
                break
            self._draw()
            wakeup = self.engine.waiter.wait(self._timeout_s())
            self.sources.look(wakeup)
            self.gpus.look(wakeup)
            self.commons.look(wakeup)
        self.engine.notice(f"scheduler stopped; still running: {counted(len(self.engine.workload.attempts), 'job')}")
        self.engine.tick()
        self.sources.close()
        self._publish()

    def close(self) -> None:
        """Give everything back, the lock last."""
        # Who waits for the lock closes our session next: a hangup while Python ends must not look like a crash.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        live_file.remove(self.paths.live)
        self.publisher.close()
        self.recorder.close()
        self.hooks.close()
        self.foreseeing.close()
        self.gpus.close()
        self.parts.close()
        self.log.close()
        self.lock.release()

    def _timeout_s(self) -> float:
        timeout_s = min(self.engine.wait_s(), self.sources.wait_s(), self.gpus.wait_s())
        return min(timeout_s, REDRAW_S) if self._attached and self._screen else timeout_s

    def _sweep(self) -> None:
        """What is looked at every `check_interval`, whether or not anybody told us to."""
        now = self.parts.clock.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + self.engine.rules.sweep_s
            self.gpus.sweep()
            self.commons.sweep()
            self.sources.sweep()
            self.engine.room.read(self.engine.workload)

    def _stop_if_replaced(self) -> None:
        """Without our lock another scheduler can start: leave at once, and leave its files alone."""
        if self.lock.still_ours():
            return
        sessions = sorted(attempt.session for attempt in self.engine.workload.attempts.values())
        text = f"{self.paths.state} was deleted or replaced under this scheduler, which therefore stops"
        if sessions:
            text += f"; {counted(len(sessions), 'job')} unknown to any scheduler in {', '.join(sessions)}"
        notice = Notice(text=text, level="warning")
        event = Event(seq=0, at=self.parts.clock.now(), boot_id=self.parts.clock.boot_id, payload=notice)
        self.log.write(event, text)
        print(f"rfsched: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the pane is all there is left to tell
        # Not the orderly way: closing SQLite would delete the write-ahead log of the database that took our place.
        os._exit(StoreError.exit_code)

    # -- what people ask of the scheduler itself -----------------------------------------------------------------------

    def _on_stop(self, body: dict[str, Any]) -> dict[str, Any]:
        self.engine.stopping = True
        self._ending = not body.get("drain", False)
        names = [self.engine.workload.jobs[key[0]].name for key in self.engine.workload.attempts]
        return {"running": names, "queued": self.engine.workload.queue_length}

    def _on_resume(self, _body: dict[str, Any]) -> dict[str, Any]:
        """Somebody types `start`: a stop that waits for running jobs is taken back; one that is under way is not."""
        if not self._ending:
            self.engine.stopping = False
        return {"ending": self._ending}

    def _on_reload(self, _body: dict[str, Any]) -> dict[str, Any]:
        """Take over changed settings. Bad ones change nothing."""
        try:
            settings = load_settings(self.paths.config).settings
            self.parts.settings = settings
            self.inventory = self.parts.look_at_gpus()
        except (ConfigError, ProbeError) as error:
            self.parts.settings = self.settings
            return {"error": str(error)}
        self.hooks.begin(settings.hooks, self.parts.environ)
        self.settings = settings
        self.engine.remember({META_TASK_NAME: settings.task_name})
        self.parts.retune(self.engine)
        self._keep_decisions()
        self.gpus.retune()
        self._next_sweep = float("-inf")
        self.sources.begin()
        self.engine.notice("settings taken over from scheduler_config.yml")
        return {}

    def _on_remembered(self, body: dict[str, Any]) -> dict[str, Any]:
        if META_WATCH in body:
            self.sources.switch(str(body[META_WATCH]))
        return {}

    def _on_clean(self, body: dict[str, Any]) -> dict[str, Any]:
        """Forget what ended before a moment: its rows now, its files by whoever asked."""
        before, keep = datetime.fromisoformat(str(body["before"])), frozenset(body.get("keep", ()))
        removed = self.parts.store.delete_jobs_before(before, keep=keep)
        jobs = {job_id: self.engine.workload.jobs[job_id] for job_id in removed}
        ids = [job_id for job_id in removed if self.engine.workload.forget(job_id)]
        self.sources.forget(jobs[job_id] for job_id in ids)
        return {"ids": ids}

    def _on_why(self, body: dict[str, Any]) -> dict[str, Any]:
        """Why some of the jobs wait."""
        reasons = self.engine.choice.explain(self.engine.look(), self.parts.clock.now(), only=list(body["ids"]))
        return {"reasons": {str(job_id): msgspec.to_builtins(reason) for job_id, reason in reasons.items()}}

    # -- signals -------------------------------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        read_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        self._nudge_fd = write_fd
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGWINCH):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        if self.parts.waiter is not None:
            self.parts.waiter.wait_on_signals(read_fd)
        if not self.foreground and "TMUX" in os.environ and not os.isatty(0):
            self._signals.append(signal.SIGHUP)  # the terminal went while we were starting: nobody will tell us again

    def _nudge(self) -> None:
        """Make the loop turn once more, from any thread."""
        if self._nudge_fd is not None:
            with contextlib.suppress(OSError):  # full: it is as awake as can be
                os.write(self._nudge_fd, b"\0")

    def _handle_signals(self) -> None:
        pending, self._signals = self._signals, []
        for number in pending:
            if self._ending:
                return
            if number == signal.SIGWINCH:
                self._last_draw = float("-inf")
                self._look_who_watches(fresh=True)
            elif number == signal.SIGHUP and self._server_died():
                self._move_to_a_new_session()
            else:
                self.engine.stopping = self._ending = True

    def _server_died(self) -> bool:
        """After a hangup: did the tmux server die (carry on), or was this session closed (stop)?"""
        parts = os.environ.get("TMUX", "").split(",")
        if self.foreground or len(parts) < 2 or not parts[1].isdigit():
            return False
        try:
            pidfd = os.pidfd_open(int(parts[1]))
        except OSError:
            return True
        try:  # kill(pid, 0) still succeeds right after a kill -9: only the pidfd tells
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            return bool(poller.poll(500))
        finally:
            os.close(pidfd)

    def _move_to_a_new_session(self) -> None:
        """The tmux server died: open a new scheduler session and hand the lock over to the scheduler in it."""
        self._screen = None
        self.engine.notice("the tmux server died; jobs run on, the scheduler moves to a new session", level="warning")
        self.engine.tick()
        try:
            scheduler_session.open_session(self.parts)
        except RfschedError as error:
            self.engine.notice(f"no new scheduler session: {error}; scheduling goes on without one", level="warning")
            return
        self.engine.stopping = self._ending = self.moved = True

    # -- telling -------------------------------------------------------------------------------------------------------

    def _told(self, events: list[Event]) -> None:
        jobs = self.engine.workload.jobs
        self.sources.saved(events)
        self.hooks.saved(events)
        self.foreseeing.saved(events)
        told = []
        for event in events:
            self._record(event.payload)
            line = describe(event.payload, lambda job_id: jobs[job_id].name if job_id in jobs else f"job {job_id}")
            if line is not None and not is_silent(event.payload, self.settings.on_failure):
                told.append((event, line))
        self.log.write_all(told)
        self.events += told
        del self.events[:-LAST_EVENTS]

    def _record(self, payload: Payload) -> None:
        """Run records are written beside the loop; what a crash leaves out is recorded at the next start."""
        match payload:
            case AttemptLaunching(job_id=job_id, number=number):
                self.recorder.attempt_started(job_id, number, self.engine.workload.jobs[job_id].spec.workdir)
            case AttemptEnded():
                self.recorder.attempt_ended()
            case AttemptPlanned(job_id=job_id) if word := self._limits.word(self.engine.workload.jobs[job_id]):
                self.engine.notice(word, level="warning", job_id=job_id)

    def _publish(self) -> None:
        self.parts.follow_jobs(self.engine)
        self.gpus.follow()
        self.foreseeing.follow(self.engine.workload.attempts.values(), self.engine.workload.jobs.__getitem__)
        self.publisher.publish(self.inventory.note, self.sources.state)

    def _look_who_watches(self, *, fresh: bool = False) -> None:
        if self.foreground:
            return
        snapshot = self.engine.sessions(fresh=fresh)
        if isinstance(snapshot, Sessions):
            tag = f"{self.parts.workspace_id}/scheduler"  # its name may carry a suffix
            self._attached = any(own.attached > 0 for own in snapshot.by_name.values() if own.tag == tag)

    def _draw(self) -> None:
        """Every second while somebody looks; else now and then, for whoever attaches (or captures the pane) later."""
        now = self.parts.clock.monotonic()
        every_s = REDRAW_S * 0.9 if self._attached else self.engine.rules.sweep_s
        if self._screen is not None and now - self._last_draw >= every_s:
            self._last_draw = now
            self._look_who_watches(fresh=True)
            try:
                self._screen(self)
            except OSError:
                self._screen = None  # the terminal is gone


def run(paths: WorkspacePaths, *, screen: Screen | None = None, foreground: bool = False) -> None:
    """Be the scheduler of a workspace until told to stop.

    Raises WorkspaceBusy when another scheduler has it, ConfigError or ProbeError when it cannot begin.
    """
    # In a session it may take over from one that is about to end; in a terminal somebody waits for an answer.
    lock = workspace_lock.acquire(paths, "scheduler", wait_s=1.0 if foreground else 15.0)
    try:
        daemon = Daemon(paths, lock, screen, foreground=foreground)
    except BaseException:
        lock.release()
        raise
    try:
        daemon.run()
    finally:
        daemon.close()
    if daemon.moved and not _succeeded(paths):
        sys.exit(NO_SUCCESSOR)


def _succeeded(paths: WorkspacePaths) -> bool:
    """Wait for the scheduler in the new session to take the lock: its tmux server may have been killed as well."""
    clock = SystemClock()
    deadline = clock.monotonic() + SUCCESSOR_S
    while clock.monotonic() < deadline:
        found = workspace_lock.holder(paths)
        if found is not None and found.role == "scheduler":
            return True
        clock.sleep(0.05)
    return False


def _assassin(aim: str) -> Callable[[str], None]:
    step, _, number = aim.partition(":")
    left = [int(number or 1)]

    def at(name: str) -> None:
        left[0] -= name == step
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return at
