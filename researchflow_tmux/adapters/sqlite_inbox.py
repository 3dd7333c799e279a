"""The inbox: how any process asks something of the one writer, and hears its answer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters import sqlite_environments as environments
from researchflow_tmux.adapters.sqlite_database import open_database, stamp, transaction
from researchflow_tmux.adapters.sqlite_errors import in_words
from researchflow_tmux.adapters.sqlite_rows import to_json

FIRST_PAUSE_S = 0.0002
"""A scheduler that has nothing else to do answers within two milliseconds: the first looks are close together."""


class SqliteInbox:
    """A client's end of the store. Needs no lock; any number of processes may have one."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._db = open_database(path)
        self._file = os.stat(path)

    def still_there(self) -> bool:
        """False = the file was deleted or replaced: what is written to it goes nowhere."""
        try:
            return os.path.samestat(os.stat(self.path), self._file)
        except OSError:
            return False

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def put(self, kind: str, body: Mapping[str, Any], *, by: str, at: datetime) -> int:
        """Leave a request; it is on disk when its id is returned. Wake the scheduler afterwards."""
        return self.put_json(kind, to_json(dict(body)), by=by, at=at)

    def put_json(self, kind: str, body: str, *, by: str, at: datetime) -> int:
        """`put` of what is JSON already."""
        with in_words(self.path):
            row = (stamp(at), by, kind, body)
            with transaction(self._db):
                cursor = self._db.execute('INSERT INTO requests (at, "by", kind, body) VALUES (?, ?, ?, ?)', row)
            return cursor.lastrowid or 0

    def reply(self, request: int) -> dict[str, Any] | None:
        """The answer to a request; None = none yet."""
        with in_words(self.path):
            row = self._db.execute("SELECT reply FROM requests WHERE id = ?", (request,)).fetchone()
        return None if row is None or row[0] is None else dict(msgspec.json.decode(row[0]))

    def wait(self, request: int, timeout_s: float = 1.0) -> dict[str, Any] | None:
        """The answer, waiting up to `timeout_s` for it; None = none in time (the request stays)."""
        deadline = time.monotonic() + timeout_s
        pause_s = FIRST_PAUSE_S
        while (answer := self.reply(request)) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            time.sleep(min(pause_s, left_s))  # noqa: TID251 - SQLite tells nobody of a new row
            pause_s = min(pause_s * 1.2, 0.02)
        return answer

    def withdraw(self, request: int) -> bool:
        """Take an unanswered request back; False = it was answered already."""
        with in_words(self.path), transaction(self._db):
            return self._db.execute("DELETE FROM requests WHERE id = ? AND reply IS NULL", (request,)).rowcount == 1

    def save_environment(self, digest: str, data: Mapping[str, Any]) -> None:
        """Keep an environment under its digest, once."""
        environments.save(self._db, self.path, digest, data)
