"""What is remembered of each line of a job file, durably: which job it is, and the mark we last saw right there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from researchflow_tmux.adapters.sources.jobfiles.lines import FINISHED, RUNNING, TERMINATED, WAITING
from researchflow_tmux.domain.job import Job, JobState

GONE = "-"
"""In the place of a mark: the line is not in the file any more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARKS = {
    JobState.HELD: WAITING,
    JobState.QUEUED: WAITING,
    JobState.ACTIVE: RUNNING,
    JobState.SUCCEEDED: FINISHED,
    JobState.FAILED: TERMINATED,
    JobState.CANCELLED: TERMINATED,
    JobState.SKIPPED: TERMINATED,
}


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """The note on one line. The ledger holds it as text: most of them are only ever compared."""

    mark: str
    """The mark that we wrote, or found there and left; or GONE."""
    label: str
    """Where the line stood when it was first seen, as part of its job's name: `12`."""
    ended_us: int = 0
    """The end of its job that the mark (or its being gone) is about, in microseconds since 1970; 0 = none."""
    archived: bool = False
    """That end is one that the file was archived for already."""

    def encode(self) -> str:
        """As the ledger holds it."""
        return f"{self.mark}|{self.label}|{self.ended_us}{'|a' if self.archived else ''}"


def decode(text: str) -> Note:
    """The note of `encode`; of a text that is none, a note that says nothing."""
    parts = text.split("|")
    if len(parts) < 3 or not parts[2].isdecimal():
        return Note(mark=WAITING, label="0")
    return Note(mark=parts[0], label=parts[1], ended_us=int(parts[2]), archived=len(parts) > 3)


def is_gone(text: str) -> bool:
    """Whether an encoded note is about a line that is not there."""
    return text.startswith(GONE)


def wanted_mark(job: Job) -> str:
    """What should stand before the line of a job."""
    return _MARKS[job.state]


def end_of(job: Job) -> int:
    """When the job ended, in microseconds since 1970; 0 = it has not."""
    return 0 if job.ended_at is None else (job.ended_at - _EPOCH) // timedelta(microseconds=1)
