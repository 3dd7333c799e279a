"""What there is to learn from how attempts ended: what is kept of it, and what the history has beyond that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from researchflow_tmux.adapters.lesson_store import read_lessons
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.attempt import Attempt, AttemptKey
from researchflow_tmux.domain.events import AttemptEnded, Event
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.policies.prediction.history import History, duration_of

LAST_ENDS = 2_000
"""Ended attempts that are looked at in one go: more would cost more at a start than they tell."""


class End(NamedTuple):
    """One attempt that tells how long its job takes."""

    event: int
    job: Job
    number: int
    ended_at_s: float
    took_s: float


def remembered(paths: WorkspacePaths) -> tuple[History, int]:
    """What is kept, and the last event of the history that is part of it."""
    lessons, event = read_lessons(paths.predictions)
    found = History()
    for lesson in lessons:
        found.remember(lesson)
    return found, event


def recent(paths: WorkspacePaths, event: int, jobs: Mapping[int, Job] | None = None) -> tuple[list[Event], list[End]]:
    """How attempts ended after an event, oldest first, and the successes among these, at most LAST_ENDS.

    Of a history that nothing is kept of (event 0) these are the last ones, else the first ones.

    `jobs` = those of the workspace, where they are known already. Raises StoreError when its state cannot be read.
    """
    if not os.path.exists(paths.database):
        return [], []
    with SqliteReader(paths.database) as reader, reader.snapshot():
        found = ends_after(reader, event)
        if jobs is None:
            jobs = {job.id: job for job in reader.full_jobs(sorted({job_id for job_id, _ in _keys(found)}))}
        again = sorted({job_id for job_id, number in _keys(found) if number > 1})
        attempts = {attempt.key: attempt for job_id in again for attempt in reader.attempts_of(job_id)}
    return found, successes(found, jobs, attempts)


def ends_after(reader: SqliteReader, event: int) -> list[Event]:
    """How attempts ended after an event; of those before the first one that is kept, the last ones."""
    return reader.events(after=event or None, kinds=["attempt_ended"], limit=LAST_ENDS)


def successes(events: Sequence[Event], jobs: Mapping[int, Job], attempts: Mapping[AttemptKey, Attempt]) -> list[End]:
    """Those ends that tell how long a job takes; `attempts` = those that may have gone on from a checkpoint."""
    found = []
    for event in events:
        payload = event.payload
        job = jobs.get(payload.job_id) if isinstance(payload, AttemptEnded) else None
        if job is None or not isinstance(payload, AttemptEnded):  # it was forgotten
            continue
        took_s = duration_of(job, attempts.get((job.id, payload.number)), payload.ended)
        if took_s is not None:
            found.append(End(event.seq, job, payload.number, payload.ended.ended_at.timestamp(), took_s))
    return found


def _keys(events: Sequence[Event]) -> list[AttemptKey]:
    payloads = (event.payload for event in events)
    return [(payload.job_id, payload.number) for payload in payloads if isinstance(payload, AttemptEnded)]
