"""What the files of a job source say, carried out in the queue. Pure; to carry out the same again changes nothing."""

from __future__ import annotations

import msgspec

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.engine.by_hand import requeue_one, settle_dependents
from researchflow_tmux.engine.submitting import Draft, Submission, Submitted, submit
from researchflow_tmux.engine.workload import Book

WAITING = (JobState.QUEUED, JobState.HELD)


class SourceNews(msgspec.Struct, frozen=True, kw_only=True):
    """What one source has that the queue does not have yet."""

    source: str
    drafts: tuple[Draft, ...] = ()
    withdrawn: tuple[str, ...] = ()
    """Keys of jobs that are gone from the files."""
    again: tuple[str, ...] = ()
    """Keys of ended jobs that are wanted again."""


class TakenIn(msgspec.Struct, kw_only=True):
    """What became of it: names of jobs."""

    queued: list[str] = msgspec.field(default_factory=list)
    done_before: list[str] = msgspec.field(default_factory=list)
    withdrawn: list[str] = msgspec.field(default_factory=list)
    again: list[str] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)


def take_in(book: Book, news: SourceNews) -> TakenIn:
    """Withdraw what waits and is gone, queue what is new, queue again what is wanted again."""
    result = TakenIn()
    _withdraw(book, news, result)
    for draft in news.drafts:
        job = book.workload.find(news.source, draft.spec.key)
        if job is not None and _was_withdrawn(job):
            _again(book, job, result)
    _submit(book, news, result)
    for key in news.again:
        job = book.workload.find(news.source, key)
        if job is not None and job.state.ended:
            _again(book, job, result)
    return result


def _withdraw(book: Book, news: SourceNews, result: TakenIn) -> None:
    gone = [job for key in news.withdrawn if (job := book.workload.find(news.source, key)) and job.state in WAITING]
    for job in gone:
        file = job.spec.key.partition("#")[0]
        book.change(job, JobState.CANCELLED, ReasonCode.WITHDRAWN, f"taken out of {file}", by=news.source)
        result.withdrawn.append(job.name)
    for job in gone:  # after all of them: those are withdrawn, and not skipped
        settle_dependents(book, job.id)


def _was_withdrawn(job: Job) -> bool:
    withdrawn = job.reason is not None and job.reason.code is ReasonCode.WITHDRAWN
    return job.state is JobState.CANCELLED and withdrawn


def _again(book: Book, job: Job, result: TakenIn) -> None:
    requeue_one(book, job, job.spec.source)
    result.again.append(job.name)


def _submit(book: Book, news: SourceNews, result: TakenIn) -> None:
    """All together; where some of them cannot be queued, those that can."""
    if not news.drafts:
        return
    done = submit(book, Submission(drafts=news.drafts, by=news.source))
    done.problems = [_with_file(text, news) for text in done.problems]
    _note(done, result)
    if done.problems:
        for draft in sorted(news.drafts, key=lambda draft: bool(draft.after_names)):
            single = submit(book, Submission(drafts=(draft,), by=news.source))
            single.problems = []  # what is wrong was said about them all
            _note(single, result)


def _with_file(text: str, news: SourceNews) -> str:
    """A problem begins with the name of its job: people look for it in the file, and at the line, where the job is."""
    name = text.partition(": ")[0]
    draft = next((draft for draft in news.drafts if draft.spec.name == name), None)
    if draft is None or "#" not in draft.spec.key:
        return text
    line = "" if draft.line is None else f":{draft.line}"
    return f"{draft.spec.key.partition('#')[0]}{line}: {text}"


def _note(done: Submitted, result: TakenIn) -> None:
    result.queued += done.queued
    result.done_before += done.done_before
    result.problems += done.problems
