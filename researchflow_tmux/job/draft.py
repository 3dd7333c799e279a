"""A checkpoint being written: a hidden directory that becomes the checkpoint by one rename.

Its lock file tells a writer at work from one that died: the kernel drops the lock with the process, so whoever gets it
may clear the leftovers. Only leftovers of this host are judged: a lock may not be visible across a network.
"""

from __future__ import annotations

import fcntl
import os

from . import disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .manifest import FileFacts
    from .store import Part

_PREFIX, _LOCK = ".draft-", ".lock"


class Draft:
    """A locked directory inside `root`; leaving the `with` block removes whatever was not published."""

    def __init__(self, root: str) -> None:
        self._root = root

    def __enter__(self) -> Draft:
        self.path = os.path.join(self._root, f"{_prefix()}{os.getpid()}-{os.urandom(4).hex()}")
        self._fd = _lock(self.path + _LOCK)
        self._directories = {self.path}
        try:
            os.mkdir(self.path)
        except OSError:
            self._unlock()
            raise
        return self

    def write(self, part: Part) -> FileFacts:
        """Write one file, durably; the directories it is in are created."""
        path = os.path.join(self.path, part.path)
        directory = os.path.dirname(path)
        os.makedirs(directory, exist_ok=True)
        while directory not in self._directories:
            self._directories.add(directory)
            directory = os.path.dirname(directory)
        return disk.write(path, part.pieces())

    def publish(self, name: str) -> str:
        """Make the draft the checkpoint `name` of its store; return its path."""
        for directory in self._directories:
            disk.sync_dir(directory)
        final = os.path.join(self._root, name)
        os.rename(self.path, final)
        disk.sync_dir(self._root)
        return final

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        disk.remove(self.path)
        self._unlock()

    def _unlock(self) -> None:
        disk.remove(self.path + _LOCK)
        os.close(self._fd)


def retire(root: str, name: str) -> None:
    """Remove the checkpoint `name`: first out of sight in one step, then file by file."""
    with Draft(root) as draft:
        try:
            os.rename(os.path.join(root, name), os.path.join(draft.path, name))
        except FileNotFoundError:
            return


def clear_leftovers(root: str) -> None:
    """Remove the drafts of writers that died on this host."""
    for entry in os.listdir(root):
        if entry.startswith(_prefix()) and entry.endswith(_LOCK):
            lock = os.path.join(root, entry)
            try:
                fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue  # just finished, or another user's
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                disk.remove(lock[: -len(_LOCK)])
                disk.remove(lock)
            except OSError:
                continue  # at work
            finally:
                os.close(fd)


def _lock(path: str) -> int:
    """Return a descriptor of a new, locked file. No one else knows its name yet, but a clearer may see it first."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except FileNotFoundError:
            pass  # cleared between the two lines: once more
        except OSError:
            return fd  # no locks on this file system: then nobody clears here either
        os.close(fd)


def _prefix() -> str:
    return f"{_PREFIX}{os.uname().nodename}-"
