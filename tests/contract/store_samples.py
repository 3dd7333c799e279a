"""Jobs and attempts for the store's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Phase, Planned, Running
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, GpuShare, ResourceRequest

NOW = datetime(2026, 1, 31, 12, 0, 0, 250000, tzinfo=UTC)
BOOT = "11111111-2222-3333-4444-555555555555"


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def job(number: int = 1, state: JobState = JobState.QUEUED, *, after: tuple[int, ...] = (), **fields: Any) -> Job:
    spec = JobSpec(
        source="config",
        key=f"configs/é{number}.yml",
        name=f"exp_{number}",
        shell="python train.py --config_path 'configs/é.yml'",
        workdir="/home/somebody/project",
        env_digest="d" * 8,
        env={"SEED": str(number)},
        request=ResourceRequest(gpus=2, time_limit_s=3600.0),
        completion="marker",
        marker="/home/somebody/project/out/exp_completed.txt",
        digests={"/home/somebody/project/train.py": "ab" * 32},
        priority=number % 3,
        after=after,
        group="sweep" if number % 2 else None,
    )
    return Job(id=number, spec=spec, slug=f"exp_{number}", state=state, queued_at=NOW, **fields)


def ended_job(number: int, ended_at: datetime = NOW, state: JobState = JobState.SUCCEEDED, **fields: Any) -> Job:
    reason = Reason(code=ReasonCode.SUCCEEDED)
    return job(number, state, started_at=NOW, ended_at=ended_at, exit_code=0, attempts=1, reason=reason, **fields)


def attempt(job_id: int = 1, number: int = 1, phase: Phase | None = None, **fields: Any) -> Attempt:
    return Attempt(
        job_id=job_id,
        number=number,
        allocation=Allocation(gpus=(GpuShare(uuid="GPU-0", index=0, share=0.5),)),
        session=f"project_exp_{job_id}_gpu0",
        log=None,
        planned_at=NOW,
        boot_id=BOOT,
        hostname="here",
        phase=phase or Planned(at=NOW),
        **fields,
    )


def running() -> Running:
    return Running(started_at=at(1), runner_pid=4711)


def ended() -> Ended:
    return Ended(outcome=Exited(code=0, succeeded=True), ended_at=at(9), started_at=at(1), peak_rss_mib=12.5)
