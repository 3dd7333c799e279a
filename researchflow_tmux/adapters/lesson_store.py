"""The file `.rfsched/predictions.db`: what there is to learn from ended attempts, and how good predictions were.

It is made from the history and can be made from it again: a power cut may cost the last rows, and a file that is
damaged is begun anew.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress

from researchflow_tmux.adapters.sqlite_database import transaction
from researchflow_tmux.mounts import is_network_fs
from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.fingerprint import Fingerprint
from researchflow_tmux.policies.prediction.history import LAST, Lesson

VERSION = 1
BUSY_S = 2.0
LOADED = 2_000
"""Lessons that are read at a start, the latest ones: some milliseconds."""
KEPT = 100_000
"""Predictions that are kept for reports."""

_SCHEMA = """
CREATE TABLE mark (one INTEGER PRIMARY KEY CHECK (one = 1), event INTEGER NOT NULL) STRICT;
CREATE TABLE lessons (
    seq INTEGER PRIMARY KEY, user TEXT NOT NULL, script TEXT NOT NULL, arguments TEXT NOT NULL, gpus REAL NOT NULL,
    hardware TEXT NOT NULL, took_s REAL NOT NULL, kind TEXT, residual REAL
) STRICT;
CREATE INDEX alike ON lessons (user, script, arguments, gpus, hardware, seq);
CREATE TABLE made (
    seq INTEGER PRIMARY KEY, ended_at REAL NOT NULL, job_id INTEGER NOT NULL, number INTEGER NOT NULL,
    name TEXT NOT NULL, project TEXT, user TEXT, moment TEXT NOT NULL, source TEXT NOT NULL,
    actual_s REAL NOT NULL, predicted_s REAL NOT NULL, low_s REAL, high_s REAL, elapsed_s REAL NOT NULL
) STRICT;
CREATE INDEX made_at ON made (ended_at);
CREATE TABLE expected (
    job_id INTEGER PRIMARY KEY, predicted_s REAL NOT NULL, low_s REAL NOT NULL, high_s REAL NOT NULL
) STRICT;
"""
_FORGET = """
DELETE FROM lessons WHERE (user, script, arguments, gpus, hardware) = (?, ?, ?, ?, ?) AND seq <= (
    SELECT seq FROM lessons WHERE (user, script, arguments, gpus, hardware) = (?, ?, ?, ?, ?)
    ORDER BY seq DESC LIMIT 1 OFFSET ?
)
"""
_MADE = "ended_at, job_id, number, name, project, user, moment, source, actual_s, predicted_s, low_s, high_s, elapsed_s"


class LessonStore:
    """The writing end; one thread of the scheduler uses it."""

    def __init__(self, path: str) -> None:
        """Open or create. Raises sqlite3.Error or OSError when neither can be done."""
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
                with suppress(FileNotFoundError):
                    os.unlink(name)
            self._db = _open(path)

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def add(self, lessons: Iterable[Lesson], made: Sequence[Made], event: int) -> None:
        """Keep what was learned up to an event of the history, and remember that event. Raises sqlite3.Error."""
        with transaction(self._db):
            for lesson in lessons:
                row = (*lesson.fingerprint, lesson.took_s, lesson.kind, lesson.residual)
                self._db.execute("INSERT INTO lessons VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                self._db.execute(_FORGET, (*lesson.fingerprint, *lesson.fingerprint, LAST))
            self._db.executemany(
                f"INSERT INTO made ({_MADE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of this module
                made,
            )
            if made:
                self._db.execute("DELETE FROM made WHERE seq <= (SELECT max(seq) FROM made) - ?", (KEPT,))
            self._db.execute("INSERT OR REPLACE INTO mark VALUES (1, ?)", (event,))

    def expect(self, expected: Mapping[int, tuple[float, float, float]]) -> None:
        """Keep what was predicted of jobs as they came: (predicted, low, high) by job id. Raises sqlite3.Error."""
        with transaction(self._db):
            rows = [(job_id, *of) for job_id, of in expected.items()]
            self._db.executemany("INSERT OR REPLACE INTO expected VALUES (?, ?, ?, ?)", rows)
            self._db.execute("DELETE FROM expected WHERE job_id < (SELECT max(job_id) FROM expected) - ?", (KEPT,))

    def expected(self, job_id: int) -> tuple[float, float, float] | None:
        """What was predicted of a job as it came, once. Raises sqlite3.Error."""
        query = "DELETE FROM expected WHERE job_id = ? RETURNING predicted_s, low_s, high_s"
        with transaction(self._db):
            row = self._db.execute(query, (job_id,)).fetchone()
        return None if row is None else (row[0], row[1], row[2])


def read_lessons(path: str) -> tuple[list[Lesson], int]:
    """What is kept, oldest first, and the last event of the history that is part of it; nothing and 0 if there is none.

    A file that cannot be read counts as none: what is in it can be had from the history.
    """
    if not os.path.exists(path):
        return [], 0
    try:
        with _reading(path) as db:
            rows = db.execute("SELECT * FROM lessons ORDER BY seq DESC LIMIT ?", (LOADED,)).fetchall()
            mark = db.execute("SELECT event FROM mark").fetchone()
    except sqlite3.Error:
        return [], 0
    lessons = [Lesson(Fingerprint(*row[1:6]), *row[6:]) for row in reversed(rows)]
    return lessons, 0 if mark is None else int(mark[0])


def read_made(path: str, since_s: float | None = None) -> list[Made]:
    """The predictions about what ended since then (seconds since 1970), oldest first. Raises sqlite3.Error."""
    if not os.path.exists(path):
        return []
    with _reading(path) as db:
        query = f"SELECT {_MADE} FROM made WHERE ended_at >= ? ORDER BY seq"  # noqa: S608 - names of this module
        return [Made(*row) for row in db.execute(query, (since_s or 0.0,))]


@contextmanager
def _reading(path: str) -> Iterator[sqlite3.Connection]:
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    with closing(sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)) as db:
        yield db


def _open(path: str) -> sqlite3.Connection:
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA journal_mode = {'delete' if is_network_fs(path) else 'wal'}")
        db.execute("PRAGMA synchronous = NORMAL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"version {version} is another program's")
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db
