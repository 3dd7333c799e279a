"""What people ask for, turned into events. Pure: the CLI and the scheduler apply requests through the same functions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Planned, Running, Stopping
from researchflow_tmux.domain.events import AttemptStopping, JobChanged, JobRespecified, JobSubmitted, Notice, Payload
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.workload import Workload


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job to submit, with what only the submitter can know."""

    spec: JobSpec
    marker_found: bool = False
    """Its completion marker was there at submission."""
    after_names: tuple[str, ...] = ()
    """Jobs it waits for, by name; may name drafts of the same submission."""
    held: bool = False


class Submission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Jobs submitted together. `named`: the user named each one; `rerun`: run even what is done."""

    drafts: tuple[Draft, ...]
    named: bool = False
    rerun: bool = False
    by: str = "user"


class Submitted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of a submission: names by result, and the ids of all its jobs in order."""

    ids: list[int] = msgspec.field(default_factory=list)
    queued: list[str] = msgspec.field(default_factory=list)
    done_before: list[str] = msgspec.field(default_factory=list)
    under_way: list[str] = msgspec.field(default_factory=list)
    """Already queued, held or running."""
    left_failed: list[str] = msgspec.field(default_factory=list)
    left_cancelled: list[str] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)


class Book:
    """Collects events while applying them, so that each request sees what the one before it did."""

    def __init__(self, workload: Workload, now: datetime) -> None:
        self.workload = workload
        self.now = now

    def apply(self, payload: Payload) -> None:
        """Apply one event now."""
        self.workload.apply(payload, self.now)

    def change(self, job: Job, state: JobState, code: ReasonCode, text: str = "", *, by: str = "user") -> None:
        """Change one job's state by hand; retries and backoff start afresh."""
        reason = Reason(code=code, text=text)
        self.apply(JobChanged(job_id=job.id, state=state, reason=reason, by=by, retries_used=0, launch_failures=0))


# -- submit ------------------------------------------------------------------------------------------------------------


def submit(book: Book, submission: Submission) -> Submitted:
    """Queue what is new, skip what is done, leave failed and cancelled jobs alone unless they were named."""
    result = Submitted()
    problems = _dependency_problems(book.workload, submission)
    if problems:
        result.problems = problems
        return result
    ids_by_name: dict[str, int] = {}
    for draft in in_dependency_order(submission.drafts):
        spec = replace(draft.spec, after=draft.spec.after + _resolve(book.workload, draft, ids_by_name))
        job = book.workload.find(spec.source, spec.key)
        job = _new(book, draft, spec) if job is None else _again(book, draft, spec, job)
        ids_by_name[spec.name] = job.id
        result.ids.append(job.id)
        _settle(book, submission, draft, job, result)
    return result


def _new(book: Book, draft: Draft, spec: JobSpec) -> Job:
    workload = book.workload
    job = Job(
        id=workload.next_job_id,
        spec=spec,
        slug=workload.unique_slug(spec),
        state=JobState.HELD if draft.held else JobState.QUEUED,
        queued_at=book.now,
        reason=Reason(code=ReasonCode.HELD) if draft.held else None,
    )
    book.apply(JobSubmitted(job=job))
    return job


def _again(book: Book, draft: Draft, spec: JobSpec, job: Job) -> Job:
    """A job that is known: its specification is the new one, except while it runs."""
    if job.state is not JobState.ACTIVE and job.spec != spec:
        book.apply(JobRespecified(job_id=job.id, job=replace(job, spec=spec)))
    return book.workload.jobs[job.id]


def _settle(book: Book, submission: Submission, draft: Draft, job: Job, result: Submitted) -> None:
    name, state = job.name, job.state
    done = draft.marker_found or state is JobState.SUCCEEDED
    if state is JobState.ACTIVE:
        result.under_way.append(name)
    elif done and not submission.rerun:
        if state is not JobState.SUCCEEDED:
            _mark_done(book, job)
        result.done_before.append(name)
    elif not state.ended:
        fresh = job.queued_at == book.now and job.attempts == 0
        (result.queued if fresh else result.under_way).append(name)
    elif submission.named or submission.rerun:
        requeue_one(book, job, submission.by)
        result.queued.append(name)
    else:
        (result.left_cancelled if state is JobState.CANCELLED else result.left_failed).append(name)


