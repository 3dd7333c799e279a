"""The durable state in SQLite: the Store port, for the one process that holds the workspace lock."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from researchflow_tmux.adapters import sqlite_environments as environments
from researchflow_tmux.adapters import sqlite_rows as rows
from researchflow_tmux.adapters.garbage import no_collection
from researchflow_tmux.adapters.sqlite_clean import LAST_JOB_ID, REMOVALS, cleanable_ids, delete_jobs
from researchflow_tmux.adapters.sqlite_database import open_database, stamp, transaction
from researchflow_tmux.adapters.sqlite_errors import in_words, readable
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import Event, Payload
from researchflow_tmux.domain.job import ENDED, Job, JobState
from researchflow_tmux.engine.sharing import Sharing
from researchflow_tmux.ports import Request, StoredState

KEEP_REPLIES = timedelta(hours=1)
"""Answered requests are removed after this: nobody waits longer than seconds for a reply."""


class SqliteStore:
    """The Store port on `.rfsched/state.db`. Open it only while holding the workspace lock, use it in one thread."""

    def __init__(self, path: str, *, boot_id: str) -> None:
        self.path = path
        self.boot_id = boot_id
        self._db = open_database(path)
        self._file = os.stat(path)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def load(self) -> StoredState:
        """The rows as they stand."""
        with in_words(self.path), readable(self.path), no_collection():
            self._db.execute("BEGIN")  # one snapshot for all four
            try:
                jobs = _shared(map(itemgetter(0), self._db.execute("SELECT doc FROM jobs ORDER BY id")))
                live = self._db.execute("SELECT doc FROM attempts WHERE live = 1 ORDER BY job_id, number")
                attempts = [rows.decode_attempt(doc) for (doc,) in live]
                meta = rows.read_meta(self._db)
            finally:
                self._db.execute("COMMIT")
        last = max(jobs[-1].id if jobs else 0, int(meta.get(LAST_JOB_ID, "0")))
        return StoredState(jobs=jobs, attempts=attempts, next_job_id=last + 1, meta=meta)

    def commit(
        self,
        payloads: Sequence[Payload],
        jobs: Iterable[Job],
        attempts: Iterable[Attempt],
        *,
        at: datetime,
        replies: Mapping[int, Mapping[str, Any]] | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> list[Event]:
        """One transaction, on disk when it returns; see the port. Raises StoreError, and then nothing is there."""
        when = stamp(at)
        with in_words(self.path), no_collection():
            event_rows = [rows.event_row(payload, when, self.boot_id) for payload in payloads]
            job_rows = [rows.job_row(job) for job in jobs]
            attempt_rows = [rows.attempt_row(attempt) for attempt in attempts]
            answers = [(rows.to_json(dict(reply)), when, request) for request, reply in (replies or {}).items()]
            self._check_still_there()
            with transaction(self._db):
                first = self._add_events(event_rows)
                self._db.executemany(rows.PUT_JOB, job_rows)
                self._db.executemany(rows.PUT_ATTEMPT, attempt_rows)
                if answers:
                    self._answer(answers, at)
                if meta:
                    self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(meta.items()))
            return [
                Event(seq=seq, at=at, boot_id=self.boot_id, payload=payload)
                for seq, payload in enumerate(payloads, first)
            ]

    def _add_events(self, event_rows: Sequence[tuple[Any, ...]]) -> int:
        """Write them, and return the number of the first: in one transaction they are numbered without a gap."""
        self._db.executemany(rows.ADD_EVENT, event_rows)
        if not event_rows:
            return 0
        (last,) = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return int(last) - len(event_rows) + 1

    def _check_still_there(self) -> None:
        """SQLite would go on writing to a file that was deleted under it, and everything would vanish at the end."""
        try:
            there = os.path.samestat(os.stat(self.path), self._file)
        except FileNotFoundError:
            there = False
        if not there:
            raise StoreError(
                f"{self.path} was deleted or replaced while in use",
                hint="`rfsched stop`, put the file back if you have it, and `rfsched start`",
            )

    def _answer(self, answers: list[tuple[str, str, int]], at: datetime) -> None:
        self._db.executemany("UPDATE requests SET reply = ?, replied_at = ? WHERE id = ?", answers)
        self._db.execute("DELETE FROM requests WHERE replied_at < ?", (stamp(at - KEEP_REPLIES),))

    def load_meta(self) -> dict[str, str]:
        """Facts about the workspace: `workspace_id`, `created_at`, `hostname`, and what `commit` was given."""
        with in_words(self.path):
            return rows.read_meta(self._db)

    def watermark(self) -> tuple[int, int]:
        """(number of the last event, how often jobs were removed): the same again means that nothing has changed."""
        with in_words(self.path):
            self._check_still_there()
            last = self._db.execute("SELECT max(seq) FROM events").fetchone()[0]
            removals = self._db.execute("SELECT value FROM meta WHERE key = ?", (REMOVALS,)).fetchone()
        return (last or 0, int(removals[0]) if removals else 0)

    def changed_since(self, event: int) -> tuple[list[Job], list[Attempt]]:
        """The jobs that events after `event` are about, as they are now, and all live attempts."""
        query = "SELECT doc FROM jobs WHERE id IN (SELECT job_id FROM events WHERE seq > ?) ORDER BY id"
        with in_words(self.path), readable(self.path), no_collection():
            jobs = [rows.decode_job(doc) for (doc,) in self._db.execute(query, (event,))]
            live = self._db.execute("SELECT doc FROM attempts WHERE live = 1 ORDER BY job_id, number")
            return jobs, [rows.decode_attempt(doc) for (doc,) in live]

    def requests(self) -> list[Request]:
        """The unanswered requests, oldest first."""
        query = 'SELECT id, kind, body, "by" FROM requests WHERE reply IS NULL ORDER BY id'
        with in_words(self.path), readable(self.path):
            return [
                Request(id=number, kind=kind, json=body.encode(), by=by)
                for number, kind, body, by in self._db.execute(query)
            ]

    def environment(self, digest: str) -> dict[str, Any]:
        """The environment captured under `digest`. Raises StoreError if there is none."""
        return environments.load(self._db, self.path, digest)

    def save_environment(self, digest: str, data: Mapping[str, Any]) -> None:
        """Keep an environment under its digest, once."""
        environments.save(self._db, self.path, digest, data)

    def delete_jobs_before(
        self,
        before: datetime,
        *,
        states: Collection[JobState] = ENDED,
        keep: Collection[int] = (),
        dry_run: bool = False,
    ) -> list[int]:
        """Remove jobs that ended before `before`, with their attempts and events; return their ids.

        A job of `keep`, one that an unfinished one comes `after`, or that still has a live attempt, stays. Ids are
        never given again.
        `dry_run` only tells. The attempts' directories are the caller's business.
        """
        with in_words(self.path), transaction(self._db):
            ids = [job_id for job_id in cleanable_ids(self._db, before, states) if job_id not in keep]
            if ids and not dry_run:
                delete_jobs(self._db, ids)
        return ids


def _shared(docs: Iterable[str]) -> list[Job]:
    """The jobs, each with what it has in common with others given up at once: later, the memory would not come back."""
    sharing = Sharing()
    jobs = []
    for doc in docs:
        job = rows.decode_job(doc)
        sharing.share(job)
        jobs.append(job)
    return jobs
