"""What is told to a policy plug-in: jobs, the machine and events as plain data."""

from __future__ import annotations

from datetime import datetime

from researchflow_tmux.domain.attempt import Ended, Running, Stopping
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptStarted,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Payload,
)
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.plugin import PluginEvent, PluginFacts, PluginGpu, PluginJob, PluginRun
from researchflow_tmux.engine.capacity import Capacity
from researchflow_tmux.engine.planning.index import Index
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.gpu_view import GpuView

GPU_HOUR_S = 3600.0


def job_view(index: Index, job: Job) -> PluginJob:
    """One job that waits."""
    spec, needs, estimate = job.spec, job.needs, index.estimate(job)
    return PluginJob(
        id=job.id,
        name=job.name,
        project=spec.project or "",
        user=spec.user or "",
        group=spec.group or "",
        labels=spec.labels,
        array=spec.array.name if spec.array is not None else "",
        source=spec.source,
        priority=spec.priority,
        gpus=needs.gpus,
        share=index.share if needs.share is None else needs.share,
        gpu_memory_mib=needs.gpu_memory_mib,
        cpus=needs.cpus,
        memory_mib=needs.memory_mib,
        expected_s=estimate.p50_s,
        p80_s=estimate.p80_s,
        time_limit_s=estimate.limit_s,
        deadline_s=index.due_s(job),
        queued_s=job.queued_at.timestamp(),
        ready_s=index.ready_s(job),
        attempts=job.attempts,
        failed_before=job.failed_before,
    )


def facts(workload: Workload, index: Index, room: Capacity, now: datetime) -> PluginFacts:
    """The machine now."""
    now_s = now.timestamp()
    return PluginFacts(
        now_s=now_s,
        gpus=[_gpu(view) for view in room.views],
        running=_running(workload, index, now_s),
        waiting=workload.queue_length,
        used={project: used / GPU_HOUR_S for project, used in index.usage.all_used(now_s).items()},
        weights=dict(index.usage.weights),
    )


def _gpu(view: GpuView) -> PluginGpu:
    closed = view.blocked is not None or view.settles is not None
    free = 0.0 if closed else max(1.0 - view.used - view.others, 0.0)
    device = view.device
    return PluginGpu(
        index=device.index, name=device.name, free=free, total_mib=view.total_mib, in_use_mib=view.in_use_mib
    )


def _running(workload: Workload, index: Index, now_s: float) -> list[PluginRun]:
    found = []
    for attempt in workload.attempts.values():
        phase, job = attempt.phase, workload.jobs[attempt.job_id]
        if isinstance(phase, Ended):
            continue
        started = phase.started_at if isinstance(phase, Running | Stopping) else None
        begin_s = (started or attempt.planned_at).timestamp()
        ends_s = begin_s + index.estimate(job).total_s(max(now_s - begin_s, 0.0))
        run = PluginRun(
            id=job.id,
            name=job.name,
            project=job.spec.project or "",
            user=job.spec.user or "",
            priority=job.spec.priority,
            gpus=len(attempt.allocation.gpus),
            started_s=begin_s,
            ends_s=ends_s,
        )
        found.append(run)
    return found


def event_view(workload: Workload, payload: Payload, at: datetime) -> PluginEvent | None:
    """What happened to a job; None = nothing that a policy would mind."""
    match payload:
        case JobSubmitted(job=job):
            kind, job_id = "queued", job.id
        case JobRespecified(job_id=job_id):
            kind = "changed"
        case AttemptStarted(job_id=job_id):
            kind = "started"
        case AttemptEnded(job_id=job_id):
            kind = "ended"
        case JobChanged(job_id=job_id, state=state):
            kind = str(state)
        case _:
            return None
    spec = workload.jobs[job_id].spec
    return PluginEvent(
        kind=kind,
        at_s=at.timestamp(),
        job=job_id,
        name=spec.name,
        project=spec.project or "",
        user=spec.user or "",
        gpus=spec.request.gpus,
    )