def _mark_done(book: Book, job: Job) -> None:
    if job.state.ended or job.state is JobState.HELD:
        book.change(job, JobState.QUEUED, ReasonCode.REQUEUED)
    book.change(book.workload.jobs[job.id], JobState.SUCCEEDED, ReasonCode.DONE_BEFORE, job.spec.marker or "")


def _resolve(workload: Workload, draft: Draft, ids_by_name: dict[str, int]) -> tuple[int, ...]:
    return tuple(ids_by_name.get(name) or _by_name(workload, name) or 0 for name in draft.after_names)


def _by_name(workload: Workload, name: str) -> int | None:
    return max((job.id for job in workload.jobs.values() if name in (job.name, str(job.id))), default=None)


def _dependency_problems(workload: Workload, submission: Submission) -> list[str]:
    names = {draft.spec.name for draft in submission.drafts}
    problems = [
        f"{draft.spec.name}: waits for {name!r}, and there is no job of that name"
        for draft in submission.drafts
        for name in draft.after_names
        if name not in names and _by_name(workload, name) is None
    ]
    try:
        in_dependency_order(submission.drafts)
    except CycleFound as cycle:
        problems.append(str(cycle))
    return problems


class CycleFound(Exception):  # noqa: N818 - it reads as the fact it states
    """Jobs wait for each other in a circle."""


def in_dependency_order(drafts: Iterable[Draft]) -> list[Draft]:
    """The drafts, each after those it names; otherwise in the given order. Raises CycleFound naming the circle."""
    from graphlib import CycleError, TopologicalSorter

    by_name = {draft.spec.name: draft for draft in drafts}
    if not any(draft.after_names for draft in by_name.values()):
        return list(drafts)
    graph = {name: [n for n in draft.after_names if n in by_name] for name, draft in by_name.items()}
    try:
        order = {name: place for place, name in enumerate(TopologicalSorter(graph).static_order())}
    except CycleError as error:
        raise CycleFound("jobs wait for each other in a circle: " + " → ".join(reversed(error.args[1]))) from None
    return sorted(drafts, key=lambda draft: order[draft.spec.name])


# -- by hand -----------------------------------------------------------------------------------------------------------


def cancel(book: Book, job_ids: Iterable[int], by: str, grace_s: float) -> dict[str, list[str]]:
    """Cancel waiting jobs at once and stop running ones; what waits for them is skipped."""
    done: dict[str, list[str]] = {"cancelled": [], "stopping": [], "ended": []}
    for job in _existing(book, job_ids):
        if job.state in (JobState.QUEUED, JobState.HELD):
            book.change(job, JobState.CANCELLED, ReasonCode.CANCELLED, "by hand", by=by)
            skip_dependents(book, job.id)
            done["cancelled"].append(job.name)
        elif job.state is JobState.ACTIVE:
            stop_attempt(book, job, by=by, grace_s=grace_s)
            done["stopping"].append(job.name)
        else:
            done["ended"].append(job.name)
    return done


def stop_attempt(book: Book, job: Job, *, by: str, grace_s: float, requeue: bool = False) -> None:
    """Tell the live attempt of a running job to end (once; asking again only shortens nothing)."""
    attempt = book.workload.live_attempt(job.id)
    if attempt is None or isinstance(attempt.phase, Stopping):
        return
    phase = attempt.phase
    kill_at = book.now + timedelta(seconds=grace_s + 40.0)  # the runner's own KILL and its bounded reaping come first
    stopping = Stopping(
        by=by,
        since=book.now,
        kill_at=kill_at,
        runner_pid=None if isinstance(phase, Planned) else getattr(phase, "runner_pid", None),
        started_at=phase.started_at if isinstance(phase, Running) else None,
        requeue=requeue,
    )
    book.apply(AttemptStopping(job_id=job.id, number=attempt.number, stopping=stopping))


