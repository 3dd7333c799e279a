"""The short form of a job, as status shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.sqlite_rows import JOB_COLUMNS
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason

COLUMNS = JOB_COLUMNS.removesuffix(", doc")
"""What `job_row` reads."""


class JobRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What status shows of a job: read without decoding its specification."""

    id: int
    source: str
    key: str
    name: str
    slug: str
    state: JobState
    queued_at: datetime
    priority: int
    group: str | None
    gpus: int
    """How many it asks for."""
    attempts: int
    retries_used: int
    started_at: datetime | None
    ended_at: datetime | None
    exit_code: int | None
    reason: Reason | None


_decode_reason = msgspec.json.Decoder(Reason).decode
_STATES = {state.value: state for state in JobState}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def job_row(row: tuple[Any, ...]) -> JobRow:
    """The JobRow of one row of COLUMNS."""
    (number, source, key, name, slug, state, queued_at, priority, group, gpus, attempts, retries) = row[:12]
    started_at, ended_at, exit_code, reason = row[12:]
    return JobRow(
        id=number,
        source=source,
        key=key,
        name=name,
        slug=slug,
        state=_STATES[state],
        queued_at=datetime.fromisoformat(queued_at),
        priority=priority,
        group=group,
        gpus=gpus,
        attempts=attempts,
        retries_used=retries,
        started_at=_moment(started_at),
        ended_at=_moment(ended_at),
        exit_code=exit_code,
        reason=None if reason is None else _decode_reason(reason),
    )
