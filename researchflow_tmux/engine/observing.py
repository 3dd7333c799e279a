"""Observe and reconcile: what became of the attempts, asked through the host and judged by `reconcile`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import PREEMPTED, Attempt, AttemptKey, Ended, Running, Stopping
from researchflow_tmux.domain.events import AttemptEnded, Notice, QuarantineLifted
from researchflow_tmux.domain.wording import stopper
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.launching import Launcher
from researchflow_tmux.engine.reconcile import Destroy, Fence, NeedSnapshot, Relaunch, disowned, fenced, lost, reconcile
from researchflow_tmux.ports import ClaimFree, Sessions, Snapshot, Unknown, Unreaped, Wakeup


class Observer:
    """Looks at attempts and carries out what follows from what it saw."""

    def __init__(self, context: Context, launcher: Launcher) -> None:
        self._it = context
        self._launcher = launcher
        self._snapshot: Snapshot | None = None
        self._told: dict[AttemptKey, str] = {}
        """Whose wish each stopping attempt was told."""

    def begin_tick(self) -> None:
        """Forget the sessions: what an earlier tick saw says nothing about those opened since."""
        self._snapshot = None

    def sessions(self, *, fresh: bool = False) -> Snapshot:
        """The tmux sessions, asked at most once a tick."""
        if self._snapshot is None or fresh:
            self._snapshot = self._it.host.snapshot()
        return self._snapshot

    def adopt_sessions(self) -> None:
        """Take over the ended sessions that an earlier scheduler kept."""
        snapshot = self.sessions(fresh=True)
        if isinstance(snapshot, Sessions):
            live = {self._it.tag(attempt) for attempt in self._it.workload.attempts.values()}
            self._it.kept.adopt(snapshot.by_name.values(), live, self._it.workload.jobs)

    def disown(self, why: str, now: datetime) -> None:
        """Give up every live attempt without touching it: they are another workspace's."""
        for attempt in list(self._it.workload.attempts.values()):
            if isinstance(attempt.phase, Ended):
                self._it.apply(QuarantineLifted(job_id=attempt.job_id, number=attempt.number), now)
            else:
                self._it.end(disowned(attempt, why, now), now)

    def with_news(self, wakeup: Wakeup) -> list[AttemptKey]:
        """The attempts to look at: those with news, or, when only time has passed, those with a deadline."""
        attempts = self._it.workload.attempts.values()
        return sorted(wakeup.runners or (a.key for a in attempts if not isinstance(a.phase, Running | Ended)))

    def observe(self, keys: Iterable[AttemptKey], now: datetime, *, sweep: bool) -> None:
        """Look at these attempts; on a sweep also at their sessions."""
        for key in keys:
            attempt = self._it.workload.attempts.get(key)
            if attempt is None or self._launcher.is_fresh(attempt):
                continue
            if isinstance(attempt.phase, Ended):
                self._look_at_quarantine(attempt, now)
            else:
                self._reconcile(attempt, now, ask_host=sweep)

    def _reconcile(self, attempt: Attempt, now: datetime, *, ask_host: bool) -> None:
        seen = self._it.host.observe(attempt)
        verdict = reconcile(attempt, seen, self.sessions() if ask_host else None, now)
        if isinstance(verdict, NeedSnapshot):
            verdict = reconcile(attempt, seen, self.sessions(), now)
        match verdict:
            case None | NeedSnapshot() | Relaunch():
                pass  # a planned attempt is launched after the next save
            case Fence(why=why):
                if self._it.host.fence(attempt):
                    self._it.end(fenced(attempt, why, now), now)
            case Destroy(why=why):
                self._destroy(attempt, why, now)
            case AttemptEnded():
                self._it.end(verdict, now)
            case _:
                self._it.apply(verdict, now)
        current = self._it.workload.attempts.get(attempt.key)
        if current is not None and isinstance(current.phase, Running):
            self._it.waiter.watch_runner(current.key, current.phase.runner_pid)

    def _destroy(self, attempt: Attempt, why: str, now: datetime) -> None:
        """Kill by cookie until nothing is left: only that proves the tree dead. Then its end can be told."""
        left = self._it.host.destroy(attempt)
        seen = self._it.host.observe(attempt)
        if isinstance(seen, ClaimFree):
            self._it.end(replace(lost(attempt, seen, now), quarantined=left), now)
            return
        text = f"killed what was left of it: {why}"
        self._it.apply(Notice(text=text, job_id=attempt.job_id, level="warning"), now)
        verdict = reconcile(attempt, seen, None, now)
        if isinstance(verdict, AttemptEnded):
            self._it.end(replace(verdict, quarantined=left or verdict.quarantined), now)

    def _look_at_quarantine(self, attempt: Attempt, now: datetime) -> None:
        if not self._it.host.destroy(attempt) and not isinstance(self._it.host.observe(attempt), Unreaped | Unknown):
            self._it.apply(QuarantineLifted(job_id=attempt.job_id, number=attempt.number), now)

    def pass_on_stops(self, *, again: bool) -> None:
        """Tell the runners of stopping attempts: once, and after a restart of the scheduler once more.

        One that saves itself for later is told also when somebody wants it to end for good: it need not save then.
        """
        for attempt in self._it.workload.attempts.values():
            phase = attempt.phase
            if isinstance(phase, Stopping) and self._is_news(attempt.key, phase.by):
                self._told[attempt.key] = phase.by
                self._it.host.stop(attempt, phase.by, f"stopped by {stopper(phase.by)}")
        if again:
            self._told = {key: by for key, by in self._told.items() if key in self._it.workload.attempts}

    def _is_news(self, key: AttemptKey, by: str) -> bool:
        told = self._told.get(key)
        return told is None or (told == PREEMPTED and by != PREEMPTED)
