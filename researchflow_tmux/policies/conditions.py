"""Whether the jobs that a job needs let it start. Pure; asked by the scheduler, `why` and the simulator alike."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode


class Standing(Enum):
    """How a job's condition stands."""

    MET = "met"
    OPEN = "open"
    """What it needs has not ended yet."""
    NEVER = "never"
    """As things are, it will not be met: only requeueing what it needs can change that."""


MOST_NAMES = 4
"""Jobs that one reason names."""

Jobs = Mapping[int, Job]


def standing(jobs: Jobs, spec: JobSpec) -> Standing:
    """Whether a job with `spec` may start.

    `success`: all that it needs have succeeded; one that ended otherwise decides at once. `failure`: all have ended
    and one of them failed. `always`: all have ended. A job that was cleaned away counts as one that succeeded.
    """
    if not spec.after:
        return Standing.MET
    if not blocking(jobs, spec):
        return Standing.MET
    needs = _needs(jobs, spec)
    if spec.when == "success":
        return Standing.NEVER if any(_ended_badly(need) for need in needs) else Standing.OPEN
    return Standing.NEVER if all(need.state.ended for need in needs) else Standing.OPEN


def blocking(jobs: Jobs, spec: JobSpec) -> list[Job]:
    """Those of its needs that keep a job with `spec` from starting."""
    needs = _needs(jobs, spec)
    if spec.when == "success":
        return [need for need in needs if need.state is not JobState.SUCCEEDED]
    unfinished = [need for need in needs if not need.state.ended]
    if unfinished or spec.when == "always":
        return unfinished
    return [] if any(failed(jobs, need) for need in needs) else needs


def failed(jobs: Jobs, job: Job) -> bool:
    """Whether a job failed, or was skipped because one above it failed. What was cancelled did not fail."""
    looked_at: set[int] = set()
    ahead = [job]
    while ahead:
        one = ahead.pop()
        if one.state is JobState.FAILED:
            return True
        if one.state is JobState.SKIPPED and one.id not in looked_at:
            looked_at.add(one.id)
            ahead += _needs(jobs, one.spec)
    return False


def why_waiting(blockers: list[Job], spec: JobSpec) -> Reason:
    """The reason of a job that these keep from starting."""
    names = _told(blockers)
    if spec.when == "failure" and all(need.state.ended for need in blockers):
        names = f"one of these to fail: {names}"
    return Reason(code=ReasonCode.DEPENDENCY, text=names)


def why_skipped(jobs: Jobs, spec: JobSpec) -> Reason:
    """The reason of a job whose condition will not be met."""
    if spec.when == "failure":
        return Reason(code=ReasonCode.NOT_NEEDED, text=_told(_needs(jobs, spec)))
    lost = next(need for need in _needs(jobs, spec) if _ended_badly(need))
    return Reason(code=ReasonCode.UPSTREAM, text=f"{lost.name} ({lost.state})")


def _told(needs: list[Job]) -> str:
    names = [f"{need.name} ({need.state})" for need in needs[:MOST_NAMES]]
    more = len(needs) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _needs(jobs: Jobs, spec: JobSpec) -> list[Job]:
    return [need for job_id in spec.after if (need := jobs.get(job_id)) is not None]


def _ended_badly(need: Job) -> bool:
    return need.state.ended and need.state is not JobState.SUCCEEDED
