"""When the queue, and each group and project in it, should be through: a quick look, by the order of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from researchflow_tmux.adapters.foreseen_file import ForeseenAttempt
from researchflow_tmux.adapters.live_file import Live
from researchflow_tmux.adapters.planning import history
from researchflow_tmux.api.durations import Durations
from researchflow_tmux.api.etas import group_of, members
from researchflow_tmux.api.plan_tries import Tries, in_order
from researchflow_tmux.api.plan_views import PlannedGroup
from researchflow_tmux.api.scene import Scene, machine_of
from researchflow_tmux.domain.attempt import AttemptKey, Ended
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.prediction.forward import TRIES

MOST = 500
"""Jobs; with more of them `plan` says it, in its own time."""
DRAWS = 5_000
"""Durations that are drawn at most: some 10 ms."""
LEAST_TRIES = 10


def totals(
    paths: WorkspacePaths, workload: Workload, live: Live, foreseen: Mapping[AttemptKey, ForeseenAttempt], now: datetime
) -> list[PlannedGroup]:
    """The queue first, then its groups and projects; nothing of a queue that is too long for a quick look."""
    open_jobs = [job for job in workload.jobs.values() if job.state in (JobState.QUEUED, JobState.ACTIVE)]
    if not 0 < len(open_jobs) <= MOST or live.halt is not None:
        return []
    running = {each.job_id: each for each in workload.attempts.values() if not isinstance(each.phase, Ended)}
    durations = Durations(history(paths, workload.jobs), foreseen, now, fresh=True)
    scene = Scene(
        jobs=open_jobs,
        attempts=list(running.values()),
        conditions=list(workload.gpus.values()),
        machine=machine_of(live),
        plan=None,
        durations=durations,
        now=now,
        live=live,
    )
    lengths = {
        job.id: durations.of_running(job, running[job.id]) if job.id in running else durations.of(job)
        for job in open_jobs
    }
    tries = Tries(scene, running, lengths)
    ordered = in_order([*(workload.jobs[job_id] for job_id in running), *workload.queued()], workload.jobs.get)
    order = [tries.task(job) for job in ordered]
    ends_s = {job_id: span.end_s for job_id, span in tries.laid_out(order, tries.middle()).items()}
    draws = max(min(TRIES, DRAWS // len(open_jobs)), LEAST_TRIES)
    drawn = [
        {job_id: span.end_s for job_id, span in tries.laid_out(order, tries.drawn(number)).items()}
        for number in range(draws)
    ]
    groups = {("queue", "everything"): [job.id for job in open_jobs], **members(open_jobs)}
    return [
        group_of(name, kind, ids, ends_s, drawn, now, known=all(lengths[job_id].known for job_id in ids))
        for (kind, name), ids in groups.items()
    ]
