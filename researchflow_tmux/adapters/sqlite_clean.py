"""Removing ended jobs from the state database."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import datetime

from researchflow_tmux.adapters.sqlite_database import stamp
from researchflow_tmux.domain.job import ENDED, JobState

LAST_JOB_ID = "last_job_id"
"""Key in `meta`: the highest id ever removed, so that it is not given again (attempt directories are named by it)."""

REMOVALS = "removals"
"""Key in `meta`: how often jobs were removed. Who remembers jobs learns by it that some are gone."""

_CLEANABLE = """
SELECT id FROM jobs
WHERE state IN ({states}) AND ended_at < ?
  AND NOT EXISTS (SELECT 1 FROM attempts WHERE attempts.job_id = jobs.id AND attempts.live = 1)
  AND id NOT IN (
    SELECT upstream.value FROM jobs AS later, json_each(later.doc, '$.spec.after') AS upstream
    WHERE later.state NOT IN ({ended})
  )
ORDER BY id
"""


def cleanable_ids(db: sqlite3.Connection, before: datetime, states: Collection[JobState]) -> list[int]:
    """Ids of jobs in one of the ended `states` since before `before` that nothing unfinished hangs on."""
    chosen, ended = sorted(ENDED & set(states)), sorted(ENDED)
    query = _CLEANABLE.format(states=_places(chosen), ended=_places(ended))
    return [number for (number,) in db.execute(query, (*chosen, stamp(before), *ended))]


def delete_jobs(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Remove jobs with attempts and events; the caller has the transaction open."""
    each = [(number,) for number in ids]
    db.executemany("DELETE FROM jobs WHERE id = ?", each)
    db.executemany("DELETE FROM attempts WHERE job_id = ?", each)
    db.executemany("DELETE FROM events WHERE job_id = ?", each)
    row = db.execute("SELECT value FROM meta WHERE key = ?", (LAST_JOB_ID,)).fetchone()
    last = max(max(ids), int(row[0]) if row else 0)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (LAST_JOB_ID, str(last)))
    row = db.execute("SELECT value FROM meta WHERE key = ?", (REMOVALS,)).fetchone()
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (REMOVALS, str(int(row[0]) + 1 if row else 1)))


def _places(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
