"""Everything there is to say about one job: where it stands and why, what it waits for, how its attempts went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from researchflow_tmux.api.limiting import limits_of
from researchflow_tmux.api.logs import last_line
from researchflow_tmux.api.plan import planned
from researchflow_tmux.api.plan_views import PlannedJob
from researchflow_tmux.api.usage import usage_view
from researchflow_tmux.api.views import GpuView, JobView, StatusView, UsageView
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Attempt, Ended, Planned, Running, Stopping
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.units import counted
from researchflow_tmux.engine.setting import what_was_set
from researchflow_tmux.policies.retry import why as outcome_words
from researchflow_tmux.records.values import typed_command

WHY_TRIES = 20
"""Durations are drawn so often for the interval: somebody waits for the answer."""
WAITS_FOR_GPUS = frozenset(
    {
        "capacity",
        "cpu_capacity",
        "leased",
        "foreign",
        "reserved",
        "unreadable",
        "drained",
        "gpu_lost",
        "threshold",
        "grace",
        "hw_none_free",
    }
)
"""Reasons that have to do with who is on the GPUs."""


_FREE = "nothing to do: it starts as soon as the GPU is free"
ADVICE = {
    "foreign": _FREE,
    "leased": _FREE,
    "drained": "see `rfsched gpus`; `rfsched gpus enable GPU` takes one back",
    "gpu_lost": "see `rfsched gpus`; `rfsched gpus enable GPU` takes one back",
    "threshold": "nothing to do: it starts as soon as a GPU has room; see `rfsched gpus`",
    "grace": "nothing to do: it starts when the GPU has settled; `grace_period` says for how long that takes",
    "hw_none_free": "nothing to do: it starts when such a GPU is free; `rfsched gpus` shows who has them",
    "ram": "nothing to do: it starts when memory is free again; `max_ram` and `kill_ram` are the limits",
    "array_limit": "nothing to do: it starts when another job of its array ends; %N in its --array is how many may run",
    "refused": "nothing to do: your policy lets it start when it sees fit; `policy` in scheduler_config.yml names it",
    "cap": "nothing to do: it starts when another job ends; what is named in brackets is the limit",
    "budget": "nothing to do: it starts when there is budget again; `rfsched project set NAME gpu_hours=N` gives more",
}
"""What to do about a job that waits, by the code of its reason."""


class AttemptLine(msgspec.Struct, kw_only=True):
    """One attempt."""

    number: int
    phase: str
    outcome: str | None
    gpus: list[int]
    session: str
    started_at: datetime | None
    ended_at: datetime | None
    note: str
    log: str | None
    resumed_step: int | None = None
    """The step of the checkpoint it was given to go on from; null = it was given none."""
    lost_s: float | None = None
    """Seconds of the attempt before that the checkpoint does not have."""
    usage: UsageView | None = None
    """What it used at most; null = it still runs (see `job`), or was never measured."""


class Upstream(msgspec.Struct, kw_only=True):
    """A job it needs, and what that one waits for."""

    id: int
    name: str
    state: str
    after: list[Upstream]


class Why(msgspec.Struct, kw_only=True):
    """The whole answer."""

    job: JobView
    command: str
    attempts: list[AttemptLine]
    after: list[Upstream]
    before: list[str]
    """Names of the jobs that wait for it."""
    gpus: list[GpuView]
    """Who holds the slots, while it waits for one."""
    last_line: str | None
    advice: list[str]
    limits: list[str] = msgspec.field(default_factory=list)
    """What it may use of the machine, and who holds it to that."""
    plan: PlannedJob | None = None
    """When it is likely to start and to end; null = it does neither, or no scheduler runs."""


def why(workspace: Workspace, pattern: str) -> Why:
    """Explain one job. Raises UsageError when it is none or several."""
    job = workspace.job(pattern)
    view = workspace.status()
    with workspace.reader() as reader:
        attempts = reader.attempts_of(job.id)
        jobs = {each.id: each for each in reader.all_jobs()}
    job = jobs.get(job.id, job)
    shown = next(each for each in view.jobs if each.id == job.id)
    waits = shown.reason_code in WAITS_FOR_GPUS
    ended_badly = job.state is JobState.FAILED and attempts
    return Why(
        job=shown,
        command=typed_command(job.spec),
        attempts=[_attempt(attempt) for attempt in attempts],
        after=_upstream(job, jobs, set()),
        before=[each.name for each in jobs.values() if job.id in each.spec.after and not each.state.ended],
        gpus=view.gpus if waits else [],
        last_line=last_line(attempts[-1].log) if ended_badly else None,
        advice=list(_advice(job, shown, view)),
        limits=[*_set_by_hand(job), *limits_of(job, attempts[-1] if attempts else None)],
        plan=planned(workspace, job, tries=WHY_TRIES) if view.scheduler.running else None,
    )


def _set_by_hand(job: Job) -> list[str]:
    words = what_was_set(job)
    return [f"set by hand: {words}"] if words else []


def _attempt(attempt: Attempt) -> AttemptLine:
    phase = attempt.phase
    ended = phase if isinstance(phase, Ended) else None
    return AttemptLine(
        number=attempt.number,
        phase=str(phase.__struct_config__.tag),
        outcome=None if ended is None else str(outcome_words(ended.outcome)),
        gpus=list(attempt.allocation.indices),
        session=attempt.session,
        started_at=phase.started_at if isinstance(phase, Running | Stopping | Ended) else None,
        ended_at=None if ended is None else ended.ended_at,
        note="" if ended is None else ended.note,
        log=None if isinstance(phase, Planned) else attempt.log,
        resumed_step=attempt.resumed_step,
        lost_s=attempt.lost_s,
        usage=usage_view(attempt, None),
    )


def _upstream(job: Job, jobs: Mapping[int, Job], seen: set[int]) -> list[Upstream]:
    found = []
    for job_id in job.spec.after:
        need = jobs.get(job_id)
        if need is not None and job_id not in seen:
            seen.add(job_id)
            found.append(Upstream(id=need.id, name=need.name, state=str(need.state), after=_upstream(need, jobs, seen)))
    return found


def _advice(job: Job, shown: JobView, view: StatusView) -> Iterator[str]:
    """Commands that lead on from here."""
    name = str(job.id) if sum(each.name == job.name for each in view.jobs) > 1 else job.name
    match job.state:
        case JobState.HELD if shown.reason_code == "budget":
            yield "nothing to do: it goes on when there is budget again"
            yield "`rfsched project set NAME gpu_hours=N` gives more"
            yield f"`rfsched hold {name}` keeps it from going on by itself"
        case JobState.HELD:
            yield f"`rfsched release {name}` lets it start"
        case JobState.QUEUED:
            yield from _advice_waiting(job, shown, view, name)
        case JobState.ACTIVE:
            look = f"`rfsched logs -f {name}`" if shown.headless else f"`rfsched attach {name}` (leave with Ctrl-b d)"
            yield f"look at it: {look}"
            yield f"stop it: `rfsched cancel {name}`"
        case JobState.SUCCEEDED:
            yield f"run it once more: `rfsched requeue {name}`"
        case JobState.SKIPPED:
            yield from _advice_skipped(job)
        case JobState.FAILED | JobState.CANCELLED:
            if job.attempts:
                yield f"see what it said: `rfsched logs {name}`"
            yield f"try again: `rfsched requeue {name}`"


def _advice_skipped(job: Job) -> Iterator[str]:
    if job.not_needed:
        yield "nothing to do: it is for the case that something it waits for fails"
    else:
        needs = counted(len(job.spec.after), "job")
        yield f"requeue what it needs ({needs}, see above): this one then comes back by itself"


def _advice_waiting(job: Job, shown: JobView, view: StatusView, name: str) -> Iterator[str]:
    if not view.scheduler.running:
        yield "`rfsched start` starts the scheduler"
    elif shown.reason_code == "backoff":
        yield f"try now instead: `rfsched requeue {name}`"
    elif shown.reason_code == "impossible":
        yield f"it waits in case the machine or its limits change; else `rfsched cancel {name}`, then ask for less"
    elif shown.reason_code in ADVICE:
        yield ADVICE[shown.reason_code]
    elif shown.reason_code == "capacity" and job.spec.priority == 0:
        yield "nothing to do: it starts when a slot is free; `--priority N` puts a job first"
