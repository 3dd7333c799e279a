"""Files written so that a crash, of the process or of the machine, leaves the old or the new and nothing between."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil

from .errors import DamageError, reason
from .manifest import FileFacts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

PIECE = 4 << 20
"""Bytes handled at a time: large enough to be fast, and the interpreter lock is free while one is hashed or written."""

_SEND = 32 << 20
"""Bytes after which the disk may begin with them."""


def write(path: str, pieces: Iterable[Any]) -> FileFacts:
    """Write a new file, make it durable and return its size and checksum."""
    digest, size, sent = hashlib.sha256(), 0, 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for piece in pieces:
            with memoryview(piece).cast("B") as data:
                digest.update(data)
                size += len(data)
                write_all(fd, data)
            if size - sent >= _SEND:
                # "Not needed" makes the kernel begin to write at once: the disk works while the next piece is hashed,
                # and the fsync below, which is what counts, finds little left. Two to four times as fast.
                os.posix_fadvise(fd, sent, size - sent, os.POSIX_FADV_DONTNEED)
                sent = size
        os.fsync(fd)
    finally:
        os.close(fd)
    return FileFacts(size, digest.hexdigest())


def write_all(fd: int, data: memoryview) -> None:
    """Write all of `data`: a short write goes on until it succeeds or raises."""
    written = 0
    while written < len(data):
        written += os.write(fd, data[written:])


def replace(path: str, data: bytes) -> None:
    """Put `data` at `path` in one go: readers see the old file or the whole new one. Survives no power failure."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        remove(temporary)
        raise


def pieces(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def sync_dir(path: str) -> None:
    """Make the names in directory `path` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no fsync of directories
            raise
    finally:
        os.close(fd)


def check(path: str, facts: FileFacts) -> None:
    """Compare a file with the manifest's facts; DamageError if it differs or cannot be read."""
    check_size(path, facts)
    digest = hashlib.sha256()
    try:
        for piece in pieces(path):
            digest.update(piece)
    except OSError as error:
        raise DamageError(f"{os.path.basename(path)} cannot be read: {reason(error)}") from error
    _same(path, digest.hexdigest(), facts)


def check_size(path: str, facts: FileFacts) -> None:
    """Compare the size of a file with the manifest's; DamageError if it differs or there is no such file."""
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise DamageError(f"{os.path.basename(path)} is missing: {reason(error)}") from error
    if size != facts.size:
        raise DamageError(f"{os.path.basename(path)} has {size} bytes, its manifest says {facts.size}")


def read(path: str, facts: FileFacts) -> bytearray | mmap.mmap:
    """Return the content of a file, checked on the way; DamageError if it is not what the manifest describes."""
    check_size(path, facts)
    content = _memory(facts.size)
    digest, at = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as file, memoryview(content) as view:
            while at < facts.size and (count := file.readinto(view[at : at + PIECE])):
                digest.update(view[at : at + count])
                at += count
    except OSError as error:
        raise DamageError(f"{os.path.basename(path)} cannot be read: {reason(error)}") from error
    _same(path, digest.hexdigest(), facts)
    return content


def _memory(size: int) -> bytearray | mmap.mmap:
    """Return memory to read into. A large one comes from the system, untouched and in large pages: half the time."""
    if size < PIECE:
        return bytearray(size)
    memory = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _same(path: str, digest: str, facts: FileFacts) -> None:
    if digest != facts.sha256:
        raise DamageError(f"{os.path.basename(path)} was altered: its SHA-256 is not the one in its manifest")


def remove(path: str) -> None:
    """Remove a file or a directory with all it holds; what cannot be removed stays."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        os.unlink(path)
    except OSError:
        return
