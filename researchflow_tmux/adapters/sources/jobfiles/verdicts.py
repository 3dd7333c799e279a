"""What a line means: the mark that stands there, the one that we last left there, and how its job stands. Pure.

Where only the first two differ, a person has changed the mark. Where the last two differ, we have not shown yet what
happened, or were killed before we could note that we did.
"""

from __future__ import annotations

from enum import Enum, auto

from researchflow_tmux.adapters.sources.jobfiles.lines import ENDED, RUNNING, WAITING
from researchflow_tmux.adapters.sources.jobfiles.notes import GONE, Note, end_of, wanted_mark
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import ReasonCode


class Verdict(Enum):
    """What follows from a line."""

    QUEUE = auto()
    """It is to be run, and no job yet."""
    CHECK = auto()
    """Its job waits, as the line says; the job's options may have changed."""
    AGAIN = auto()
    """Somebody took the mark away: run it again."""
    WITHDRAW = auto()
    """Somebody marked it while it waits: do not run it."""
    ACCEPT = auto()
    """The mark is right, or a person's own and to be left."""
    WRITE = auto()
    """The mark is to be that of the job's state."""
    STRANGER = auto()
    """Marked as running, and no job of this workspace."""
    FORGOTTEN = auto()
    """Its job has ended and was removed from the history before its mark could be written."""


def judge(now: str, note: Note, job: Job | None) -> Verdict:
    """The verdict on a line with mark `now`."""
    if job is None:
        return _without_job(now, note)
    if job.state.ended:
        return _of_ended(now, note, job)
    if job.state is JobState.ACTIVE:
        return Verdict.ACCEPT if now == RUNNING else Verdict.WRITE
    if now == WAITING:
        return Verdict.CHECK
    ours = now in (note.mark, RUNNING) or note.mark == RUNNING
    return Verdict.WRITE if ours else Verdict.WITHDRAW


def _without_job(now: str, note: Note) -> Verdict:
    if now == RUNNING:
        return Verdict.STRANGER
    if now in ENDED:
        return Verdict.ACCEPT
    return Verdict.FORGOTTEN if note.ended_us and note.mark in (WAITING, RUNNING) else Verdict.QUEUE


def _of_ended(now: str, note: Note, job: Job) -> Verdict:
    known_end = note.ended_us == end_of(job)
    if now == WAITING:
        withdrawn = job.reason is not None and job.reason.code is ReasonCode.WITHDRAWN
        taken_away = known_end and (note.mark in ENDED or note.mark == GONE)
        return Verdict.AGAIN if withdrawn or taken_away else Verdict.WRITE
    if now == RUNNING:
        return Verdict.WRITE
    old = now == note.mark and not known_end
    return Verdict.WRITE if old and now != wanted_mark(job) else Verdict.ACCEPT


def fits(now: str, note: Note, job: Job | None) -> bool:
    """Whether a line with mark `now` can be this job's without a person having changed the mark."""
    if job is None or now == note.mark:
        return now == note.mark
    return now == wanted_mark(job) or (now == RUNNING and job.attempts > 0)
