"""Small files written whole or not at all."""

from __future__ import annotations

import errno
import os


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`; a short write (a disk filling up) goes on until it succeeds or raises."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(path: str, data: bytes, mode: int = 0o600) -> None:
    """Put `data` at `path` atomically: readers see the old file or the whole new one."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        remove(temporary)
        raise


def read(path: str, limit: int = 1 << 20) -> bytes | None:
    """Return the first `limit` bytes of a file, None when it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(fd, limit)
    except OSError:
        return None
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Unlink `path` if it is there and may be unlinked."""
    try:
        os.unlink(path)
    except OSError:
        return


def sync_dir(path: str) -> None:
    """Make the names in directory `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some FUSE file systems have no fsync for directories
            raise
    finally:
        os.close(fd)