def requeue(book: Book, job_ids: Iterable[int], by: str, grace_s: float) -> dict[str, list[str]]:
    """Queue ended jobs again; stop running ones and queue them when they have ended. Skipped dependents revive."""
    done: dict[str, list[str]] = {"queued": [], "stopping": [], "waiting": []}
    for job in _existing(book, job_ids):
        if job.state.ended:
            requeue_one(book, job, by)
            done["queued"].append(job.name)
        elif job.state is JobState.ACTIVE:
            stop_attempt(book, job, by=by, grace_s=grace_s, requeue=True)
            done["stopping"].append(job.name)
        else:
            if job.not_before is not None:  # by hand means now: the backoff is over
                book.apply(JobRespecified(job_id=job.id, job=replace(job, not_before=None, reason=None)))
            done["waiting"].append(job.name)
    return done


def requeue_one(book: Book, job: Job, by: str) -> None:
    """Queue one ended job again, and with it what was skipped because of it."""
    book.change(job, JobState.QUEUED, ReasonCode.REQUEUED, by=by)
    for child in sorted(book.workload.dependents.get(job.id, ())):
        if book.workload.jobs[child].state is JobState.SKIPPED:
            requeue_one(book, book.workload.jobs[child], by)


def hold(book: Book, job_ids: Iterable[int], by: str) -> dict[str, list[str]]:
    """Keep waiting jobs from starting. Running and ended ones are left alone and named."""
    done: dict[str, list[str]] = {"held": [], "untouched": []}
    for job in _existing(book, job_ids):
        if job.state is JobState.QUEUED:
            book.change(job, JobState.HELD, ReasonCode.HELD, f"by {by}", by=by)
        done["held" if book.workload.jobs[job.id].state is JobState.HELD else "untouched"].append(job.name)
    return done


def release(book: Book, job_ids: Iterable[int], by: str) -> dict[str, list[str]]:
    """Let held jobs start again, at the place they had."""
    done: dict[str, list[str]] = {"queued": [], "untouched": []}
    for job in _existing(book, job_ids):
        if job.state is JobState.HELD:
            book.change(job, JobState.QUEUED, ReasonCode.REQUEUED, "released", by=by)
            done["queued"].append(job.name)
        else:
            done["untouched"].append(job.name)
    return done


def skip_dependents(book: Book, job_id: int) -> None:
    """A job did not succeed: what waits for it cannot run."""
    upstream = book.workload.jobs[job_id]
    for child_id in sorted(book.workload.dependents.get(job_id, ())):
        child = book.workload.jobs[child_id]
        if child.state in (JobState.QUEUED, JobState.HELD):
            book.change(child, JobState.SKIPPED, ReasonCode.UPSTREAM, f"{upstream.name} ({upstream.state})")
            skip_dependents(book, child_id)


def _existing(book: Book, job_ids: Iterable[int]) -> list[Job]:
    return [book.workload.jobs[job_id] for job_id in job_ids if job_id in book.workload.jobs]


# -- the inbox ---------------------------------------------------------------------------------------------------------


def handle(book: Book, kind: str, body: dict[str, Any], by: str, grace_s: float) -> dict[str, Any]:
    """Answer one request of the inbox. An unknown kind is answered with an error, never raised."""
    ids = body.get("ids", [])
    match kind:
        case "submit":
            return msgspec.to_builtins(submit(book, msgspec.convert(body, Submission)))  # type: ignore[no-any-return]
        case "cancel":
            return cancel(book, ids, body.get("by", "user"), grace_s)
        case "requeue":
            return requeue(book, ids, by, grace_s)
        case "hold":
            return hold(book, ids, by)
        case "release":
            return release(book, ids, by)
        case "note":
            book.apply(Notice(text=str(body.get("text", "")), level=str(body.get("level", "info"))))
            return {}
        case _:
            return {
                "error": f"this scheduler does not know the request {kind!r}: it is older than the command; restart it"
            }
