"""All jobs of a workspace and how events change them: the one mutable aggregate of the engine."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Launching, Phase, Running
from researchflow_tmux.domain.errors import InvalidTransition
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptGranted,
    AttemptLaunching,
    AttemptPlanned,
    AttemptStarted,
    AttemptStopping,
    GpuChanged,
    GpuIdle,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Notice,
    Payload,
    QuarantineLifted,
    QueueEmpty,
)
from researchflow_tmux.domain.gpus import Conditions, GpuCondition
from researchflow_tmux.domain.job import TRANSITIONS, Job, JobSpec, JobState
from researchflow_tmux.domain.names import clean, short_hash
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.engine.choosy import Choosy
from researchflow_tmux.engine.sharing import Sharing
from researchflow_tmux.policies import conditions
from researchflow_tmux.policies.grace import Touched
from researchflow_tmux.policies.preempted import with_loss, with_stake
from researchflow_tmux.policies.retry import in_backoff

OrderKey = tuple[int, bool, datetime, int]


def order_key(job: Job) -> OrderKey:
    """Higher priority first, then who has not failed, then who has waited longest, then the lower id.

    So a job that always fails never delays another of its priority, however often it is tried.
    """
    return (-job.spec.priority, job.failed_before, job.queued_at, job.id)


class Workload:
    """Jobs, live attempts and the queue. `apply` is the only way in which anything changes.

    What changed since the last `take_changes` is remembered, so that one commit can make it durable.
    """

    def __init__(
        self,
        jobs: Iterable[Job] = (),
        attempts: Iterable[Attempt] = (),
        next_job_id: int = 1,
        gpus: Iterable[GpuCondition] = (),
    ) -> None:
        self.jobs: dict[int, Job] = {}
        self.attempts: dict[AttemptKey, Attempt] = {}
        self.gpus: Conditions = {gpu.uuid: gpu for gpu in gpus}
        """GPUs of which something is decided: drained, lost."""
        self.gpus_changed = False
        """Whether `gpus` is not durable yet."""
        self.next_job_id = next_job_id
        self.dependents: dict[int, set[int]] = defaultdict(set)
        self.watchers: list[Callable[[Payload, datetime], None]] = []
        """Told of every event, once it is applied."""
        self._by_key: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """Id by source and key."""
        self._sharing = Sharing()
        self._slugs: dict[str, int] = {}
        self._queue: list[OrderKey] = []
        self.counts: Counter[JobState] = Counter()
        """Jobs by state."""
        self.queued_cpu_jobs = 0
        """Queued jobs that ask for no GPU."""
        self.active_of_array: Counter[str] = Counter()
        """How many jobs of an array are active, by the array's id."""
        self.touched: dict[str, Touched] = {}
        """When a job last started or ended on a GPU, by UUID."""
        self.choosy = Choosy()
        self.queued_minding_util = 0
        """Queued jobs with a limit of their own on how busy a GPU was."""
        self._queued_shares: Counter[float | None] = Counter()
        self._delayed: set[int] = set()
        self._payloads: list[Payload] = []
        self._dirty_jobs: set[int] = set()
        self._dirty_attempts: dict[AttemptKey, Attempt] = {}
        for job in jobs:
            self._index(job)
            if job.state is JobState.QUEUED:
                self._queue.append(order_key(job))
        self._queue.sort()
        for attempt in attempts:
            self.attempts[attempt.key] = attempt
            self._touch_all(attempt, Touched(attempt.planned_at))

    # -- looking -------------------------------------------------------------------------------------------------------

    def queued(self) -> Iterator[Job]:
        """Queued jobs in their order. Do not apply events while iterating."""
        return (self.jobs[key[3]] for key in self._queue)

    @property
    def queue_length(self) -> int:
        """Number of queued jobs."""
        return len(self._queue)

    def least_share(self, default: float) -> float:
        """The smallest part of a GPU that a queued job asks for; `default` = of those that say nothing."""
        return min((default if share is None else share for share in self._queued_shares), default=default)

    def find(self, source: str, key: str) -> Job | None:
        """The job a source knows under `key`."""
        job_id = self._by_key[source].get(key)
        return None if job_id is None else self.jobs[job_id]

    @property
    def lost_gpus(self) -> frozenset[str]:
        """UUIDs of the GPUs that count as lost."""
        return frozenset(uuid for uuid, gpu in self.gpus.items() if gpu.lost_at is not None)

    def live_attempt(self, job_id: int) -> Attempt | None:
        """The attempt of a job that still runs (or is about to)."""
        job = self.jobs[job_id]
        attempt = self.attempts.get((job_id, job.attempts))
        return attempt if attempt is not None and job.state is JobState.ACTIVE else None

    def next_backoff_end(self, now: datetime) -> datetime | None:
        """When the next job in backoff may start. One that may already, and waits for a slot, is no reason to wake."""
        waiting = (job for job in map(self.jobs.__getitem__, self._delayed) if in_backoff(job, now))
        return min((job.not_before for job in waiting if job.not_before is not None), default=None)

    def unmet(self, spec: JobSpec) -> list[Job]:
        """The jobs that keep one with `spec` from starting, as its condition says."""
        return conditions.blocking(self.jobs, spec)

    def unique_slug(self, spec: JobSpec) -> str:
        """The session-safe form of the job's name that no other job of the workspace has."""
        slug = clean(spec.name)
        if slug not in self._slugs:
            return slug
        hashed = clean(spec.name, 93) + "_" + short_hash(f"{spec.source}:{spec.key}")
        return hashed if hashed not in self._slugs else f"{hashed}_{self.next_job_id}"

    # -- changing ------------------------------------------------------------------------------------------------------

    def apply(self, payload: Payload, at: datetime) -> None:
        """Change the state as `payload` says. Raises InvalidTransition if the transition table has no such change."""
        match payload:
            case JobSubmitted(job=job) | JobRespecified(job=job):
                self._put(job)
            case JobChanged():
                self._change(payload, at)
            case GpuChanged(gpu=gpu):
                self._put_gpu(gpu)
            case GpuIdle() | QueueEmpty() | Notice():
                pass
            case _:
                self._apply_to_attempt(payload, at)
        self._payloads.append(payload)
        for watch in self.watchers:
            watch(payload, at)

    def _apply_to_attempt(
        self,
        payload: AttemptPlanned
        | AttemptLaunching
        | AttemptStarted
        | AttemptGranted
        | AttemptStopping
        | AttemptEnded
        | QuarantineLifted,
        at: datetime,
    ) -> None:
        match payload:
            case AttemptPlanned(attempt=attempt):
                self._plan(attempt)
            case AttemptLaunching(number=number, runner_pid=pid):
                self._phase(payload.job_id, number, Launching(at=at, runner_pid=pid))
            case AttemptStarted(number=number):
                running = Running(
                    started_at=payload.started_at, runner_pid=payload.runner_pid, headless=payload.headless
                )
                self._phase(payload.job_id, number, running)
                self._put(replace(self.jobs[payload.job_id], started_at=payload.started_at))
            case AttemptGranted(number=number, grant=grant):
                self._set(replace(self.attempts[(payload.job_id, number)], grant=grant))
            case AttemptStopping(number=number, stopping=stopping):
                self._phase(payload.job_id, number, stopping)
            case AttemptEnded():
                self._end(payload)
            case QuarantineLifted(number=number):
                attempt = self.attempts.pop((payload.job_id, number))
                self._dirty_attempts[attempt.key] = replace(attempt, quarantined=())

    def learn(self, jobs: Iterable[Job], attempts: Iterable[Attempt], gpus: Iterable[GpuCondition] = ()) -> None:
        """Take over what somebody else has made durable: these jobs as they are now, all live attempts, all `gpus`."""
        for job in jobs:
            self._put(job)
            self._dirty_jobs.discard(job.id)
        self.attempts = {attempt.key: attempt for attempt in attempts}
        self.gpus = {gpu.uuid: gpu for gpu in gpus}

    def take_changes(self) -> tuple[list[Payload], list[Job], list[Attempt]]:
        """Everything since the last `changes_saved`; call that once it is durable."""
        return (
            list(self._payloads),
            [self.jobs[job_id] for job_id in sorted(self._dirty_jobs)],
            list(self._dirty_attempts.values()),
        )

    def changes_saved(self) -> None:
        """What `take_changes` returned is on disk."""
        self._payloads.clear()
        self._dirty_jobs.clear()
        self._dirty_attempts.clear()
        self.gpus_changed = False

    @property
    def changed(self) -> bool:
        """Whether anything is not durable yet."""
        return bool(self._payloads)

    def touch(self, uuid: str, touched: Touched) -> None:
        """A job started or ended on the GPU; the last time counts."""
        last = self.touched.get(uuid)
        if last is None or last.at <= touched.at:
            self.touched[uuid] = touched

    def forget(self, job_id: int) -> bool:
        """Drop an ended job whose row was removed; False = it is wanted again (or still to be saved) and stays."""
        job = self.jobs[job_id]
        if not job.state.ended or job_id in self._dirty_jobs or (job_id, job.attempts) in self.attempts:
            return False
        del self.jobs[job_id]
        self.counts[job.state] -= 1
        self.choosy.replace(job, None)
        self._by_key[job.spec.source].pop(job.spec.key, None)
        self._slugs.pop(job.slug, None)
        self.dependents.pop(job_id, None)
        for upstream in job.spec.after:
            self.dependents[upstream].discard(job_id)
        return True

    # -- inside --------------------------------------------------------------------------------------------------------

    def _index(self, job: Job) -> None:
        self._sharing.share(job)
        self.counts[job.state] += 1
        self.choosy.replace(self.jobs.get(job.id), job)
        self.jobs[job.id] = job
        self._by_key[job.spec.source][job.spec.key] = job.id
        self._slugs[job.slug] = job.id
        for upstream in job.spec.after:
            self.dependents[upstream].add(job.id)
        if job.state is JobState.ACTIVE and job.spec.array is not None:
            self.active_of_array[job.spec.array.id] += 1
        if job.state is JobState.QUEUED:
            self._count_queued(job.spec.request, 1)
            if job.not_before is not None:
                self._delayed.add(job.id)

    def _count_queued(self, request: ResourceRequest, change: int) -> None:
        if request.gpus == 0:
            self.queued_cpu_jobs += change
            return
        self.queued_minding_util += change * (request.limits.max_util_pct is not None)
        self.choosy.queue(request, change)
        self._queued_shares[request.share] += change
        if not self._queued_shares[request.share]:
            del self._queued_shares[request.share]

    def _put(self, job: Job) -> None:
        """Replace (or add) a job, keeping queue and indexes right."""
        self.next_job_id = max(self.next_job_id, job.id + 1)
        old = self.jobs.get(job.id)
        if old is not None:
            self.counts[old.state] -= 1
        if old is not None and old.state is JobState.QUEUED:
            del self._queue[bisect_left(self._queue, order_key(old))]
            self._count_queued(old.spec.request, -1)
        if old is not None and old.state is JobState.ACTIVE and old.spec.array is not None:
            self.active_of_array[old.spec.array.id] -= 1
        if old is not None and old.spec.after != job.spec.after:
            for upstream in old.spec.after:
                self.dependents[upstream].discard(job.id)
        self._delayed.discard(job.id)
        self._index(job)
        if job.state is JobState.QUEUED:
            insort(self._queue, order_key(job))
        self._dirty_jobs.add(job.id)

    def _put_gpu(self, gpu: GpuCondition) -> None:
        self.gpus[gpu.uuid] = gpu
        if gpu.plain:
            del self.gpus[gpu.uuid]
        self.gpus_changed = True

    def _change(self, change: JobChanged, at: datetime) -> None:
        job = self.jobs[change.job_id]
        _check(job, change.state)
        queued = change.state is JobState.QUEUED
        self._put(
            replace(
                job,
                state=change.state,
                reason=change.reason,
                not_before=change.not_before,
                queued_at=at if queued and job.state is not JobState.HELD and not change.keeps_place else job.queued_at,
                started_at=None if queued else job.started_at,
                ended_at=at if change.state.ended else None,
                exit_code=change.exit_code,
                retries_used=job.retries_used if change.retries_used is None else change.retries_used,
                ooms=job.ooms if change.ooms is None else change.ooms,
                gpu_losses=job.gpu_losses if change.gpu_losses is None else change.gpu_losses,
                preemptions=job.preemptions if change.preemptions is None else change.preemptions,
                memory_mib=job.memory_mib if change.memory_mib is None else change.memory_mib or None,
                gpu_memory_mib=job.gpu_memory_mib if change.gpu_memory_mib is None else change.gpu_memory_mib or None,
                launch_failures=job.launch_failures if change.launch_failures is None else change.launch_failures,
                slot_waits=change.slot_waits,
                ram_stops=0 if change.state.ended else job.ram_stops,
                ram_mib=None if change.state.ended else job.ram_mib,
                succeeded_attempt=job.attempts if change.state is JobState.SUCCEEDED else job.succeeded_attempt,
            )
        )

    def _plan(self, attempt: Attempt) -> None:
        job = self.jobs[attempt.job_id]
        if attempt.key not in self.attempts:  # else: the same attempt under another session name
            _check(job, JobState.ACTIVE)
            job = with_loss(job, attempt)
            self._put(replace(job, state=JobState.ACTIVE, attempts=attempt.number, reason=None, not_before=None))
            self._touch_all(attempt, Touched(attempt.planned_at))
        self._set(attempt)

    def _phase(self, job_id: int, number: int, phase: Phase) -> None:
        self._set(replace(self.attempts[(job_id, number)], phase=phase))

    def _end(self, payload: AttemptEnded) -> None:
        attempt = replace(
            self.attempts[(payload.job_id, payload.number)], phase=payload.ended, quarantined=payload.quarantined
        )
        self._set(attempt)
        job = self.jobs[attempt.job_id]
        after = with_stake(job, attempt)
        if after is not job:
            self._put(after)
        if payload.ended.started_at is not None:
            self._touch_all(attempt, Touched(payload.ended.ended_at, ended=True))
        if not attempt.live:
            del self.attempts[attempt.key]

    def _touch_all(self, attempt: Attempt, touched: Touched) -> None:
        for gpu in attempt.allocation.gpus:
            self.touch(gpu.uuid, touched)

    def _set(self, attempt: Attempt) -> None:
        self.attempts[attempt.key] = attempt
        self._dirty_attempts[attempt.key] = attempt


def _check(job: Job, state: JobState) -> None:
    if state not in TRANSITIONS[job.state]:
        raise InvalidTransition(f"job {job.id} ({job.name}): {job.state} → {state}")


class Book:
    """Collects events while applying them, so that each request sees what the one before it did."""

    def __init__(self, workload: Workload, now: datetime) -> None:
        self.workload = workload
        self.now = now

    def apply(self, payload: Payload) -> None:
        """Apply one event now."""
        self.workload.apply(payload, self.now)

    def change(self, job: Job, state: JobState, code: ReasonCode, text: str = "", *, by: str = "user") -> None:
        """Change one job's state by hand; retries and backoff start afresh."""
        reason = Reason(code=code, text=text)
        change = JobChanged(job_id=job.id, state=state, reason=reason, by=by, retries_used=0, launch_failures=0)
        self.apply(replace(change, ooms=0, gpu_losses=0, preemptions=0, gpu_memory_mib=0, memory_mib=0))
