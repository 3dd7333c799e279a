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


def hands_off(path: str, file: str) -> Problem | None:
    """Why the table must not be written now; None = it may be. Raises OSError."""
    lock = lock_beside(path)
    if lock is not None:
        return _open_in_editor(file, lock)
    if not os.stat(path).st_mode & 0o222:
        hint = "make it writable (chmod u+w); jobs run on"
        return Problem(message="is write-protected, so what ran is not written here", file=file, hint=hint)
    return None


def _open_in_editor(file: str, lock: str) -> Problem:
    """Says why the table is not written."""
    message = f"is open in a spreadsheet program ({lock}): what ran is written here once it is closed"
    return Problem(message=message, file=file, hint=f"jobs run on; if nobody has it open, delete {lock}")
