"""Changing a file that people and their programs change too, without ever losing what they write.

Nothing here waits. Whoever finds that somebody was faster reads the file again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from typing import NamedTuple

from researchflow_tmux.adapters.files import sync_directory


class Seen(NamedTuple):
    """By what a file is known to be unchanged."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Unusable(Exception):  # noqa: N818 - it reads as the fact it states
    """The file cannot be read or written just now; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ChangedMeanwhile(Exception):  # noqa: N818 - it reads as the fact it states
    """Somebody else has written the file since it was read."""


class BeingWritten(Exception):  # noqa: N818 - it reads as the fact it states
    """Another program has the file open for writing: what it writes next would go to the replaced file, unseen."""


def look(path: str) -> Seen | None:
    """What the file looks like; None = there is none, or a directory in its place. Raises Unusable."""
    try:
        status = os.stat(path)
        return None if stat.S_ISDIR(status.st_mode) else _seen(status)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(path):
            raise Unusable("is a link to a file that does not exist", "correct or delete the link") from None
        return None
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}", _hint(error)) from None


class Content(NamedTuple):
    """A file as it was read."""

    data: bytes
    seen: Seen
    being_written: bool
    """A program has it open for writing: there may be more to come."""


def read(path: str, most: int) -> Content | None:
    """All of the file; None = there is none. Raises Unusable, ChangedMeanwhile."""
    if look(path) is None:
        return None
    try:
        with open_regular(path) as fd:
            before = _seen(os.fstat(fd))
            if before.size > most:
                raise Unusable(f"has {before.size >> 20} MiB, more than the {most >> 20} MiB that are read")
            data = _read_all(fd, before.size)
            if _seen(os.fstat(fd)) != before or len(data) != before.size:
                raise ChangedMeanwhile
            return Content(data, before, is_being_written(fd))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}", _hint(error)) from None


@contextlib.contextmanager
def open_regular(path: str) -> Iterator[int]:
    """A descriptor for reading. A pipe never blocks; raises Unusable for what is no ordinary file, and OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "no ordinary file"
            raise Unusable(f"is {what}", "give it another name")
        yield fd
    finally:
        os.close(fd)


def is_being_written(fd: int) -> bool:
    """Whether a program has the file open for writing, as far as the system tells (see `Guard`)."""
    try:
        with Guard(fd):
            return False
    except BeingWritten:
        return True


class Guard:
    """While it is held, nobody begins to write to a file: who opens it for that waits, and `broken` tells of it.

    This is the kernel's lease: there is none on some network file systems, and on files of other people. Then a guard
    keeps nobody out and tells of nobody. Raises BeingWritten on entry if somebody writes already.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = False

    def __enter__(self) -> Guard:
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETSIG, signal.SIGURG)  # instead of SIGIO: nobody minds it
            fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            self._held = True
        except BlockingIOError:
            raise BeingWritten from None
        except OSError:
            pass
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    @property
    def broken(self) -> bool:
        """Somebody waits to write to it."""
        return self._held and fcntl.fcntl(self._fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK


def replace(path: str, data: bytes, expected: Seen) -> Seen:
    """Put `data` in the place of the file that looked like `expected`; owner, mode and link stay. On disk on return.

    Returns what it looks like now.

    Raises:
        ChangedMeanwhile: It does not look like that any more; nothing was written.
        BeingWritten: A program is about to write to it; nothing was written.
        Unusable: It cannot be written.
    """
    target = os.path.realpath(path)  # a link stays a link
    directory, name = os.path.split(target)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with contextlib.ExitStack() as stack:
            old = stack.enter_context(open_regular(target))
            status = os.fstat(old)
            if _seen(status) != expected:
                raise ChangedMeanwhile
            if status.st_nlink > 1:  # each name would be a file of its own afterwards
                raise Unusable("has several names (hard links), so no marks are written", "keep one of the names")
            stack.callback(_unlink, temporary)
            _write_beside(temporary, data, status, old)
            guard = stack.enter_context(Guard(old))
            if look(target) != expected:
                raise ChangedMeanwhile
            exchanged = _put_in_place(temporary, target)
            if exchanged and (guard.broken or not _same_content(os.fstat(old), expected)):
                os.rename(temporary, target)  # who was faster has that file open, and goes on writing to it
                raise BeingWritten
            sync_directory(directory)
            return _seen(os.stat(target))
    except FileNotFoundError:
        raise ChangedMeanwhile from None
    except OSError as error:
        raise Unusable(f"cannot be written: {error.strerror or error}", _hint(error)) from None


def _put_in_place(temporary: str, target: str) -> bool:
    """Exchange the two files in one step, so that it can be undone; False = the file system cannot, so replace it."""
    import ctypes

    call = getattr(ctypes.CDLL(None), "renameat2", None)
    here = -100  # AT_FDCWD
    exchange = 2  # RENAME_EXCHANGE
    if call is not None and call(here, os.fsencode(temporary), here, os.fsencode(target), exchange) == 0:
        return True
    os.replace(temporary, target)
    return False


def _same_content(status: os.stat_result, expected: Seen) -> bool:
    return (status.st_size, status.st_mtime_ns) == (expected.size, expected.modified_ns)


def _write_beside(temporary: str, data: bytes, status: os.stat_result, old: int) -> None:
    """The new content as a file of its own, the old one's owner, mode and attributes on it, and on disk."""
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        made = os.fstat(fd)
        if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
            _give_back(fd, status)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        for name in _attributes(old):
            with contextlib.suppress(OSError):
                os.setxattr(fd, name, os.getxattr(old, name))
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _give_back(fd: int, status: os.stat_result) -> None:
    try:
        os.fchown(fd, status.st_uid, status.st_gid)
    except OSError:
        hint = "let the person who owns it run the scheduler, or give the file to yourself"
        raise Unusable("belongs to somebody else, who would lose it if marks were written", hint) from None


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError:
        return []


def _read_all(fd: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(fd, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _seen(status: os.stat_result) -> Seen:
    return Seen(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _hint(error: OSError) -> str | None:
    if isinstance(error, PermissionError):
        return "make it (and its directory) readable and writable for yourself"
    return "free disk space" if error.errno == 28 else None
