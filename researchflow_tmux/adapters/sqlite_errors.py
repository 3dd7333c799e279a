"""What SQLite's refusals mean to the person who meets them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from researchflow_tmux.domain.errors import StoreError

_WORDS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "no space left on the disk of {path}",
        "free some space there; nothing that was recorded is lost, and jobs that run go on running",
    ),
    sqlite3.SQLITE_READONLY: (
        "{path} cannot be written",
        "check that you own it and its directory, and that the disk is not mounted read-only",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "{path} cannot be opened",
        "check that its directory exists and that you may write there",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "{path} is damaged ({error})",
        "move it away with its -wal and -shm files; then `rfsched start` begins a new queue (a marker means done)",
    ),
    sqlite3.SQLITE_BUSY: (
        "{path} is being written by another process that does not finish",
        "try again; `fuser {path}` shows who has it open",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk of {path} failed ({error})",
        "check free space, quota and the system log; nothing that was recorded before is lost",
    ),
    sqlite3.SQLITE_CONSTRAINT: (
        "{path} has such a row already ({error})",
        "a job's source and key are unique in a workspace; please report how this came about",
    ),
}
_WORDS[sqlite3.SQLITE_NOTADB] = _WORDS[sqlite3.SQLITE_CORRUPT]
_WORDS[sqlite3.SQLITE_LOCKED] = _WORDS[sqlite3.SQLITE_BUSY]
_WORDS[sqlite3.SQLITE_PERM] = _WORDS[sqlite3.SQLITE_READONLY]
_WORDS[sqlite3.SQLITE_PROTOCOL] = _WORDS[sqlite3.SQLITE_BUSY]

_OTHER = ("{path} cannot be used: {error}", "`rfsched doctor` checks the workspace")


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its refinement; 0 when the error did not come from SQLite itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def store_error(path: str, error: sqlite3.Error) -> StoreError:
    """`error` about the database at `path`, in words."""
    message, hint = _WORDS.get(primary_code(error), _OTHER)
    return StoreError(message.format(path=path, error=error), hint=hint.format(path=path, error=error))


@contextmanager
def in_words(path: str) -> Iterator[None]:
    """Turn every error of SQLite, of the file and of text that is not UTF-8 into a StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 20) : error.end + 20]
        raise StoreError(
            f"{text!r} is not valid UTF-8 and cannot be recorded", hint="rename the file or value it comes from"
        ) from error
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror}", hint="check that its directory exists and that you may write there"
        ) from error


@contextmanager
def readable(path: str) -> Iterator[None]:
    """A row that does not decode was not written by this program."""
    try:
        yield
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"{path} has a row that cannot be read: {error}",
            hint="was it edited by hand, or written by another rfsched? A copy of it from before would do",
        ) from error
