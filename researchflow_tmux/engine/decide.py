"""What to start now, and why the others wait. Pure: the same walk serves the scheduler, `why` and the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

import msgspec

from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, GpuDevice, Ticket
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.conditions import why_waiting
from researchflow_tmux.policies.placement import GpuView, place
from researchflow_tmux.policies.retry import in_backoff

MAX_STARTS = 32
"""Starts decided at once: keeps one tick short. The next tick follows immediately."""


class Start(msgspec.Struct, frozen=True):
    """Start this job on these slots."""

    job: Job
    allocation: Allocation


class Capacity(msgspec.Struct, kw_only=True):
    """What may be used, seen once for one decision. `take`n slots are booked in it."""

    views: list[GpuView]
    share: float
    """Share of a GPU that one job gets; 0 = unlimited."""
    cpu_places: int
    """CPU jobs that may still start."""
    halted: Reason | None = None
    """Why nothing at all may start (stopping, tmux silent)."""


def capacity(
    workload: Workload,
    devices: Sequence[GpuDevice],
    *,
    share: float,
    max_cpu_jobs: int,
    own_tag_prefix: str = "",
    tickets: Sequence[Ticket] = (),
    blocked: dict[str, Reason] | None = None,
    halted: Reason | None = None,
) -> Capacity:
    """Book the live attempts and everybody's leases on the devices."""
    views = {device.uuid: GpuView(device=device, blocked=(blocked or {}).get(device.uuid)) for device in devices}
    cpu_jobs = 0
    for attempt in workload.attempts.values():
        cpu_jobs += not attempt.allocation.gpus
        _book(views, attempt, workload.jobs[attempt.job_id].name)
    for ticket in tickets:
        view = views.get(ticket.uuid)
        if view is not None and not (own_tag_prefix and (ticket.tag or "").startswith(own_tag_prefix)):
            view.others += ticket.share
            view.other_holders.append(ticket.holder)
    return Capacity(views=list(views.values()), share=share, cpu_places=max_cpu_jobs - cpu_jobs, halted=halted)


def _book(views: dict[str, GpuView], attempt: Attempt, name: str) -> None:
    for gpu in attempt.allocation.gpus:
        view = views.get(gpu.uuid)
        if view is not None:
            view.take(gpu.share, name)


def decide(workload: Workload, room: Capacity, now: datetime) -> list[Start]:
    """The jobs to start now, in order, at most MAX_STARTS."""
    starts: list[Start] = []
    if not _any_room(workload, room):
        return starts
    for job, answer in _walk(workload, room, now):
        if isinstance(answer, Allocation):
            starts.append(Start(job, answer))
            if len(starts) == MAX_STARTS or not _any_room(workload, room):
                break
    return starts


def explain(workload: Workload, room: Capacity, now: datetime, most: int | None = None) -> dict[int, Reason]:
    """Why each queued job (the first `most`) is not running, by job id; `NEXT` for those that would start now."""
    starts_next = Reason(code=ReasonCode.NEXT)
    walk = islice(_walk(workload, room, now), most)
    return {job.id: starts_next if isinstance(answer, Allocation) else answer for job, answer in walk}


def _walk(workload: Workload, room: Capacity, now: datetime) -> Iterator[tuple[Job, Allocation | Reason]]:
    # Views only fill up during a walk, so a request that found no room stays without: 1 000 alike cost one look.
    refused: dict[tuple[int, tuple[int, ...]], Reason] = {}
    started: Counter[str] = Counter()  # by array, in this walk
    for job in workload.queued():
        reason = _gate(workload, room, job, now) or _array_gate(workload, job, started)
        if reason is not None:
            yield job, reason
            continue
        request = job.needs
        wanted = (request.gpus, request.pinned)
        known = refused.get(wanted)
        if known is not None:
            yield job, known
            continue
        answer = _cpu(room) if request.gpus == 0 else place(request, room.views, room.share, job.name)
        if isinstance(answer, Reason):
            refused[wanted] = answer
        elif job.spec.array is not None:
            started[job.spec.array.id] += 1
        yield job, answer


def _gate(workload: Workload, room: Capacity, job: Job, now: datetime) -> Reason | None:
    """What keeps the job from even asking for slots."""
    if job.spec.after:
        unmet = workload.unmet(job.spec)
        if unmet:
            return why_waiting(unmet, job.spec)
    if in_backoff(job, now):
        return job.reason or Reason(code=ReasonCode.BACKOFF, until=job.not_before)
    return room.halted


def _array_gate(workload: Workload, job: Job, started: Counter[str]) -> Reason | None:
    """Whether as many of the job's array run (or start in this very walk) as its `%N` allows."""
    array = job.spec.array
    if array is None or array.at_most is None:
        return None
    running = workload.active_of_array[array.id] + started[array.id]
    if running < array.at_most:
        return None
    return Reason(code=ReasonCode.ARRAY_FULL, text=f"{running} of {array.name}")


def _cpu(room: Capacity) -> Allocation | Reason:
    if room.cpu_places <= 0:
        return Reason(code=ReasonCode.CPU_FULL)
    room.cpu_places -= 1
    return Allocation()


def _any_room(workload: Workload, room: Capacity) -> bool:
    if room.cpu_places > 0 and workload.queued_cpu_jobs > 0:
        return True
    return any(view.admits(room.share) for view in room.views)
