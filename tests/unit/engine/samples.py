"""Jobs, attempts and devices for the tables of cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from researchflow_tmux.domain.attempt import Attempt, Phase, Planned
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import Allocation, GpuDevice, GpuShare, ResourceRequest
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.ports import Request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def spec(name: str = "j", *, gpus: int = 1, pinned: tuple[int, ...] = (), **fields: Any) -> JobSpec:
    request = ResourceRequest(gpus=gpus, pinned=pinned)
    key, shell = fields.pop("key", name), fields.pop("shell", "true")
    return JobSpec(
        source="config", key=key, name=name, shell=shell, workdir="/", env_digest="e", request=request, **fields
    )


def job(job_id: int, state: JobState = JobState.QUEUED, *, queued_s: float = 0.0, **fields: Any) -> Job:
    of_job = {name: fields.pop(name) for name in list(fields) if name in Job.__struct_fields__}
    name = fields.pop("name", f"j{job_id}")
    return Job(id=job_id, spec=spec(name, **fields), slug=f"j{job_id}", state=state, queued_at=at(queued_s), **of_job)


def device(index: int, *, kind: str = "simulated", leased: bool = False) -> GpuDevice:
    return GpuDevice(uuid=f"g{index}", index=index, name="GPU", kind=kind, leased=leased)


def slots(*indices: int, share: float = 1.0) -> Allocation:
    return Allocation(gpus=tuple(GpuShare(uuid=f"g{index}", index=index, share=share) for index in indices))


def attempt(job_id: int = 1, number: int = 1, phase: Phase | None = None, **fields: Any) -> Attempt:
    of_attempt = {"allocation": slots(0), "session": f"t_j{job_id}_gpu0", "log": None, **fields}
    return Attempt(
        job_id=job_id,
        number=number,
        planned_at=NOW,
        boot_id="b",
        hostname="h",
        phase=phase or Planned(at=NOW),
        **of_attempt,
    )


def active(job_id: int, on: Allocation, **fields: Any) -> tuple[Job, Attempt]:
    return job(job_id, JobState.ACTIVE, attempts=1, **fields), attempt(job_id, allocation=on)


def workload(*jobs: Job, attempts: tuple[Attempt, ...] = ()) -> Workload:
    return Workload(jobs, attempts, max((one.id for one in jobs), default=0) + 1)


def asked(kind: str, body: dict[str, Any]) -> Request:
    """A request as it comes out of the inbox."""
    return Request(id=1, kind=kind, json=msgspec.json.encode(body), by="ann")
