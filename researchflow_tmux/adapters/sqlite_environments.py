"""Environments captured at submission: stored once per digest, by whoever comes first."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from researchflow_tmux.adapters.sqlite_errors import in_words
from researchflow_tmux.domain.errors import StoreError

# The standard library's json and not msgspec: variables may hold bytes that are not UTF-8 (lone surrogates in Python).
# It is imported where it is used: most commands never need it.


def save(db: sqlite3.Connection, path: str, digest: str, data: Mapping[str, Any]) -> None:
    """Keep `data` under `digest` unless it is there already."""
    import json

    with in_words(path):
        if db.execute("SELECT 1 FROM environments WHERE digest = ?", (digest,)).fetchone() is None:
            db.execute("INSERT OR IGNORE INTO environments VALUES (?, ?)", (digest, json.dumps(dict(data))))


def load(db: sqlite3.Connection, path: str, digest: str) -> dict[str, Any]:
    """What was kept under `digest`. Raises StoreError if there is nothing."""
    import json

    with in_words(path):
        row = db.execute("SELECT doc FROM environments WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        raise StoreError(
            f"{path} does not have the environment {digest} that the job was submitted with",
            hint="submit the job again from the shell it should run in",
        )
    return dict(json.loads(row[0]))
