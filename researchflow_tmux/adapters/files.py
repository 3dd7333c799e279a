"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat


def write_atomic(path: str, data: bytes | str, mode: int | None = 0o600, *, durable: bool = True) -> None:
    """Replace the file at `path` with `data`: whoever opens it sees all of the old or all of the new. Raises OSError.

    `mode` None = what the umask leaves, as for any file that a user makes. It is on disk on return; without `durable` a
    power cut may bring the old content back (never a mixture). What is no file there, such as /dev/null, stays.
    """
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path).st_mode
        if not (stat.S_ISREG(found) or stat.S_ISLNK(found) or stat.S_ISDIR(found)):  # of a directory the system says it
            raise OSError(errno.EINVAL, "it is not a regular file", path)
    content = data.encode() if isinstance(data, str) else data
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else mode)
    try:
        try:
            if mode is not None:
                os.fchmod(fd, mode)  # whatever the umask says
            _write_all(fd, content)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if durable:
        sync_directory(directory or ".")


def read_at_most(path: str, most: int) -> bytes:
    """The first bytes of a file. Raises OSError; also for a named pipe, at which one would wait for a writer."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is a named pipe, not a file", path)
        return file.read(most)


def sync_directory(path: str) -> None:
    """Put the directory's entries on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
