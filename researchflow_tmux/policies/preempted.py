"""What it cost a job that it was stopped for others: the GPU-seconds it had to do again."""

from __future__ import annotations

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import PREEMPTED, Attempt, Ended, Killed
from researchflow_tmux.domain.job import Job


def with_stake(job: Job, attempt: Attempt) -> Job:
    """The job after this attempt ended: if it made room, all that it did is lost until the next one is planned."""
    ended = attempt.phase
    if not isinstance(ended, Ended) or not isinstance(ended.outcome, Killed) or ended.outcome.by != PREEMPTED:
        return job
    ran_s = 0.0 if ended.started_at is None else max((ended.ended_at - ended.started_at).total_seconds(), 0.0)
    return replace(job, at_stake_gpu_s=round(ran_s * _gpus(attempt), 3))


def with_loss(job: Job, attempt: Attempt) -> Job:
    """The job when its next attempt is planned: what the checkpoint does not have is lost, without one all of it.

    Where nobody can see the checkpoints (a URL), nothing is known and nothing counted.
    """
    if not job.at_stake_gpu_s:
        return job
    lost_gpu_s = job.at_stake_gpu_s
    if attempt.resumed_step is not None:
        lost_gpu_s = 0.0 if attempt.lost_s is None else min(attempt.lost_s * _gpus(attempt), lost_gpu_s)
    elif attempt.checkpoints is not None and "://" in attempt.checkpoints:
        lost_gpu_s = 0.0
    return replace(job, at_stake_gpu_s=0.0, preempted_gpu_s=round(job.preempted_gpu_s + lost_gpu_s, 3))


def _gpus(attempt: Attempt) -> float:
    return sum(gpu.share for gpu in attempt.allocation.gpus)
