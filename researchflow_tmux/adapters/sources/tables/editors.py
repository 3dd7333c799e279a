"""Whether somebody has a table open: spreadsheet programs leave a file beside it, and do not like it to change."""

from __future__ import annotations

import os

from researchflow_tmux.domain.errors import Problem


def lock_beside(path: str) -> str | None:
    """The file that says that a program has the table open; None = none is there."""
    folder, name = os.path.split(path)
    for lock in (f"~${name}", f".~lock.{name}#"):
        if os.path.lexists(os.path.join(folder, lock)):
            return lock
    return None


def open_in_editor(file: str, lock: str) -> Problem:
    """Says why the table is not written."""
    message = f"is open in a spreadsheet program ({lock}): what ran is written here once it is closed"
    return Problem(message=message, file=file, hint=f"jobs run on; if nobody has it open, delete {lock}")
