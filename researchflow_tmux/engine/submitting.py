"""Submitting jobs: queue what is new, skip what is done, leave failed ones alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.events import JobRespecified, JobSubmitted, Notice
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.by_hand import requeue_one, settle_dependents, skip_if_hopeless
from researchflow_tmux.engine.oddities import oddities
from researchflow_tmux.engine.setting import respecified
from researchflow_tmux.engine.workload import Book, Workload


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job to submit, with what only the submitter can know."""

    spec: JobSpec
    marker_found: bool = False
    """Its completion marker was there at submission."""
    marker_at: datetime | None = None
    """When that marker was last written."""
    looked_at: datetime | None = None
    """When the submitter looked for it: what ended later, that look says nothing about."""
    after_names: tuple[str, ...] = ()
    """Jobs it waits for, by name; may name drafts of the same submission."""
    line: int | None = None
    """Where it stands in its file, 1-based; for words."""
    held: bool = False
    again: bool = False
    """Queue it again if it has ended, however it did."""


class Submission(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Jobs submitted together. `named`: the user named each one; `rerun`: run even what is done."""

    drafts: tuple[Draft, ...]
    named: bool = False
    rerun: bool = False
    by: str = "user"


class Submitted(msgspec.Struct, kw_only=True):
    """What became of a submission: names by result, and the ids of all its jobs in order."""

    ids: list[int] = msgspec.field(default_factory=list)
    queued: list[str] = msgspec.field(default_factory=list)
    done_before: list[str] = msgspec.field(default_factory=list)
    unmarked: list[str] = msgspec.field(default_factory=list)
    """Of those done before: their completion marker is not there (any more)."""
    under_way: list[str] = msgspec.field(default_factory=list)
    """Already queued, held or running."""
    skipped: list[str] = msgspec.field(default_factory=list)
    """New, and waiting for a job that did not succeed: requeueing that one revives them."""
    left_failed: list[str] = msgspec.field(default_factory=list)
    left_cancelled: list[str] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)
    """What is contradictory about some of them; they are queued all the same."""


def submit(book: Book, submission: Submission) -> Submitted:
    """Queue what is new, skip what is done, leave failed and cancelled jobs alone unless they were named."""
    result = Submitted()
    names = _Names(book.workload)
    problems = _dependency_problems(book.workload, submission, names)
    if problems:
        result.problems = problems
        return result
    ids_by_name: dict[str, int] = {}
    changed: list[int] = []
    for draft in in_dependency_order(submission.drafts):
        spec = replace(draft.spec, after=draft.spec.after + _resolve(draft, ids_by_name, names))
        before = job = book.workload.find(spec.source, spec.key)
        fresh = job is None
        job = _new(book, draft, spec) if job is None else _again(book, spec, job)
        ids_by_name[spec.name] = job.id
        result.ids.append(job.id)
        _settle(book, submission, draft, job, result)
        if (fresh or draft.again) and skip_if_hopeless(book, book.workload.jobs[job.id]):
            _told_as_skipped(result, job.name)
        if before is None or before.spec != job.spec:
            changed.append(job.id)
    result.notes = oddities((book.workload.jobs[job_id] for job_id in changed), book.workload.jobs, book.now)
    for note in result.notes:
        book.apply(Notice(text=note, level="warning"))
    return result


def _told_as_skipped(result: Submitted, name: str) -> None:
    for names in (result.queued, result.under_way):
        if name in names:
            names.remove(name)
    result.skipped.append(name)


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


def _again(book: Book, spec: JobSpec, job: Job) -> Job:
    """A job that is known: its specification is the new one, except while it runs."""
    if job.state is not JobState.ACTIVE and job.spec != spec:
        changed = respecified(job, spec)
        if changed != job:
            book.apply(JobRespecified(job_id=job.id, job=changed))
    return book.workload.jobs[job.id]


def _settle(book: Book, submission: Submission, draft: Draft, job: Job, result: Submitted) -> None:
    name, state = job.name, job.state
    # Whoever names a job whose marker he deleted wants it run again; in a bare `start` it is only mentioned, so that
    # a cleaned output directory does not run everything twice.
    unmarked = state is JobState.SUCCEEDED and _marker_is_gone(draft, job)
    done = _marker_counts(draft, job) or (state is JobState.SUCCEEDED and not (unmarked and submission.named))
    if state is JobState.ACTIVE:
        result.under_way.append(name)
    elif done and not (submission.rerun or draft.again):
        if state is not JobState.SUCCEEDED:
            _mark_done(book, job, submission.by)
        result.done_before.append(name)
        if unmarked:
            result.unmarked.append(name)
    elif not state.ended:
        fresh = job.queued_at == book.now and job.attempts == 0
        (result.queued if fresh else result.under_way).append(name)
    elif submission.named or submission.rerun or draft.again:
        requeue_one(book, job, submission.by)
        result.queued.append(name)
    else:
        (result.left_cancelled if state is JobState.CANCELLED else result.left_failed).append(name)


def _marker_is_gone(draft: Draft, job: Job) -> bool:
    """Whether a marker that this job left was deleted since, and not merely looked for before the job had ended."""
    seen_later = draft.looked_at is not None and job.ended_at is not None and job.ended_at < draft.looked_at
    return job.spec.marker is not None and not draft.marker_found and seen_later


def _marker_counts(draft: Draft, job: Job) -> bool:
    """A marker says "done", unless the job has failed or was cancelled after it was written: then it is an old one."""
    if not draft.marker_found or job.state not in (JobState.FAILED, JobState.CANCELLED):
        return draft.marker_found
    return draft.marker_at is None or job.ended_at is None or draft.marker_at > job.ended_at


def _mark_done(book: Book, job: Job, by: str) -> None:
    if job.state.ended:
        requeue_one(book, job, by)  # and what was skipped because of it
    elif job.state is JobState.HELD:
        book.change(job, JobState.QUEUED, ReasonCode.REQUEUED)
    book.change(book.workload.jobs[job.id], JobState.SUCCEEDED, ReasonCode.DONE_BEFORE, job.spec.marker or "")
    settle_dependents(book, job.id)


class _Names:
    """Jobs that were there before a submission, by name or by number as a text; the newest of equal ones counts."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._ids: dict[str, int] = {}

    def find(self, name: str) -> int | None:
        """The job's id. All are looked at once: thousands of lines may wait for something."""
        if not self._ids:
            for job in self._workload.jobs.values():
                for key in (job.name, str(job.id)):
                    self._ids[key] = max(job.id, self._ids.get(key, 0))
        return self._ids.get(name)


def _resolve(draft: Draft, ids_by_name: Mapping[str, int], names: _Names) -> tuple[int, ...]:
    return tuple(ids_by_name.get(name) or names.find(name) or 0 for name in draft.after_names)


def _dependency_problems(workload: Workload, submission: Submission, known: _Names) -> list[str]:
    names = {draft.spec.name for draft in submission.drafts}
    problems = [
        f"{draft.spec.name}: waits for {name!r}, and there is no job of that name"
        for draft in submission.drafts
        for name in draft.after_names
        if name not in names and known.find(name) is None
    ]
    problems += [
        f"{draft.spec.name}: `when: {draft.spec.when}` says how the jobs it comes after must end, and there are none"
        for draft in submission.drafts
        if draft.spec.when != "success" and not (draft.after_names or draft.spec.after)
    ]
    problems += [
        f"{draft.spec.name}: waits for job {job_id}, which is not known any more"
        for draft in submission.drafts
        for job_id in draft.spec.after
        if job_id not in workload.jobs
    ]
    if not problems:
        problems += _circles(workload, submission, known)
    return problems


def _circles(workload: Workload, submission: Submission, known: _Names) -> list[str]:
    """Jobs that would wait for each other, those that are there already included."""
    if not any(draft.after_names for draft in submission.drafts):
        return []
    nodes = {draft.spec.name: _node(workload, draft) for draft in submission.drafts}
    graph: dict[int | str, list[int | str]] = {
        job.id: list(job.spec.after) for job in workload.jobs.values() if job.spec.after
    }
    for draft in submission.drafts:
        named = [nodes.get(name) or known.find(name) or 0 for name in draft.after_names]
        graph[_node(workload, draft)] = [*draft.spec.after, *named]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        names = [workload.jobs[node].name if isinstance(node, int) else node for node in reversed(error.args[1])]
        return ["jobs wait for each other in a circle: " + " → ".join(names)]
    return []


def _node(workload: Workload, draft: Draft) -> int | str:
    known = workload.find(draft.spec.source, draft.spec.key)
    return draft.spec.name if known is None else known.id


def in_dependency_order(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts, each after those it names; otherwise in the given order. There is no circle in them."""
    names = {draft.spec.name for draft in drafts}
    if not any(draft.after_names for draft in drafts):
        return list(drafts)
    graph = {draft.spec.name: [name for name in draft.after_names if name in names] for draft in drafts}
    order = {name: place for place, name in enumerate(TopologicalSorter(graph).static_order())}
    return sorted(drafts, key=lambda draft: order[draft.spec.name])
