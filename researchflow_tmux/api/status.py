"""Building the status view: the rows, what the scheduler last saw, and the engine's words for who waits for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from researchflow_tmux.adapters.foreseen_file import Foreseen, ForeseenAttempt, by_key
from researchflow_tmux.adapters.live_file import Live
from researchflow_tmux.adapters.workspace_lock import LockHolder
from researchflow_tmux.api.etas import NO_ETA, eta_of
from researchflow_tmux.api.plan_views import PlannedGroup
from researchflow_tmux.api.planning import Plan
from researchflow_tmux.api.usage import state_of, usage_view, usages_of
from researchflow_tmux.api.views import AccountView, GpuView, HardwareView, JobView, SchedulerView, StatusView
from researchflow_tmux.domain.attempt import PREEMPTED, Attempt, AttemptKey, Launching, Planned, Running, Stopping
from researchflow_tmux.domain.hardware import NO_HARDWARE, Hardware
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.usage import Usage, Watched
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.engine.accounting import Accounting
from researchflow_tmux.engine.by_hand import KILL_SLACK_S
from researchflow_tmux.engine.capacity import Capacity, Seen, capacity
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.topology import Links

MANY = 2_000
"""From so many waiting jobs on it costs less to ask the scheduler about a few than to put them all in order again."""


Known = Mapping[AttemptKey, ForeseenAttempt]
"""What the scheduler found out about running attempts."""


class Shown(NamedTuple):
    """Which jobs a view lists."""

    ids: Container[int] | None = None
    """None = all."""
    states: Collection[str] = ()
    """None given = all."""
    waiting: int | None = None
    """Of those that wait (or are held), the first so many each; None = all."""

    def of(self, workload: Workload) -> tuple[list[Job], int]:
        """The jobs, and how many that wait are left out."""
        found: list[Job] = []
        waiting: Counter[JobState] = Counter()
        for job in workload.jobs.values():
            if (self.ids is not None and job.id not in self.ids) or (self.states and job.state not in self.states):
                continue
            if job.state in (JobState.QUEUED, JobState.HELD):
                waiting[job.state] += 1
                if self.waiting is not None and waiting[job.state] > self.waiting:
                    continue
            found.append(job)
        most = sum(waiting.values()) if self.waiting is None else self.waiting
        return found, sum(max(number - most, 0) for number in waiting.values())


EVERYTHING = Shown()


def build(
    *,
    paths: WorkspacePaths,
    task_name: str,
    workload: Workload,
    last_attempts: Mapping[int, Attempt],
    live: Live | None,
    holder: LockHolder | None,
    now: datetime,
    watched: Watched | None = None,
    plan: Callable[[], Plan | None] = lambda: None,
    shown: Shown = EVERYTHING,
    asked: Callable[[list[int]], Mapping[int, Reason] | None] = lambda _ids: None,
    accounting: Accounting | None = None,
    projects: Sequence[AccountView] = (),
    foreseen: Foreseen | None = None,
    totals: Callable[[Known], list[PlannedGroup]] = lambda _known: [],
) -> StatusView:
    """The view; `plan` = the policy that decides what starts next, None = the queue's own order.

    `last_attempts` = the latest attempt of each job that has one, `watched` = what the sampler measured last, `asked` =
    the running scheduler's own words of why some jobs wait, None = there are none; `accounting` = caps and budgets of
    projects and users, `projects` = how they stand.
    """
    usages = usages_of(watched)
    room = seen_room(workload, live, running=holder is not None, now=now)
    if accounting is not None:
        room.accounts = accounting.accounts(now)
    listed, not_listed = shown.of(workload)
    waiting = [job.id for job in listed if job.state is JobState.QUEUED]
    few = len(waiting) < workload.queue_length
    reasons = asked(waiting) if few and room.halted is None and workload.queue_length >= MANY else None
    if reasons is None:
        choice = Choice(workload)
        found = None if room.halted is not None else plan()  # nothing starts: who would be next says nothing
        if found is not None:
            claims = None if accounting is None else accounting.claims
            planner = found.planner(workload, live, now, claims=claims)
            if accounting is not None:
                planner.index.usage.set_others(accounting.others_used, now.timestamp())
            choice.use(planner)
        reasons = choice.explain(room, now, only=waiting if few else None)
    known = by_key(foreseen)
    jobs = [
        job_view(
            job,
            last_attempts.get(job.id),
            reasons.get(job.id),
            now,
            room.halted,
            usages,
            known,
            _room_for(last_attempts.get(job.id), workload),
        )
        for job in listed
    ]
    return StatusView(
        at=now,
        workspace=paths.root,
        task_name=task_name,
        counts=counts(workload.jobs.values()),
        jobs=jobs,
        not_listed=not_listed,
        gpus=gpu_views(workload, live, watched),
        scheduler=scheduler_view(live, holder),
        projects=list(projects),
        totals=totals(known) if live is not None and holder is not None else [],
        not_queued=list(live.sources.problems) if live is not None else [],
        not_shown=list(live.sources.unwritten) if live is not None else [],
    )


def _room_for(attempt: Attempt | None, workload: Workload) -> str | None:
    """For whom an attempt ends just now."""
    phase = None if attempt is None else attempt.phase
    if not isinstance(phase, Stopping) or phase.by != PREEMPTED or phase.room_for not in workload.jobs:
        return None
    return workload.jobs[phase.room_for].name


def counts(jobs: Iterable[Job]) -> dict[str, int]:
    """Number of jobs by state; every state is there."""
    found = Counter(str(job.state) for job in jobs)
    return {str(state): found.get(state, 0) for state in JobState}


def seen_room(workload: Workload, live: Live | None, *, running: bool, now: datetime | None = None) -> Capacity:
    """The room as the scheduler last saw it; `now` = None leaves grace periods out."""
    halted = None if running else Reason(code=ReasonCode.NO_SCHEDULER, text="`rfsched start`")
    if live is None:
        return Capacity(views=[], share=1.0, cpu_places=0, halted=halted or Reason(code=ReasonCode.NEXT))
    for gpu in live.gpus:
        if gpu.touched is not None:
            workload.touch(gpu.device.uuid, gpu.touched)
    return capacity(
        workload,
        [gpu.device for gpu in live.gpus],
        share=live.share,
        max_cpu_jobs=live.cpu_places,
        tickets=[ticket for gpu in live.gpus for ticket in gpu.tickets],
        blocked={gpu.device.uuid: gpu.blocked for gpu in live.gpus if gpu.blocked is not None},
        halted=halted or live.halt,
        rules=live.rules,
        seen=Seen(
            loads={gpu.device.uuid: gpu.load for gpu in live.gpus if gpu.load is not None},
            readings={gpu.device.uuid: gpu.reading for gpu in live.gpus if gpu.reading is not None},
            ram=live.ram,
        ),
        links=Links([gpu.device for gpu in live.gpus]),
        now=now,
    )


def job_view(
    job: Job,
    attempt: Attempt | None,
    waiting: Reason | None,
    now: datetime,
    halt: Reason | None = None,
    usages: Mapping[AttemptKey, Usage] = MappingProxyType({}),
    known: Known = MappingProxyType({}),
    room_for: str | None = None,
) -> JobView:
    """One job; `waiting` = why it is not running, if it is queued, `halt` = why nothing is launched, if that is so."""
    reason = waiting or job.reason
    phase = attempt.phase if attempt is not None else None
    if job.state is JobState.ACTIVE and isinstance(phase, Planned | Launching):
        reason = halt
    until = None if reason is None else reason.until
    if room_for is not None and isinstance(phase, Stopping):
        until = phase.kill_at - timedelta(seconds=KILL_SLACK_S)
    started = job.started_at
    running = job.state is JobState.ACTIVE and attempt is not None
    eta = eta_of(attempt, known.get(attempt.key), now) if running and attempt is not None else NO_ETA
    elapsed = None if started is None else ((job.ended_at or now) - started).total_seconds()
    return JobView(
        id=job.id,
        name=job.name,
        state=str(job.state),
        reason=None if reason is None else str(reason),
        reason_code=None if reason is None else str(reason.code),
        until=until,
        gpus=list(attempt.allocation.indices) if attempt is not None else [],
        gpus_wanted=job.spec.request.gpus,
        session=attempt.session if attempt is not None else None,
        attempt=job.attempts,
        headless=isinstance(phase, Running) and phase.headless,
        queued_at=job.queued_at,
        started_at=started,
        ended_at=job.ended_at,
        elapsed_s=elapsed,
        exit_code=job.exit_code,
        priority=job.spec.priority,
        project=job.spec.project,
        deadline=job.spec.deadline,
        group=job.spec.group,
        retries_used=job.retries_used,
        log=attempt.log if attempt is not None else None,
        source=job.spec.source,
        key=job.spec.key,
        labels=job.spec.labels,
        array_index=job.spec.array_index,
        resumed_step=attempt.resumed_step if attempt is not None else None,
        lost_s=attempt.lost_s if attempt is not None else None,
        ooms=job.ooms,
        gpu_memory_mib=job.needs.gpu_memory_mib,
        share=job.needs.share,
        hardware=hardware_view(job.needs.hardware),
        gpu_losses=job.gpu_losses,
        preemptible=job.spec.preemptible,
        preemptions=job.preemptions,
        preempted_gpu_s=job.preempted_gpu_s,
        room_for=room_for,
        usage=usage_view(attempt, usages.get(attempt.key)) if attempt is not None else None,
        eta_at=eta.at,
        eta_low_at=eta.low_at,
        eta_high_at=eta.high_at,
        progress_pct=eta.progress_pct,
    )


def hardware_view(asked: Hardware) -> HardwareView | None:
    """What kind of GPU is needed; None = any."""
    if asked == NO_HARDWARE:
        return None
    least = asked.min_capability
    return HardwareView(
        words=str(asked),
        gpu_type=list(asked.types) or None,
        min_gpu_memory_mib=asked.min_memory_mib,
        compute_capability=None if least is None else "{}.{}".format(*least),
        topology=asked.topology,
        topology_required=asked.connected,
    )


def gpu_views(workload: Workload, live: Live | None, watched: Watched | None = None) -> list[GpuView]:
    """The GPUs with who is on them; the sampler's readings where they are younger."""
    if live is None:
        return []
    readings = {gpu.device.uuid: gpu.reading for gpu in live.gpus}
    if watched is not None and watched.at > live.at:
        readings |= {gpu.reading.uuid: gpu.reading for gpu in watched.gpus if gpu.reading.uuid in readings}
    slots = {gpu.device.uuid: gpu.slots for gpu in live.gpus}
    room = seen_room(workload, live, running=True)
    found = []
    for view in room.views:
        device, reading = view.device, readings.get(view.device.uuid)
        found.append(
            GpuView(
                index=device.index,
                uuid=device.uuid,
                name=device.name,
                kind=device.kind,
                slots=slots[device.uuid],
                jobs=view.jobs,
                others=view.other_holders,
                blocked=None if view.blocked is None else str(view.blocked),
                state=state_of(view.blocked, busy=bool(view.jobs)),
                used_mib=reading.used_mib if reading else None,
                total_mib=reading.total_mib if reading else None,
                util_pct=reading.util_pct if reading else None,
                temperature_c=reading.temperature_c if reading else None,
                power_w=reading.power_w if reading else None,
            )
        )
    return found


def scheduler_view(live: Live | None, holder: LockHolder | None) -> SchedulerView:
    """The scheduler, from its lock (the truth) and its last words."""
    if holder is None:
        return SchedulerView(running=False)
    return SchedulerView(
        running=True,
        pid=holder.pid,
        host=holder.host,
        session=live.session if live else holder.session,
        started_at=holder.started_at,
        seen_at=live.at if live else None,
        note=live.note if live else None,
        halted=str(live.halt) if live and live.halt else None,
        policy_trouble=live.policy_trouble if live else None,
    )
