"""Questions to the state database: for status and history. Needs no lock and disturbs nobody."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from researchflow_tmux.adapters import sqlite_rows as rows
from researchflow_tmux.adapters.sqlite_clean import cleanable_ids
from researchflow_tmux.adapters.sqlite_database import open_read_only, stamp
from researchflow_tmux.adapters.sqlite_errors import in_words, readable
from researchflow_tmux.adapters.sqlite_job_row import COLUMNS, JobRow, job_row
from researchflow_tmux.adapters.sqlite_where import Where, limited
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.events import Event
from researchflow_tmux.domain.job import ENDED, Job, JobState

__all__ = ["JobRow", "SqliteReader"]

CHUNK = 500
"""Values in one IN (...): SQLite before 3.32 takes 999."""


_LATEST = (
    "SELECT attempts.doc FROM attempts JOIN jobs ON jobs.id = attempts.job_id AND jobs.attempts = attempts.number "
    "WHERE jobs.id IN ({places})"
)

_ATTEMPTS = """
SELECT doc FROM attempts
WHERE :since = '' OR job_id IN (SELECT job_id FROM attempts WHERE ended_at IS NULL OR ended_at >= :since)
ORDER BY job_id, number
"""
_QUEUED = """
SELECT job_id, at FROM events
WHERE (kind = 'job_submitted' AND json_extract(data, '$.job.state') = 'queued')
   OR (kind = 'job_changed' AND json_extract(data, '$.state') = 'queued')
ORDER BY seq
"""


class SqliteReader:
    """Read-only queries. Each sees one consistent moment; several agree with each other inside `snapshot()`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._db = open_read_only(path)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def __enter__(self) -> SqliteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def all_jobs(self) -> list[Job]:
        """Every job, whole, by id."""
        found = self._query("SELECT doc FROM jobs ORDER BY id")
        with readable(self.path):
            return [rows.decode_job(doc) for (doc,) in found]

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All queries inside see the same moment."""
        with in_words(self.path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def meta(self) -> dict[str, str]:
        """Facts about the workspace: `workspace_id`, `created_at`, `hostname`, and what the scheduler noted."""
        with in_words(self.path):
            return rows.read_meta(self._db)

    def counts_by_state(self) -> dict[JobState, int]:
        """How many jobs are in each state; every state is there."""
        counts = dict.fromkeys(JobState, 0)
        for state, count in self._query("SELECT state, count(*) FROM jobs GROUP BY state"):
            counts[JobState(state)] = count
        return counts

    def jobs(
        self,
        *,
        states: Collection[JobState] | None = None,
        ids: Collection[int] | None = None,
        names: Collection[str] | None = None,
        group: str | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """Short rows of the jobs that pass every filter given, by id. With `limit` the newest ones."""
        where = Where()
        where.among("state", None if states is None else [state.value for state in states])
        where.among("id", ids)
        where.among("name", names)
        where.equal('"group"', group)
        query = f"SELECT {COLUMNS} FROM jobs {where} ORDER BY id"  # noqa: S608 - column names of this package only
        with in_words(self.path), readable(self.path):
            # Row by row: 100 000 tuples alive at once keep the garbage collector busy for longer than the query.
            found = [job_row(row) for row in self._db.execute(*limited(query, where.values, limit))]
        return found if limit is None else found[::-1]

    def job(self, job_id: int) -> Job | None:
        """The whole job; None = there is none of that id."""
        found = self.full_jobs([job_id])
        return found[0] if found else None

    def full_jobs(self, ids: Sequence[int]) -> list[Job]:
        """The whole jobs, in the order of `ids`; missing ones are left out."""
        query = "SELECT doc FROM jobs WHERE id IN ({places})"
        with readable(self.path):
            by_id = {job.id: job for job in map(rows.decode_job, self._docs(query, ids))}
        return [by_id[number] for number in ids if number in by_id]

    def last_event(self) -> int:
        """Number of the last event; 0 = there was none."""
        return int(self._query("SELECT max(seq) FROM events")[0][0] or 0)

    def jobs_changed_since(self, event: int) -> set[int]:
        """Ids of the jobs that events after `event` are about."""
        query = "SELECT DISTINCT job_id FROM events WHERE seq > ? AND job_id IS NOT NULL"
        return {job_id for (job_id,) in self._query(query, (event,))}

    def states(self, ids: Sequence[int]) -> dict[int, JobState]:
        """The state of each of these jobs that there is."""
        found: dict[int, JobState] = {}
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            query = f"SELECT id, state FROM jobs WHERE id IN ({_places(part)})"  # noqa: S608 - places only
            found |= {number: JobState(state) for number, state in self._query(query, part)}
        return found

    def attempts_of(self, job_id: int) -> list[Attempt]:
        """Every attempt of a job, first to last."""
        found = self._query("SELECT doc FROM attempts WHERE job_id = ? ORDER BY number", (job_id,))
        with readable(self.path):
            return [rows.decode_attempt(doc) for (doc,) in found]

    def latest_attempts(self, job_ids: Sequence[int]) -> dict[int, Attempt]:
        """The latest attempt of each job that has one, by job id."""
        with readable(self.path):
            return {attempt.job_id: attempt for attempt in map(rows.decode_attempt, self._docs(_LATEST, job_ids))}

    def attempts(self, *, since: datetime | None = None) -> list[Attempt]:
        """Every attempt, by job, first to last; with `since` those of jobs of which one lived then or later."""
        found = self._query(_ATTEMPTS, {"since": "" if since is None else stamp(since)})
        with readable(self.path):
            return [rows.decode_attempt(doc) for (doc,) in found]

    def queued_moments(self) -> dict[int, list[datetime]]:
        """When each job came into the queue (first, after a failure, by hand), ascending, by job id."""
        found: dict[int, list[datetime]] = {}
        for job_id, at in self._query(_QUEUED):
            found.setdefault(job_id, []).append(datetime.fromisoformat(at))
        return found

    def live_attempts(self) -> list[Attempt]:
        """Attempts that own their slots."""
        found = self._query("SELECT doc FROM attempts WHERE live = 1 ORDER BY job_id, number")
        with readable(self.path):
            return [rows.decode_attempt(doc) for (doc,) in found]

    def events(
        self,
        *,
        after: int | None = None,
        since: datetime | None = None,
        job_id: int | None = None,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """The history, oldest first: events numbered above `after` and not before `since`, of a job, of some kinds.

        `limit` keeps the last ones; with `after` (following the history) the first ones.
        """
        where = Where()
        where.above("seq", after)
        where.from_on("at", None if since is None else stamp(since))
        where.equal("job_id", job_id)
        where.among("kind", kinds)
        query = f"SELECT seq, at, boot_id, data FROM events {where} ORDER BY seq"  # noqa: S608 - as above
        if after is not None:
            found = self._query(query + ("" if limit is None else f" LIMIT {limit:d}"), where.values)
        else:
            found = self._query(*limited(query, where.values, limit))
            found = found[::-1] if limit is not None else found
        with readable(self.path):
            return [rows.read_event(row) for row in found]

    def cleanable(self, before: datetime, *, states: Collection[JobState] = ENDED) -> list[int]:
        """Ids that `SqliteStore.delete_jobs_before` would remove now."""
        with in_words(self.path):
            return cleanable_ids(self._db, before, states)

    def _query(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        with in_words(self.path):
            return self._db.execute(query, values).fetchall()

    def _docs(self, query: str, ids: Sequence[int]) -> Iterator[str]:
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            yield from (doc for (doc,) in self._query(query.format(places=_places(part)), part))


def _places(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
