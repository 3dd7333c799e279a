"""Jobs to predict, in few words."""

from __future__ import annotations

from datetime import UTC, datetime

from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import ResourceRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def spec(
    command: str = "python train.py", *, gpus: int = 1, share: float | None = None, project: str | None = None,
    limit_s: float | None = None, shell: str | None = None,
) -> JobSpec:  # fmt: skip
    return JobSpec(
        source="command", key="k", name="n", argv=() if shell else tuple(command.split()), shell=shell, workdir="/",
        env_digest="e", project=project, request=ResourceRequest(gpus=gpus, share=share, time_limit_s=limit_s),
    )  # fmt: skip


def job(
    command: str = "python train.py", *, gpus: int = 1, project: str | None = None, limit_s: float | None = None
) -> Job:
    made = spec(command, gpus=gpus, project=project, limit_s=limit_s)
    return Job(id=1, spec=made, slug="n", state=JobState.QUEUED, queued_at=NOW)
