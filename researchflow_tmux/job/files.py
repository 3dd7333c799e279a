"""Files and directories as part of a state: what a framework wrote by itself."""

from __future__ import annotations

import os
import stat

from . import disk
from .errors import StateError, reason
from .manifest import FILE
from .store import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STATE_FILE, BUFFER_FILE = "rfsched-state.json", "rfsched-state.bin"
RESERVED = frozenset({FILE, STATE_FILE, BUFFER_FILE})


class Files:
    """Marks a path inside a state as files to keep: `{"model": Files("out/model"), "step": 7}`.

    A plain `pathlib.Path` inside a state stays a path: it may name a data set. Loaded, it is a `pathlib.Path` of the
    file or directory in the checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"Files({self.path!r})"


def parts(path: str, prefix: str) -> list[Part]:
    """Return the files at or below `path`, as parts below `prefix` ("" or ending in "/").

    They are read later, in the background: a file that changes before it was read fails the checkpoint. Symbolic links
    to files are followed. `StateError` if there is no file at or below `path`, or something that cannot be kept.
    """
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return [_part(path, prefix + os.path.basename(path))]
        found = []
        for directory, folders, names in os.walk(path, onerror=_raise):
            _refuse_links(directory, folders)
            for name in names:
                file = os.path.join(directory, name)
                found.append(_part(file, prefix + os.path.relpath(file, path).replace(os.sep, "/")))
        found = sorted(part for part in found if part.path not in RESERVED)
        if not found:
            raise StateError(f"{path} cannot be kept in a checkpoint: there are no files in it")
        return found
    except OSError as error:
        raise StateError(f"{path} cannot be kept in a checkpoint: {reason(error)}") from error


def _part(path: str, name: str) -> Part:
    seen = os.stat(path)
    if not stat.S_ISREG(seen.st_mode):
        raise StateError(f"{path} cannot be kept in a checkpoint: it is no file (a socket, a pipe, a device)")
    return Part(name, lambda: _unchanged(path, seen))


def _unchanged(path: str, seen: os.stat_result) -> Iterator[bytes]:
    """Yield the content of a file that is still the one `seen`."""
    try:
        yield from disk.pieces(path)
        now = os.stat(path)
    except FileNotFoundError as error:
        raise StateError(f"{path} went away while it was being saved: {_LEAVE}") from error
    if (now.st_size, now.st_mtime_ns, now.st_ino) != (seen.st_size, seen.st_mtime_ns, seen.st_ino):
        raise StateError(f"{path} changed while it was being saved: {_LEAVE}")


_LEAVE = "leave it alone until `wait()` returns, or save with wait=True"


def _refuse_links(directory: str, folders: list[str]) -> None:
    for folder in folders:
        path = os.path.join(directory, folder)
        if os.path.islink(path):
            raise StateError(f"{path} cannot be kept in a checkpoint: it is a link to a directory: put a copy there")


def _raise(error: OSError) -> None:
    raise error
