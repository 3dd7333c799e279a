"""How many jobs a row has and should have. Pure.

A row wants `need_run_num - run_num` successes more. Each job of it that waits or runs is one of these to come, one
whose success is not in the file yet is one too. A job that has failed for good, or was cancelled by hand, uses its turn
up: it is not queued again by itself, and never stands in the way of other rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.reasons import ReasonCode

COUNTED, FORGIVEN = "c", "f"
"""Notes on a job in the ledger: `c3` = the success of its attempt 3 is in the file; `f` = its turn was given up when
the user lowered what is needed, so that raising it again brings a new one."""


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for one row; numbers of repetitions, from 1."""

    wanted: tuple[int, ...]
    """Those that should wait or run: known ones and new ones."""
    withdrawn: tuple[int, ...]
    forgiven: tuple[int, ...]


def turns(remaining: int, jobs: Mapping[int, Job], notes: Mapping[int, str]) -> Turns:
    """Which repetitions a row should have.

    Args:
        remaining: `need_run_num - run_num`, less the successes that are not written yet.
        jobs: The row's jobs by repetition.
        notes: What the ledger says of repetitions.
    """
    fresh = {number: job for number, job in sorted(jobs.items()) if number not in notes}
    alive = [number for number, job in fresh.items() if not job.state.ended]
    given_up = [number for number, job in fresh.items() if _gave_up(job)]
    surplus = len(alive) + len(given_up) - max(remaining, 0)
    if surplus > 0:
        forgiven = given_up[:surplus]
        surplus -= len(forgiven)
        idle = [number for number in alive if jobs[number].state is not JobState.ACTIVE]
        withdrawn = idle[max(len(idle) - surplus, 0) :] if surplus else []
        kept = [number for number in alive if number not in withdrawn]
        return Turns(wanted=tuple(kept), withdrawn=tuple(withdrawn), forgiven=tuple(forgiven))
    free = [number for number, job in jobs.items() if was_withdrawn(job)]
    new = _numbers(-surplus, sorted(free), max([0, *jobs, *notes]))
    return Turns(wanted=(*alive, *new), withdrawn=(), forgiven=())


def is_uncounted(job: Job, note: str | None) -> bool:
    """Whether the job has a success that is not in the file."""
    if job.state is not JobState.SUCCEEDED:
        return False
    return note is None or not note.startswith(COUNTED) or job.attempts > _attempt(note)


def counted(job: Job) -> str:
    """The note that this success is in the file."""
    return f"{COUNTED}{job.attempts}"


def was_withdrawn(job: Job) -> bool:
    """Whether the job was cancelled because its row was gone or wanted less."""
    reason = job.reason.code if job.reason else None
    return job.state is JobState.CANCELLED and reason is ReasonCode.WITHDRAWN


def _gave_up(job: Job) -> bool:
    ended_badly = job.state in (JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED)
    return ended_badly and not was_withdrawn(job)


def _numbers(count: int, free: Sequence[int], last: int) -> list[int]:
    """Repetitions for `count` more jobs: those that were withdrawn first, then new ones."""
    again: list[int] = list(free[:count])
    return again + list(range(last + 1, last + 1 + count - len(again)))


def adopted(orphans: Iterable[str], wanting: Mapping[str, int]) -> dict[str, int]:
    """How many running jobs of vanished rows (by content) each row with the same content takes as its own.

    Args:
        orphans: The content of each such job.
        wanting: Of rows still there, by key `content.occurrence`, how many more jobs they want.
    """
    left = dict(wanting)
    taken: dict[str, int] = {}
    for content in orphans:
        key = next((key for key, count in left.items() if count > 0 and key.rpartition(".")[0] == content), None)
        if key is not None:
            left[key] -= 1
            taken[key] = taken.get(key, 0) + 1
    return taken


def _attempt(note: str) -> int:
    digits = note[len(COUNTED) :]
    return int(digits) if digits.isdigit() else 0
