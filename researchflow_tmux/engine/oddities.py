"""What is contradictory about jobs and no reason to refuse them: told once, when they are submitted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.units import counted

SHOWN = 3


def oddities(jobs: Iterable[Job], known: Mapping[int, Job], now: datetime) -> list[str]:
    """One sentence for each kind of contradiction, however many jobs have it.

    `known` = all jobs by id, for those that they need.
    """
    found: dict[str, list[str]] = {}
    for job in jobs:
        if not job.state.ended:
            for kind, fact in _of(job, known, now):
                found.setdefault(kind, []).append(fact)
    return [f"{_several(facts)}: {kind}" for kind, facts in found.items()]


def _of(job: Job, known: Mapping[int, Job], now: datetime) -> Iterator[tuple[str, str]]:
    spec = job.spec
    due = spec.deadline
    if due is not None and due <= now:
        yield "the deadline is past, and the job runs all the same when its turn comes", f"{job.name} (due {_at(due)})"
    needs = [need for need in map(known.get, spec.after) if need is not None and not need.state.ended]
    lower = min(needs, key=lambda need: need.spec.priority, default=None)
    if lower is not None and lower.spec.priority < spec.priority:
        fact = f"{job.name} (priority {spec.priority}) needs {lower.name} (priority {lower.spec.priority})"
        yield "by the order `queue` what is needed waits its own turn; a policy gives it the higher priority", fact
    later = [need for need in needs if due is not None and need.spec.deadline is not None and need.spec.deadline > due]
    if later and due is not None:
        need = later[0]
        assert need.spec.deadline is not None
        fact = f"{job.name} (due {_at(due)}) needs {need.name} (due {_at(need.spec.deadline)})"
        yield "what is needed counts as due before what needs it", fact


def _several(facts: list[str]) -> str:
    more = f" and {counted(len(facts) - SHOWN, 'more job', 'more jobs')}" if len(facts) > SHOWN else ""
    return f"{', '.join(facts[:SHOWN])}{more}"


def _at(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
