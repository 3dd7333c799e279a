"""A workload to replay: jobs with the time they came, what they asked for and how long they took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec


class TraceJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job of a trace."""

    name: str
    submit_s: float
    """Seconds from the begin of the trace."""
    duration_s: float
    gpus: int = 1
    gpu_type: str = ""
    """As the setting of that name; empty = any GPU."""
    user: str = ""
    project: str = ""
    deadline_s: float | None = None
    """Seconds from the begin of the trace."""
    preemptible: bool = False
    """It may be stopped for a job with a deadline."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """A workload, in the order in which it came."""

    name: str
    jobs: tuple[TraceJob, ...]
    left_out: int = 0
    """Lines that say nothing about a job that ran (cancelled before it began, no duration)."""


def made(name: str, jobs: Iterable[TraceJob], left_out: int = 0) -> Trace:
    """The jobs in order, the first one coming at 0."""
    ordered = sorted(jobs, key=lambda job: job.submit_s)
    begin_s = ordered[0].submit_s if ordered else 0.0
    if begin_s:
        ordered = [_moved(job, begin_s) for job in ordered]
    return Trace(name=name, jobs=tuple(ordered), left_out=left_out)


def _moved(job: TraceJob, begin_s: float) -> TraceJob:
    deadline_s = None if job.deadline_s is None else job.deadline_s - begin_s
    return msgspec.structs.replace(job, submit_s=job.submit_s - begin_s, deadline_s=deadline_s)


def stretched(trace: Trace, factor: float) -> Trace:
    """The same jobs, taking `factor` times as long: more or less load on the same machine."""
    jobs = [msgspec.structs.replace(job, duration_s=job.duration_s * factor) for job in trace.jobs]
    return msgspec.structs.replace(trace, jobs=tuple(jobs))


def fitting(
    trace: Trace, gpus: int, of_type: Mapping[str, int] = MappingProxyType({})
) -> tuple[Trace, Sequence[TraceJob]]:
    """The jobs that a machine of so many GPUs can run, and those that it cannot; `of_type` = how many for a type."""
    wide = [job for job in trace.jobs if job.gpus > of_type.get(job.gpu_type, gpus)]
    kept = tuple(job for job in trace.jobs if job.gpus <= of_type.get(job.gpu_type, gpus))
    return msgspec.structs.replace(trace, jobs=kept), wide


def as_projects(trace: Trace, column: str) -> Trace:
    """Every job in the project that a column says: `user`, `project`, or `none` for one project of all."""
    if column == "project":
        return trace
    jobs = [msgspec.structs.replace(job, project=job.user if column == "user" else "") for job in trace.jobs]
    return msgspec.structs.replace(trace, jobs=tuple(jobs))
