"""The two files of the index, index.json and its backup: reading them, adding a line, replacing both.

Every line is written to both. index.json is on disk before a call returns; the backup follows without waiting, because
it is needed only when index.json is lost. A replacement goes to the backup first: at every moment one file is whole.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from researchflow_tmux.results import layout
from researchflow_tmux.results.errors import StorageUnusable
from researchflow_tmux.results.values import Entry

TEMPORARY = ".index.json.tmp"
"""Prefix of what is not the index yet, or no longer; other programs for this format leave such files alone."""
DAMAGED = f"{TEMPORARY}.damaged"


class Stamp(NamedTuple):
    """A file at one moment. Another inode, size or time: another content."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """From what `stat` says."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


class Seal(msgspec.Struct, frozen=True, array_like=True):
    """What the last writer leaves in the lock file: the files as it left them.

    While both look like this, nobody else wrote, and since `base` was drawn lines were only added.
    """

    base: str
    index: Stamp
    backup: Stamp


class IndexFiles:
    """The files in `root`. All writing needs the lock."""

    def __init__(self, root: str, *, durable: bool) -> None:
        self.root = root
        self.index = os.path.join(root, "index.json")
        self.backup = os.path.join(root, "index.json.backup")
        self.damaged = os.path.join(root, DAMAGED)
        self._durable = durable

    def stamp(self, path: str) -> Stamp | None:
        """The file as it is now; None = not there."""
        try:
            return Stamp.of(os.stat(path))
        except FileNotFoundError:
            return None

    def read(self, path: str, start: int = 0) -> tuple[bytes, Stamp] | None:
        """The file from `start` on, and its stamp; None = not there. Raises StorageUnusable if it may not be read."""
        try:
            with open(path, "rb") as file:
                file.seek(start)
                return file.read(), Stamp.of(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnusable(
                f"{path} cannot be read: {error.strerror}", hint="check that you may read it, and the disk"
            ) from error

    def add(self, line: bytes, at: Seal, *, first: bool) -> Seal:
        """Add one line to both files, which are as `at` says. Raises StorageUnusable with the files as before."""
        text = layout.addition(line, first=first)
        index = self._put(self.index, text, at.index, durable=self._durable)
        try:
            backup = self._put(self.backup, text, at.backup, durable=False)
        except StorageUnusable:
            backup = at.backup  # no longer true if half a line is there: then the next writer replaces both files
        return Seal(at.base, index, backup)

    def replace(self, entries: Mapping[str, Entry]) -> Seal:
        """Write both files anew. Raises StorageUnusable; each file is then either as before or new."""
        content = layout.encode_index(entries)
        backup = self._replace(self.backup, content)
        index = self._replace(self.index, content)
        if self._durable:
            _sync_directory(self.root)
        return Seal(os.urandom(8).hex(), index, backup)

    def set_aside(self) -> None:
        """Keep the content of a damaged index.json in a file that nothing reads."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.index, self.damaged)

    def _put(self, path: str, text: bytes, at: Stamp, *, durable: bool) -> Stamp:
        place = at.size - len(layout.TAIL)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                try:
                    _write_all(fd, text, place)
                except OSError:
                    with contextlib.suppress(OSError):
                        _write_all(fd, layout.TAIL, place)
                        os.ftruncate(fd, at.size)
                    raise
                if durable:
                    os.fdatasync(fd)
                return Stamp.of(os.fstat(fd))
            finally:
                os.close(fd)
        except OSError as error:
            raise _not_stored(path, error) from error

    def _replace(self, path: str, content: bytes) -> Stamp:
        new = os.path.join(self.root, TEMPORARY)
        old = self._stat(path)
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                if old is not None:
                    with contextlib.suppress(OSError):  # somebody else's file in a shared directory
                        os.fchmod(fd, stat.S_IMODE(old.st_mode))
                _write_all(fd, content, 0)
                if old is not None and os.fstat(fd).st_mtime_ns <= old.st_mtime_ns:
                    # The clock of a file system ticks every few ms: two contents must not have one stamp.
                    os.utime(fd, ns=(old.st_mtime_ns + 1, old.st_mtime_ns + 1))
                if self._durable:
                    os.fsync(fd)
                stamp = Stamp.of(os.fstat(fd))
            finally:
                os.close(fd)
            os.replace(new, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise _not_stored(path, error) from error
        return stamp

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path)
        except OSError:
            return None


def _write_all(fd: int, content: bytes, place: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, place)
        view, place = view[written:], place + written


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _not_stored(path: str, error: OSError) -> StorageUnusable:
    return StorageUnusable(
        f"{path} could not be written ({error.strerror}): nothing was stored",
        hint="make room on the disk, or check the rights to the directory, then try again",
    )
