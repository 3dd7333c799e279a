"""`set`: what people change of jobs by hand, and how long that holds against the files jobs come from. Pure.

What was set by hand wins until the file says something else than it said then: who changes the value in the file means
the new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from researchflow_tmux.domain.events import JobRespecified, Notice
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.setting import Setting
from researchflow_tmux.engine.oddities import oddities
from researchflow_tmux.engine.workload import Book

_FIXED_AT_START = {
    "project": "what it uses is counted for {}",
    "time_limit_s": "its runner keeps the limit it was started with",
}
"""What cannot be changed while a job runs, and why."""


def set_by_hand(book: Book, job_ids: Iterable[int], wanted: Setting, by: str) -> dict[str, list[str]]:
    """Give jobs these values. A job of which one value cannot be changed now is left alone, and named with the reason.

    Those that have ended have the new values when they are queued again; whose it was cannot be changed.
    """
    done: dict[str, list[str]] = {"changed": [], "unchanged": [], "refused": []}
    changed: list[int] = []
    for job_id in job_ids:
        job = book.workload.jobs.get(job_id)
        if job is None:
            continue
        new = {name: value for name, value in wanted.given().items() if value != value_of(job.spec, name)}
        refusal = _refusal(job, new)
        if refusal:
            done["refused"].append(f"{job.name} {refusal}")
        elif not new:
            done["unchanged"].append(job.name)
        else:
            _change(book, job, new, by)
            done["changed"].append(job.name)
            changed.append(job_id)
    jobs = book.workload.jobs
    for note in oddities((jobs[job_id] for job_id in changed), jobs, book.now):
        book.apply(Notice(text=note, level="warning"))
    return done


def respecified(job: Job, spec: JobSpec) -> Job:
    """The job as its source says now, with what was set by hand where the source says the same as it said then."""
    said = {name: value for name, value in job.source_said.given().items() if value_of(spec, name) == value}
    by_hand = {name: value_of(job.spec, name) for name in said}
    return replace(job, spec=with_values(spec, by_hand), source_said=Setting(**said))


def what_was_set(job: Job) -> str:
    """The values that hold because somebody set them, with what the job's file says; empty = there are none."""
    said = job.source_said.given().items()
    whose = "its config says " if job.spec.source == "config" else "queued with "
    words = [f"{_word(name)} {_shown(value_of(job.spec, name))} ({whose}{_shown(value)})" for name, value in said]
    return ", ".join(words)


def _refusal(job: Job, new: dict[str, Any]) -> str:
    if job.state is JobState.ACTIVE:
        for name, why in _FIXED_AT_START.items():
            if name in new:
                whose = f"project {job.spec.project}" if job.spec.project else "no project"
                return f"runs: its {_word(name)} cannot be changed now ({why.format(whose)})"
    if job.state.ended and "project" in new:
        return "has ended: what it used was counted (queue it again first: `rfsched requeue`)"
    return ""


def _change(book: Book, job: Job, new: dict[str, Any], by: str) -> None:
    said = job.source_said.given()
    old = {name: value_of(job.spec, name) for name in new}
    said |= {name: value for name, value in old.items() if name not in said}
    said = {name: value for name, value in said.items() if name not in new or new[name] != value}
    changed = replace(job, spec=with_values(job.spec, new), source_said=Setting(**said))
    words = ", ".join(f"{_word(name)} {_shown(old[name])} → {_shown(value)}" for name, value in new.items())
    book.apply(JobRespecified(job_id=job.id, job=changed, why=f"{words} (set by {by})"))


def _word(name: str) -> str:
    return name.removesuffix("_s").replace("_", " ")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    return _span(value) if isinstance(value, float) else str(value)


def _span(seconds: float) -> str:
    """`90 s`, `90 min`, `12 h`: in the largest unit that leaves no fraction."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def value_of(spec: JobSpec, name: str) -> Any:
    """The value of a job that a Setting calls so."""
    return spec.request.time_limit_s if name == "time_limit_s" else getattr(spec, name)


def with_values(spec: JobSpec, values: dict[str, Any]) -> JobSpec:
    """The specification with these values, by the names of a Setting, instead of its own."""
    rest = dict(values)
    if "time_limit_s" in rest:
        rest["request"] = replace(spec.request, time_limit_s=rest.pop("time_limit_s"))
    return replace(spec, **rest) if rest else spec
