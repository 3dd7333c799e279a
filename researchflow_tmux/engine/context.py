"""What all parts of the engine share: the rules, the ports, the workload, and the ending of an attempt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import (
    PREEMPTED,
    Attempt,
    AttemptKey,
    Ended,
    Killed,
    LaunchFailed,
    Outcome,
    OutOfMemory,
    Stopping,
)
from researchflow_tmux.domain.events import AttemptEnded, JobChanged, Payload
from researchflow_tmux.domain.gpus import META_CONDITIONS, decode_conditions
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.resources import GpuDevice, GpuReading
from researchflow_tmux.domain.usage import Usage
from researchflow_tmux.engine.accounting import Accounting, kept_accounts
from researchflow_tmux.engine.by_hand import settle_dependents
from researchflow_tmux.engine.kept_sessions import KeptSessions
from researchflow_tmux.engine.reconcile import is_success
from researchflow_tmux.engine.workload import Book, Workload
from researchflow_tmux.policies import retry
from researchflow_tmux.policies.grace import META_TOUCHED, decode_touched
from researchflow_tmux.policies.memory_growth import Growth, grown, grown_ram
from researchflow_tmux.policies.usage import with_usage
from researchflow_tmux.ports import Clock, SessionHost, Store, Waiter

FAILURES = 200


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
    oom_retries: int = 3
    cleanup_on_complete: bool = False
    keep_sessions: int = 20
    stop_on_failure: bool = False
    gpu_idle_s: float | None = None
    """A GPU without a job for so long is told to be idle; None = never."""

    @property
    def limits(self) -> retry.Limits:
        """How often and how soon jobs are tried again."""
        return retry.Limits(
            retry_delay_s=self.retry_delay_s, restart_lost=self.restart_lost, oom_retries=self.oom_retries
        )


META_FAILURE = "stopped_after"
"""In the store's meta table: the failure after which nothing more is started, in words; empty = there is none."""


class Failure(NamedTuple):
    """An attempt after which its job failed."""

    job_id: int
    number: int
    gpus: frozenset[str]
    at_s: float
    """Monotonic."""


