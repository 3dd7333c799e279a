"""From a decision to a running session: directory, intent, session. Every step may be repeated after a crash."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Planned
from researchflow_tmux.domain.errors import LaunchError, StoreError
from researchflow_tmux.domain.events import AttemptLaunching, AttemptPlanned, JobChanged, Notice
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.names import session_name, short_hash
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.by_hand import settle_dependents
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.decide import Start
from researchflow_tmux.engine.pause import Pause
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.ports import Launched, LaunchRefused, LaunchResult, NameTaken, Unknown


class Launcher:
    """Prepares and launches attempts."""

    def __init__(self, context: Context, pause: Pause) -> None:
        self._it = context
        self._pause = pause
        self._fresh: set[AttemptKey] = set()

    def is_fresh(self, attempt: Attempt) -> bool:
        """Planned by this very scheduler and not launched (or stopped) yet: there is nothing to observe."""
        return isinstance(attempt.phase, Planned) and attempt.key in self._fresh

    def prepare(self, start: Start, now: datetime) -> bool:
        """Write the attempt's directory and plan it. False = the disk refuses: stop launching for now."""
        job = start.job
        attempt = Attempt(
            job_id=job.id,
            number=job.attempts + 1,
            allocation=start.allocation,
            session=session_name(self._it.rules.prefix, job.slug, start.allocation.indices),
            log=None,
            planned_at=now,
            boot_id=self._it.clock.boot_id,
            hostname=self._it.rules.hostname,
            phase=Planned(at=now),
            grant=start.grant,
        )
        try:
            environment = self._it.store.environment(job.spec.env_digest)
            attempt, warnings = self._it.host.prepare(attempt, job, environment)
        except LaunchError as error:
            reason = Reason(code=ReasonCode.LAUNCH_FAILED, text=error.message)
            self._it.apply(JobChanged(job_id=job.id, state=JobState.FAILED, reason=reason), now)
            settle_dependents(Book(self._it.workload, now), job.id)
            return True
        except StoreError as error:
            self.refused(str(error))
            return False
        for text in warnings:
            self._it.apply(Notice(text=text, job_id=job.id, level="warning"), now)
        self._it.apply(AttemptPlanned(attempt=attempt), now)
        self._fresh.add(attempt.key)
        return True

    def launch_planned(self) -> None:
        """Launch every planned attempt: its intent is durable. Those of an earlier scheduler come the same way."""
        planned = [a for a in self._it.workload.attempts.values() if isinstance(a.phase, Planned)]
        for attempt in planned:
            if self._pause.left_s > 0:
                return
            if attempt.key not in self._fresh and not self._prepare_again(attempt):
                continue
            result = self._it.host.launch(attempt)
            self._it.step("launched")
            self._fresh.discard(attempt.key)
            self._note(attempt, result, self._it.clock.now())

    def _prepare_again(self, attempt: Attempt) -> bool:
        """Write the spec of an earlier scheduler's attempt anew: a power cut may have emptied it. False = not now."""
        job = self._it.workload.jobs[attempt.job_id]
        try:
            self._it.host.prepare(attempt, job, self._it.store.environment(job.spec.env_digest))
        except LaunchError as error:
            self._it.give_up_launch(attempt, error.message, host=False, now=self._it.clock.now())
            return False
        except StoreError as error:
            self.refused(str(error))
            return False
        return True

    def refused(self, why: str) -> None:
        """The machine refuses, not one job: launch nothing for a while."""
        if self._pause.begin(why):
            self._it.apply(Notice(text=why, level="warning"), self._it.clock.now())

    def _note(self, attempt: Attempt, result: LaunchResult, now: datetime) -> None:
        job_id, number = attempt.key
        match result:
            case Launched(runner_pid=pid):
                self._pause.over()
                self._it.apply(AttemptLaunching(job_id=job_id, number=number, runner_pid=pid), now)
                self._it.waiter.watch_runner(attempt.key, pid)
            case NameTaken(owner=owner):
                self._take_another_name(attempt, owner, now)
            case LaunchRefused(why=why, host=host):
                if host:
                    self.refused(why)
                self._it.give_up_launch(attempt, why, host=host, now=now)
            case Unknown(why=why):
                # The call may still arrive: reconcile finds out by the claim, or fences.
                self.refused(why)
                self._it.apply(AttemptLaunching(job_id=job_id, number=number), now)

    def _take_another_name(self, attempt: Attempt, owner: str, now: datetime) -> None:
        """The session name is somebody else's: leave that alone and take one that carries the workspace's hash."""
        suffix = f"_{short_hash(self._it.rules.workspace_id)}"
        if attempt.session.endswith(suffix):
            why = f"the session name {attempt.session} is taken by {owner}, and so is the one without {suffix}"
            self._it.give_up_launch(attempt, why, host=True, now=now)
            return
        other = attempt.session + suffix
        text = f"session {attempt.session} belongs to {owner}; this job runs as {other}"
        self._it.apply(Notice(text=text, job_id=attempt.job_id, level="warning"), now)
        self._it.apply(AttemptPlanned(attempt=replace(attempt, session=other)), now)
