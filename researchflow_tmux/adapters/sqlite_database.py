"""The state database as a file: opening, creating, migrating, and one transaction."""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_errors import in_words, primary_code
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.mounts import is_network_fs

MIGRATIONS = ("schema.sql",)
"""File n (from 1) leads from version n-1 to n. Released files never change."""
VERSION = len(MIGRATIONS)
BUSY_TIMEOUT_S = 20.0
WAL_LIMIT_BYTES = 16 << 20
"""The write-ahead log is cut back to this after a large commit."""


@functools.lru_cache(maxsize=256)
def stamp(at: datetime) -> str:
    """A time as the database has it: UTC, fixed width. Jobs that are queued together share theirs: it is kept."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def stamp_or_none(at: datetime | None) -> str | None:
    """`stamp`, and None for None."""
    return None if at is None else stamp(at)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. The write lock is taken at once: a later upgrade of a read lock could fail halfway."""
    _begin(db)
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # a full disk makes SQLite roll back by itself
            db.execute("ROLLBACK")
        raise


def _begin(db: sqlite3.Connection) -> None:
    """Take the write lock. SQLite itself would look for it ever more rarely: with ten writers most of them sleep."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    pause_s = 0.0003
    db.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(pause_s)  # noqa: TID251 - SQLite tells nobody when another process lets go
            pause_s = min(pause_s * 1.2, 0.005)
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")


def open_database(path: str) -> sqlite3.Connection:
    """Open for writing; create and migrate as needed. Raises StoreError."""
    with in_words(path):
        _make_private(path)
        # Any thread, one at a time: whoever opens it sees to that.
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            if _version(db, path) < VERSION:
                _migrate(db, path)
            _set_journal(db, "delete" if is_network_fs(path) else "wal")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        except BaseException:
            db.close()
            raise
        return db


def open_read_only(path: str) -> sqlite3.Connection:
    """Open for queries only. Raises StoreError, also when there is no database yet."""
    if not os.path.exists(path):
        raise StoreError(f"{path} does not exist", hint="`rfsched start` or `rfsched add` creates it")
    with in_words(path):
        db = _connect_read_only(path)
        try:
            version = _version(db, path)
        except BaseException:
            db.close()
            raise
        if version == VERSION:
            return db
        db.close()
        open_database(path).close()
        return _connect_read_only(path)


def _connect_read_only(path: str) -> sqlite3.Connection:
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _make_private(path: str) -> None:
    """Create directory and file for their owner only; SQLite gives its -wal and -shm the file's mode.

    A file that is there is never opened here: closing any descriptor of it would drop the locks of this process's other
    connections (so POSIX wants it), and whoever closed next would delete the write-ahead log under them.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    status = os.stat(path)
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        os.chmod(path, 0o600)


def _version(db: sqlite3.Connection, path: str) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer rfsched (state version {version}, this one knows {VERSION})",
            hint="use that rfsched, or upgrade this one",
        )
    return version


def _migrate(db: sqlite3.Connection, path: str) -> None:
    with transaction(db):
        version = _version(db, path)  # again: another process may have been faster
        for number in range(version + 1, VERSION + 1):
            for statement in _statements(MIGRATIONS[number - 1]):
                db.execute(statement)
        if version == 0:
            first = {"workspace_id": os.urandom(4).hex(), "created_at": stamp(SystemClock().now())}
            first["hostname"] = os.uname().nodename
            db.executemany("INSERT INTO meta VALUES (?, ?)", first.items())
        db.execute(f"PRAGMA user_version = {VERSION}")


def _statements(name: str) -> Iterator[str]:
    """The statements of a file beside this one, one by one: `executescript` would end the transaction."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        statement = ""
        for line in file:
            statement += line
            if sqlite3.complete_statement(statement):
                yield statement
                statement = ""


def _set_journal(db: sqlite3.Connection, mode: str) -> None:
    """Change the journal mode if it is another; SQLite does not wait for other processes here, so this does."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while str(db.execute("PRAGMA journal_mode").fetchone()[0]) != mode:
        try:
            db.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return  # or the file system cannot do it (no shared memory): the mode it has is safe too
        time.sleep(0.005)  # noqa: TID251 - SQLite tells nobody when another process lets go
