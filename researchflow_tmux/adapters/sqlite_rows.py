"""Rows of the state database, written and read: the one place that knows their columns."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.sqlite_database import stamp, stamp_or_none
from researchflow_tmux.domain.attempt import Attempt, Launching, Planned
from researchflow_tmux.domain.events import AttemptPlanned, Event, Payload
from researchflow_tmux.domain.job import Job

EVENT_VERSION = 1
"""Form of `events.data`; raised when a payload changes so that an old one cannot be read as a new one."""

JOB_COLUMNS = (
    'id, source, key, name, slug, state, queued_at, priority, "group", gpus, attempts, retries_used, started_at, '
    "ended_at, exit_code, reason, doc"
)


def _upsert(table: str, columns: str, keys: str) -> str:
    names = [name.strip() for name in columns.split(",")]
    updates = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys.split(", "))
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({columns}) VALUES ({places}) ON CONFLICT ({keys}) DO UPDATE SET {updates}"  # noqa: S608 - constants of this module only


PUT_JOB = _upsert("jobs", JOB_COLUMNS, "id")
PUT_ATTEMPT = _upsert("attempts", "job_id, number, phase, live, session, started_at, ended_at, doc", "job_id, number")
ADD_EVENT = "INSERT INTO events (at, boot_id, kind, job_id, attempt, version, data) VALUES (?, ?, ?, ?, ?, ?, ?)"

_encode = msgspec.json.Encoder().encode
_decode_payload = msgspec.json.Decoder(Payload).decode
decode_job = msgspec.json.Decoder(Job).decode
decode_attempt = msgspec.json.Decoder(Attempt).decode


def to_json(value: Any) -> str:
    """`value` as JSON text."""
    return _encode(value).decode()


def job_row(job: Job) -> tuple[Any, ...]:
    """Parameters of PUT_JOB."""
    spec = job.spec
    return (
        job.id,
        spec.source,
        spec.key,
        spec.name,
        job.slug,
        job.state.value,
        stamp(job.queued_at),
        spec.priority,
        spec.group,
        spec.request.gpus,
        job.attempts,
        job.retries_used,
        stamp_or_none(job.started_at),
        stamp_or_none(job.ended_at),
        job.exit_code,
        None if job.reason is None else to_json(job.reason),
        to_json(job),
    )


def attempt_row(attempt: Attempt) -> tuple[Any, ...]:
    """Parameters of PUT_ATTEMPT."""
    phase = attempt.phase
    started_at = None if isinstance(phase, Planned | Launching) else phase.started_at
    return (
        attempt.job_id,
        attempt.number,
        phase.__struct_config__.tag,
        int(attempt.live),
        attempt.session,
        stamp_or_none(started_at),
        stamp_or_none(getattr(phase, "ended_at", None)),
        to_json(attempt),
    )


def event_row(payload: Payload, at: str, boot_id: str) -> tuple[Any, ...]:
    """Parameters of ADD_EVENT."""
    number = payload.attempt.number if isinstance(payload, AttemptPlanned) else getattr(payload, "number", None)
    kind = payload.__struct_config__.tag
    return (at, boot_id, kind, payload.job_id, number, EVENT_VERSION, to_json(payload))


def read_event(row: tuple[Any, ...]) -> Event:
    """The event of (seq, at, boot_id, data)."""
    seq, at, boot_id, data = row
    return Event(seq=seq, at=datetime.fromisoformat(at), boot_id=boot_id, payload=_decode_payload(data))


def read_meta(db: sqlite3.Connection) -> dict[str, str]:
    """The whole table."""
    return dict(db.execute("SELECT key, value FROM meta"))
