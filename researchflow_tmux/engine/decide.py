"""What to start now, and why the others wait. Pure: the same walk serves the scheduler, `why` and the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.accounts import Grant
from researchflow_tmux.domain.attempt import Ended, Exited, OutOfMemory
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, ResourceRequest
from researchflow_tmux.engine.capacity import Capacity, capacity
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies import ram
from researchflow_tmux.policies.conditions import why_waiting
from researchflow_tmux.policies.ordering import is_custom
from researchflow_tmux.policies.placement import place
from researchflow_tmux.policies.retry import in_backoff

__all__ = ["MAX_STARTS", "Capacity", "Start", "capacity", "decide", "explain"]

MAX_STARTS = 32
"""Starts decided at once: keeps one tick short. The next tick follows immediately."""


class Start(msgspec.Struct, frozen=True):
    """Start this job on these slots."""

    job: Job
    allocation: Allocation
    grant: Grant | None = None
    """What it may use of budgets; None = it is on nobody's account."""


def decide(
    workload: Workload, room: Capacity, now: datetime, walked: list[tuple[Job, Allocation | Reason]] | None = None
) -> list[Start]:
    """The jobs to start now, in order, at most MAX_STARTS; decide again after as many as `goes_on` says.

    The user's comparison ranks the GPUs as they were measured: where it does, each GPU gets one job in one decision.
    `walked` gets every job that was looked at, with the answer.
    """
    starts: list[Start] = []
    if not _any_room(workload, room):
        return starts
    ranked, touched = is_custom(room.rules.order), set[str]()
    for job, answer in _walk(workload, room, now):
        if isinstance(answer, Allocation):
            uuids = {gpu.uuid for gpu in answer.gpus}
            if ranked and touched & uuids:
                break
            touched |= uuids
            starts.append(Start(job, answer, room.accounts.grants.get(job.id)))
        if walked is not None:
            walked.append((job, answer))
        if starts and isinstance(answer, Allocation) and (len(starts) == MAX_STARTS or not _any_room(workload, room)):
            break
    return starts


def goes_on(starts: list[Start], room: Capacity) -> bool:
    """Whether more may be there to start at once: then the next tick follows immediately."""
    if len(starts) == MAX_STARTS or (room.one_by_one and starts):
        return True
    return is_custom(room.rules.order) and any(start.allocation.gpus for start in starts)


def explain(workload: Workload, room: Capacity, now: datetime, most: int | None = None) -> dict[int, Reason]:
    """Why each queued job (the first `most`) is not running, by job id; `NEXT` for those that would start now."""
    starts_next = Reason(code=ReasonCode.NEXT)
    walk = islice(_walk(workload, room, now), most)
    return {job.id: starts_next if isinstance(answer, Allocation) else answer for job, answer in walk}


Wanted = tuple[object, ...]


def ask(workload: Workload, room: Capacity, job: Job, started: Counter[str], now: datetime) -> Allocation | Reason:
    """Slots for one job, booked in `room`, or why it gets none; `started` = starts of this decision, by array."""
    answer = gate(workload, room, job, now) or _array_gate(workload, job, started) or fit(room, job)
    return _booked(room, job, answer, started) if isinstance(answer, Allocation) else answer


def _walk(workload: Workload, room: Capacity, now: datetime) -> Iterator[tuple[Job, Allocation | Reason]]:
    # Views only fill up during a walk, so a request that found no room stays without: 1 000 alike cost one look.
    refused: dict[Wanted, Reason] = {}
    started: Counter[str] = Counter()  # by array, in this walk
    for job in workload.queued():
        waits = gate(workload, room, job, now) or _array_gate(workload, job, started)
        if waits is not None:
            yield job, waits
            continue
        wanted = _wanted(job.needs)
        answer = refused.get(wanted) or fit(room, job)
        if isinstance(answer, Reason):
            refused[wanted] = answer
        else:
            answer = _booked(room, job, answer, started)
        yield job, answer


def _booked(room: Capacity, job: Job, slots: Allocation, started: Counter[str]) -> Allocation:
    """The decision starts the job: what else it gets, with the slots it got."""
    room.running += 1
    if room.accounts:
        room.accounts.book(job)
    if job.spec.array is not None:
        started[job.spec.array.id] += 1
    return replace(slots, cores=room.unpromised.give(job.needs))


def _wanted(request: ResourceRequest) -> Wanted:
    """What decides about places: two jobs alike in this get the same answer."""
    return (request.gpus, request.pinned, request.share, request.gpu_memory_mib, request.limits, request.hardware)


def fit(room: Capacity, job: Job) -> Allocation | Reason:
    """Slots for one job, booked in `room`, whatever else keeps it; or why there are none."""
    if job.needs.gpus == 0:
        return _cpu(room)
    return place(job.needs, room.views, room.share, job.name, room.rules, room.links)


def gate(workload: Workload, room: Capacity, job: Job, now: datetime) -> Reason | None:
    """What keeps the job from even asking for slots."""
    if job.spec.after:
        unmet = workload.unmet(job.spec)
        if unmet:
            return why_waiting(unmet, job.spec)
    if in_backoff(job, now):
        return job.reason or Reason(code=ReasonCode.BACKOFF, until=job.not_before)
    return _still_there(workload, job) or room.halted or _no_account(room, job) or _machine_full(room, job)


def _no_account(room: Capacity, job: Job) -> Reason | None:
    """What the accounts of its project and its user have to say."""
    return room.accounts.refuses(room.accounts.claim(job)) if room.accounts else None


def _still_there(workload: Workload, job: Job) -> Reason | None:
    """Its last attempt was ended from outside, and its program may be among what could not be killed: never twice."""
    left = workload.attempts.get((job.id, job.attempts))
    if left is None or not isinstance(left.phase, Ended) or isinstance(left.phase.outcome, Exited | OutOfMemory):
        return None
    return Reason(code=ReasonCode.UNKILLED, text=", ".join(f"pid {pid}" for pid in left.quarantined))


def _machine_full(room: Capacity, job: Job) -> Reason | None:
    """What the whole machine has to say, whichever GPU it would be."""
    most = room.rules.max_jobs
    if most is not None and room.running >= most:
        return Reason(code=ReasonCode.CAP, text=f"{room.running} (max_jobs)")
    if room.short_of_ram is not None:
        return room.short_of_ram
    if job.ram_mib and (reason := ram.does_not_fit(room.rules, room.ram, job, alone=not room.running)):
        return reason
    return room.unpromised.refuses(job.needs)


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
    if room.short_of_ram is not None or (room.rules.max_jobs or room.running + 1) <= room.running:
        return False
    if room.cpu_places > 0 and workload.queued_cpu_jobs > 0:
        return True
    least = workload.least_share(room.share)
    return any(view.admits(least) for view in room.views)