class Context:
    """Shared by the parts of one engine."""

    def __init__(self, *, rules: Rules, clock: Clock, store: Store, host: SessionHost, waiter: Waiter) -> None:
        self.rules = rules
        self.clock = clock
        self.store = store
        self.host = host
        self.waiter = waiter
        stored = store.load()
        conditions = decode_conditions(stored.meta.get(META_CONDITIONS))
        self.workload = Workload(stored.jobs, stored.attempts, stored.next_job_id, conditions)
        for uuid, touched in decode_touched(stored.meta.get(META_TOUCHED)).items():
            self.workload.touch(uuid, touched)
        self.accounting = Accounting(self.workload, kept_accounts(stored.meta), clock)
        self.kept = KeptSessions()
        self.meta: dict[str, str] = {}
        """Facts to be saved with the next commit."""
        self.failure = stored.meta.get(META_FAILURE, "")
        """See META_FAILURE."""
        self.readings: Callable[[], Sequence[GpuReading]] = list
        """The GPUs as they were last read."""
        self.devices: Callable[[], Sequence[GpuDevice]] = tuple
        """The GPUs that there are."""
        self.machine_mib: Callable[[], int | None] = lambda: None
        """The machine's memory; None = unknown."""
        self.lately_failed: deque[Failure] = deque(maxlen=FAILURES)
        """The last failures of jobs on GPUs: one of these may turn out to be lost."""
        self.usage: Callable[[AttemptKey], Usage | None] = lambda _key: None
        """What was measured of an attempt."""
        self.step: Callable[[str], None] = lambda _name: None
        """Called at each named step; crash tests kill the process there."""

    def tag(self, attempt: Attempt) -> str:
        """What marks an attempt's session and processes."""
        return f"{self.rules.workspace_id}/{attempt.job_id}.{attempt.number}"

    def apply(self, payload: Payload, now: datetime) -> None:
        """One event; saved by the next save."""
        self.workload.apply(payload, now)
        if isinstance(payload, JobChanged) and payload.state is JobState.FAILED and self.rules.stop_on_failure:
            self._stop_after(payload)

    def _stop_after(self, change: JobChanged) -> None:
        """Start nothing more, from now on and also after a restart: it is saved together with the failure."""
        if not self.failure:
            self.failure = f"{self.workload.jobs[change.job_id].name} ({change.reason})"
            self.meta[META_FAILURE] = self.failure

    def note_meta(self, meta: Mapping[str, str]) -> None:
        """Facts that somebody wants kept; the one about a failure is acted on, too."""
        self.meta |= meta
        self.failure = meta.get(META_FAILURE, self.failure)

    def end(self, payload: AttemptEnded, now: datetime) -> None:
        """The attempt is over: decide what becomes of its job, in the same transaction."""
        attempt = self.workload.attempts[(payload.job_id, payload.number)]
        job = self.workload.jobs[payload.job_id]
        stopping = attempt.phase if isinstance(attempt.phase, Stopping) else None
        ended = with_usage(payload.ended, self.usage(attempt.key))
        payload = replace(payload, ended=replace(ended, outcome=self._told(ended.outcome, stopping)))
        self.meta |= self.accounting.settle(attempt, payload.ended)
        self.apply(payload, now)
        self.waiter.forget_runner(attempt.key)
        self.kept.add(attempt.session, self.tag(attempt), ok=is_success(payload))
        change = retry.after(
            job,
            _by_the_last_word(payload.ended.outcome, stopping),
            requeue=bool(stopping and stopping.requeue),
            limits=self.rules.limits,
            growth=self._growth(job, attempt, payload.ended),
            lost_gpu=any(gpu.uuid in self.workload.lost_gpus for gpu in attempt.allocation.gpus),
            now=now,
        )
        if change.state is JobState.HELD:
            change = replace(change, reason=self.accounting.why_used_up(job, now))
        self.apply(change, now)
        if change.state is JobState.FAILED:
            gpus = frozenset(gpu.uuid for gpu in attempt.allocation.gpus)
            self.lately_failed.append(Failure(job.id, attempt.number, gpus, self.clock.monotonic()))
        if change.state.ended:
            settle_dependents(Book(self.workload, now), job.id)

    def _told(self, outcome: Outcome, stopping: Stopping | None) -> Outcome:
        """The outcome with the name of the job that it made room for.

        A runner that could not read who asked (the disk was full) only knows of a signal.
        """
        if isinstance(outcome, Killed) and outcome.by == "signal" and stopping is not None and stopping.by == PREEMPTED:
            outcome = replace(outcome, by=PREEMPTED)
        urgent = None if stopping is None or stopping.room_for is None else self.workload.jobs.get(stopping.room_for)
        if urgent is None or not isinstance(outcome, Killed) or outcome.by != PREEMPTED:
            return outcome
        return replace(outcome, room_for=urgent.name)

    def _growth(self, job: Job, attempt: Attempt, ended: Ended) -> Growth | None:
        """The memory for the next try of a job that ran out of it."""
        outcome = ended.outcome
        if not isinstance(outcome, OutOfMemory):
            return None
        if outcome.where == "ram":
            return grown_ram(job, ended.peak_tree_mib or ended.peak_rss_mib, self.machine_mib())
        if not attempt.allocation.gpus:
            return None
        return grown(job, attempt, ended.peak_gpu_mib, self.readings(), self.devices())

    def give_up_launch(self, attempt: Attempt, why: str, *, host: bool, now: datetime) -> None:
        """End an attempt that never ran, if no runner was faster: then it is an ordinary running attempt."""
        if self.host.fence(attempt):
            ended = Ended(outcome=LaunchFailed(reason=why, host=host), ended_at=now)
            self.end(AttemptEnded(job_id=attempt.job_id, number=attempt.number, ended=ended), now)


def _by_the_last_word(outcome: Outcome, stopping: Stopping | None) -> Outcome:
    """The outcome with who ended it: the runner knows only who asked first, and somebody may have cancelled since."""
    if stopping is None or not isinstance(outcome, Killed) or stopping.by not in retry.CANCELLING:
        return outcome
    return replace(outcome, by=stopping.by)
