"""What may be used, put together once for one decision from the live attempts, the leases and the measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.limits import NO_RULES, RamReading, RoomRules
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import GpuDevice, GpuReading, Ticket
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies import ram as ram_policy
from researchflow_tmux.policies.accounts.accounts import NO_ACCOUNTS, Accounts
from researchflow_tmux.policies.gpu_view import GpuView
from researchflow_tmux.policies.grace import Touched, settling_for_all, settling_for_limits
from researchflow_tmux.policies.load import GpuLoad, Holder, memory_in_use, memory_of, processes_on
from researchflow_tmux.policies.machine import Unpromised
from researchflow_tmux.policies.scarcity import wanted
from researchflow_tmux.policies.topology import NO_LINKS, Links


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, last."""

    loads: Mapping[str, GpuLoad] = {}
    """By UUID of a GPU that can be asked."""
    readings: Mapping[str, GpuReading] = {}
    ram: RamReading | None = None
    """None = unknown."""
    ranks: Mapping[str, int] = {}
    """Places of the GPUs by the user's comparison."""


NOTHING_SEEN = Seen()


class Capacity(msgspec.Struct, kw_only=True):
    """What may be used, seen once for one decision. `take`n slots are booked in it."""

    views: list[GpuView]
    share: float
    """Share of a GPU that one job gets unless it says otherwise; 0 = unlimited."""
    cpu_places: int
    """CPU jobs that may still start."""
    halted: Reason | None = None
    """Why nothing at all may start (stopping, tmux silent)."""
    rules: RoomRules = NO_RULES
    running: int = 0
    """Live attempts, with those that this decision starts."""
    ram: RamReading | None = None
    unpromised: Unpromised = msgspec.field(default_factory=lambda: Unpromised(NO_RULES))
    """Cores and memory of the machine."""
    links: Links = NO_LINKS
    """How the GPUs are connected."""
    short_of_ram: Reason | None = None
    """Why nothing may start for want of memory in the machine."""
    one_by_one: bool = False
    """What may start depends on what starts: one job in each decision, and the next decision at once."""
    accounts: Accounts = NO_ACCOUNTS
    """Those of projects and users, with what is in use."""


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
    rules: RoomRules = NO_RULES,
    seen: Seen = NOTHING_SEEN,
    links: Links = NO_LINKS,
    now: datetime | None = None,
    accounts: Accounts = NO_ACCOUNTS,
) -> Capacity:
    """Book the live attempts and everybody's leases on the devices; `now` = None leaves grace periods out."""
    views = {device.uuid: GpuView(device=device, blocked=(blocked or {}).get(device.uuid)) for device in devices}
    ours: dict[str, list[Holder]] = {}
    theirs: dict[str, list[Holder]] = {}
    cpu_jobs = 0
    unpromised = Unpromised(rules)
    for attempt in workload.attempts.values():
        cpu_jobs += not attempt.allocation.gpus
        job = workload.jobs[attempt.job_id]
        unpromised.book(attempt.allocation, job.needs)
        _book(views, ours, attempt, job.name)
    for ticket in tickets:
        view = views.get(ticket.uuid)
        if view is not None and not (own_tag_prefix and (ticket.tag or "").startswith(own_tag_prefix)):
            view.others += ticket.share
            view.other_holders.append(ticket.holder)
            theirs.setdefault(ticket.uuid, []).append(Holder(holder_of(ticket), ticket.memory_mib))
    if rules.keep_scarce_gpus and workload.choosy.known:
        for uuid, degree in wanted(devices, workload.choosy.waiting, workload.choosy.known).items():
            views[uuid].wanted = degree
    for uuid, view in views.items():
        _measure(view, seen, ours.get(uuid, []), theirs.get(uuid, []))
        if now is not None:
            _let_settle(view, workload.touched.get(uuid), rules, now)
    return Capacity(
        views=list(views.values()),
        share=share,
        cpu_places=max_cpu_jobs - cpu_jobs,
        halted=halted,
        rules=rules,
        running=len(workload.attempts),
        ram=seen.ram,
        unpromised=unpromised,
        links=links,
        short_of_ram=ram_policy.shortage(rules, seen.ram),
        accounts=accounts,
    )


def next_opening(room: Capacity, now: datetime) -> datetime | None:
    """When the next grace period or incomplete window ends; None = nothing here ends at a known time."""
    graces = (grace for view in room.views for grace in (view.settles, view.settles_limits) if grace is not None)
    ends = [grace.until for grace in graces]
    ends += [view.util_known_at for view in room.views if view.util_pct is None]
    return min((end for end in ends if end is not None and end > now), default=None)


def key_of(attempt: Attempt) -> str:
    """What the memory of an attempt's processes goes by."""
    return f"{attempt.job_id}.{attempt.number}"


def holder_of(ticket: Ticket) -> str:
    """What the memory of another workspace's job goes by."""
    return ticket.tag or f"pid {ticket.pid}"


def _book(views: dict[str, GpuView], ours: dict[str, list[Holder]], attempt: Attempt, name: str) -> None:
    for gpu in attempt.allocation.gpus:
        view = views.get(gpu.uuid)
        if view is not None:
            view.hold(gpu.share, name)
            ours.setdefault(gpu.uuid, []).append(Holder(key_of(attempt), gpu.memory_mib))


def _measure(view: GpuView, seen: Seen, ours: list[Holder], theirs: list[Holder]) -> None:
    uuid = view.device.uuid
    load = seen.loads.get(uuid)
    holders = ours + theirs
    view.reading = seen.readings.get(uuid)
    view.rank = seen.ranks.get(uuid)
    view.ours_mib = memory_of(load, ours)
    if load is None:  # nobody measures it: only what was declared is known
        view.total_mib = view.device.total_mib
        view.in_use_mib = sum(holder.declared_mib for holder in holders)
        return
    view.measured = True
    view.total_mib = load.total_mib
    view.in_use_mib = memory_in_use(load, holders)
    view.processes = processes_on(load, holders)
    view.util_pct, view.util_known_at = load.util_pct, load.util_known_at


def _let_settle(view: GpuView, touched: Touched | None, rules: RoomRules, now: datetime) -> None:
    index, start = view.device.index, Touched(now)
    view.settles = settling_for_all(index, touched, rules, now)
    view.settles_limits = settling_for_limits(index, touched, rules, now)
    view.after_start = (settling_for_all(index, start, rules, now), settling_for_limits(index, start, rules, now))
