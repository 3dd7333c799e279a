"""Follows a workload: which jobs could start, what runs until when, and who has used how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import AttemptKey, Ended, Running, Stopping
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptPlanned,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Payload,
)
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.engine.by_hand import KILL_SLACK_S
from researchflow_tmux.engine.planning.chains import Chains
from researchflow_tmux.engine.planning.needs import Needs
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.policies.planning.classes import Classes, Entry, JobKey
from researchflow_tmux.policies.planning.estimates import Estimate, Estimator
from researchflow_tmux.policies.planning.floor import Stay
from researchflow_tmux.policies.planning.orders import POLICIES, Policy, work_of
from researchflow_tmux.policies.planning.preemption import PreemptRules
from researchflow_tmux.policies.planning.urgency import Deadlines
from researchflow_tmux.policies.planning.usage import Kept, Usage
from researchflow_tmux.policies.prediction.history import duration_of

LOAN_GPU_S = 4 * 3600.0
"""B for each GPU: how far urgent jobs, or a project that slept, may run ahead of (behind) the others."""


class PlanRules(msgspec.Struct, frozen=True, kw_only=True):
    """What people decide about planning."""

    policy: Policy = POLICIES["balanced"]
    weights: Mapping[str, float] = {}
    """By project; one that is not named weighs 1."""
    preempt: PreemptRules = PreemptRules()
    """How running jobs that allow it make room for those with a deadline."""
    deadlines: Mapping[str, float] = {}
    """When the jobs of a project should have ended that have no deadline of their own (seconds since 1970)."""


class Index:
    """Kept up to date by the workload's events; read by decisions."""

    def __init__(
        self,
        workload: Workload,
        rules: PlanRules,
        estimator: Estimator,
        *,
        devices: Sequence[GpuDevice],
        share: float,
        now: datetime,
        kept: Kept | None = None,
        said: Said | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.rules = rules
        self.said = said
        """What a plug-in says about the jobs that wait; None = there is none."""
        self.estimator = estimator
        self.usage = Usage(rules.weights)
        if kept is not None:
            # Saved by a clock that was ahead: what was used then was not used more by that.
            self.usage.restore(replace(kept, at_s=min(kept.at_s, now.timestamp())))
        self.classes = Classes()
        self.deadlines = Deadlines()
        """The jobs of `classes` that have one."""
        self.gpus = len(devices)
        self._workload = workload
        self._claims = claims or Claims({})
        self._needs = Needs(devices, share)
        self.share = share
        self._estimates: dict[int, Estimate] = {}
        self._chains = Chains(workload, self.estimate, rules.deadlines)
        self._resumed: set[AttemptKey] = set()
        """Attempts that went on from a checkpoint: their durations say nothing about whole ones."""
        self._leaps_s = 0.0
        """By how much the wall clock was set so far, all in all."""
        self._begun: dict[int, tuple[float, float]] = {}
        """When each running job was planned, and how much of that was before."""
        self._live: Counter[str] = Counter()
        """Jobs that wait for room or run, by project."""
        for job in workload.jobs.values():
            if not job.state.ended:
                self._came(job, now.timestamp())
        for attempt in workload.attempts.values():
            if not isinstance(attempt.phase, Ended):
                if attempt.resumed_step is not None:
                    self._resumed.add(attempt.key)
                self._began(workload.jobs[attempt.job_id], attempt.planned_at.timestamp(), known=True)

    @property
    def loan_gpu_s(self) -> float:
        """B in GPU-seconds."""
        return LOAN_GPU_S * self.gpus

    @property
    def active(self) -> list[str]:
        """The projects that wait or run."""
        return [project for project, jobs in self._live.items() if jobs]

    def estimate(self, job: Job) -> Estimate:
        """How long a job may take, by what was known when it came."""
        found = self._estimates.get(job.id)
        if found is None:
            found = self.estimator.of(job)
            if not job.state.ended:
                self._estimates[job.id] = found
        return found

    def stays(self, now_s: float) -> list[Stay]:
        """What is in use, and the end to expect of it. What has ended and cannot be killed, never ends."""
        found = []
        for attempt in self._workload.attempts.values():
            phase = attempt.phase
            if isinstance(phase, Ended):
                continue
            started = phase.started_at if isinstance(phase, Running | Stopping) else None
            begin_s = (started or attempt.planned_at).timestamp() + self._leap_s(attempt.job_id)
            estimate = self.estimate(self._workload.jobs[attempt.job_id])
            ends_s = begin_s + estimate.total_s(max(now_s - begin_s, 0.0))
            if isinstance(phase, Stopping):
                ends_s = min(ends_s, max(phase.kill_at.timestamp() - KILL_SLACK_S, now_s))
            found += [Stay(gpu.uuid, gpu.share, ends_s) for gpu in attempt.allocation.gpus]
        return found

    def jumped(self, by_s: float) -> None:
        """The wall clock went forward by so much at once: what runs has not run for longer by that."""
        self._leaps_s += by_s
        self.usage.jumped(by_s)

    def _leap_s(self, job_id: int) -> float:
        """By how much the wall clock was set since the job began."""
        begun = self._begun.get(job_id)
        return 0.0 if begun is None else self._leaps_s - begun[1]

    def key(self, job: Job) -> JobKey:
        """Its place in the order among jobs of its project, whether or not it could start now."""
        return self._entry(job).key

    # -- events --------------------------------------------------------------------------------------------------------

    def see(self, payload: Payload, at: datetime) -> None:
        """One event was applied to the workload."""
        match payload:
            case JobSubmitted(job=job):
                self._came(job, at.timestamp())
            case JobRespecified(job=job):
                self._estimates.pop(job.id, None)
                self._respecified(job, at.timestamp())
            case JobChanged(job_id=job_id):
                self._changed(self._workload.jobs[job_id], at.timestamp())
            case AttemptPlanned(attempt=attempt):
                if attempt.resumed_step is not None:
                    self._resumed.add(attempt.key)
                self._began(self._workload.jobs[attempt.job_id], at.timestamp())
            case AttemptEnded():
                self._ended(payload, at.timestamp())
            case _:
                pass

    def _came(self, job: Job, at_s: float) -> None:
        for upstream in self._chains.add(job):
            self._file(self._workload.jobs[upstream], at_s)
        self._file(job, at_s)

    def _respecified(self, job: Job, at_s: float) -> None:
        for upstream in self._chains.change(job):
            self._file(self._workload.jobs[upstream], at_s)
        self._file(job, at_s)

    def settle(self, now: datetime) -> None:
        """Be exact again about what waits for what; before each decision."""
        for job_id in self._chains.settle():
            self._file(self._workload.jobs[job_id], now.timestamp())

    def _changed(self, job: Job, at_s: float) -> None:
        if job.state is JobState.QUEUED:  # perhaps after it had ended: its deadline counts again
            self._respecified(job, at_s)
        else:
            self._file(job, at_s)
        if job.state.ended:
            self._chains.forget(job)
            self._estimates.pop(job.id, None)
        for below in self._workload.dependents.get(job.id, ()):
            self._file(self._workload.jobs[below], at_s)

    def file_again(self, job_ids: Iterable[int], now: datetime) -> None:
        """The plug-in said something new about these jobs."""
        for job_id in job_ids:
            self._place(self._workload.jobs[job_id], now.timestamp())

    def _file(self, job: Job, at_s: float) -> None:
        """Something about the job changed."""
        if self.said is not None:
            (self.said.wait if self._could_start(job) else self.said.leave)(job.id)
        self._place(job, at_s)

    def _could_start(self, job: Job) -> bool:
        """Whether nothing but room keeps it."""
        return job.state is JobState.QUEUED and not (job.spec.after and self._workload.unmet(job.spec))

    def _place(self, job: Job, at_s: float) -> None:
        """Put the job where it belongs now: among those that could start, or nowhere."""
        old = self.classes.remove(job.id)
        self.deadlines.remove(job.id)
        waits = self._could_start(job) and (self.said is None or self.said.lets(job.id))
        if waits and (old is None or old.project != project_of(job)):
            self._wake(project_of(job), at_s)
        if old is not None and not (waits and old.project == project_of(job)):
            self._live[old.project] -= 1
        if not waits:
            return
        entry = self._entry(job)
        self.classes.add(entry)
        self.deadlines.add(entry)

    def _began(self, job: Job, at_s: float, *, known: bool = False) -> None:
        """A job runs from now on; `known` = it did so under the scheduler before, which may have charged it."""
        project = project_of(job)
        charged = self.usage.is_open(job.id)
        if charged and not known:  # the same attempt, under another session name
            return
        self._wake(project, at_s)
        self._file(job, at_s)
        self._begun[job.id] = (at_s, self._leaps_s)
        if charged:
            return
        expected = job.spec.request.gpus * self.estimate(job).p50_s  # may be a guess, a hundred times too long
        self.usage.begin(job.id, project, min(expected, self.loan_gpu_s), at_s)

    def _ended(self, payload: AttemptEnded, at_s: float) -> None:
        job = self._workload.jobs[payload.job_id]
        project, ended = project_of(job), payload.ended
        if not self.usage.is_open(job.id):
            return
        began_s, end_s = None if ended.started_at is None else ended.started_at.timestamp(), ended.ended_at.timestamp()
        took_s = None if (job.id, payload.number) in self._resumed else duration_of(job, None, ended)
        if self._leap_s(job.id) and began_s is not None:  # its own times do not fit together
            planned_s, _ = self._begun[job.id]
            began_s, end_s = min(planned_s + self._leap_s(job.id), at_s), at_s
            took_s = None if took_s is None else end_s - began_s
        self._begun.pop(job.id, None)
        self.usage.settle(job.id, job.spec.request.gpus, began_s, end_s)
        self._live[project] -= 1
        self._resumed.discard((job.id, payload.number))
        if took_s is not None:
            self.estimator.learn(job, took_s)

    def _wake(self, project: str, at_s: float) -> None:
        if not self._live[project]:
            self.usage.lift(project, self.active, self.loan_gpu_s, at_s)
        self._live[project] += 1

    def _entry(self, job: Job) -> Entry:
        estimate = self.estimate(job)
        request = job.needs
        policy = self.rules.policy
        ready_s = self.ready_s(job)
        if self.said is not None and self.said.orders:
            key: JobKey = (0, False, self.said.keys.get(job.id, ()), 0.0, job.id)
        else:
            uprank_s = self._chains.uprank_s(job) if policy.chains else 0.0
            own = policy.key(ready_s, work_of(request.gpus, estimate), policy)
            priority = self._chains.priority(job)
            key = (-priority, job.failed_before, own, -uprank_s, job.id)
        array = job.spec.array
        crowd = array.id if array is not None and array.at_most is not None else None
        claim = self._claims.of(job)
        asks = (request.gpu_memory_mib, request.limits, request.cpus, request.memory_mib, crowd)
        return Entry(
            id=job.id,
            project=project_of(job),
            need=self._needs.of(request),
            estimate=estimate,
            key=key,
            asks=(*asks, request.hardware, claim.owners, claim.unknown),
            ready_s=ready_s,
            deadline_s=self._chains.due_s(job.id) if policy.urgent else None,
            claim=claim,
        )

    def ready_s(self, job: Job) -> float:
        """Since when nothing that it comes after is in its way."""
        return max([job.queued_at, *self._ends_before(job)]).timestamp()

    def due_s(self, job: Job) -> float | None:
        """Its deadline, or what is left of that of a job that waits for it; None = neither has one."""
        return self._chains.due_s(job.id)

    def _ends_before(self, job: Job) -> list[datetime]:
        """It is ready since the last one that it waited for ended."""
        upstream = (self._workload.jobs.get(job_id) for job_id in job.spec.after)
        return [need.ended_at for need in upstream if need is not None and need.ended_at is not None]


def project_of(job: Job) -> str:
    """The name its share goes by; jobs of no project share one."""
    return job.spec.project or ""
