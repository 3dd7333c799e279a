"""The log of an attempt: complete and raw, or honest about what it left out. Writing to it never fails."""

from __future__ import annotations

import errno
import os
import stat

from researchflow_tmux.runner import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TAIL = 1 << 20
_SLACK = 1 << 18
_MOST_NAMES = 1000


class LogError(Exception):
    """The log cannot be opened; the message says where and what to do."""


class Log:
    """An open log file. `dropped` counts bytes a full disk or the cap kept out; `path` is what was really opened."""

    def __init__(self, fd: int, path: str, cap: int | None) -> None:
        self.path = path
        self.dropped = 0
        self.error = ""
        self._fd = fd
        self._tail_size = _TAIL if cap is None else min(_TAIL, cap // 2)
        self._room = None if cap is None else cap - self._tail_size
        self._tail = bytearray()
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Add output of the job; beyond the cap only the last part is kept, for the end of the file."""
        if self._room is not None:
            head, data = data[: self._room], data[self._room :]
            self._room -= len(head)
            if data:
                self._keep(data)
            data = head
        if data:
            self._append(data)

    def close(self) -> None:
        """Write the kept tail and a note of what is missing; the count is then final."""
        note = b""
        if self._left_out + len(self._tail):
            self._trim(self._tail_size)
            note = f"\r\n… {self._left_out} bytes left out (log cap) …\r\n".encode() if self._left_out else b""
            self.dropped += self._left_out
            self._append(note + bytes(self._tail))
        if self.error:
            self._append(f"\r\n… {self.dropped} bytes lost: {self.error} …\r\n".encode(), count=False)
        os.close(self._fd)

    def _keep(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > self._tail_size + _SLACK:
            self._trim(self._tail_size)

    def _trim(self, size: int) -> None:
        surplus = len(self._tail) - size
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus

    def _append(self, data: bytes, *, count: bool = True) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.error = f"{self.path}: {error.strerror}"
            self.dropped += len(view) if count else 0


class NoLog:
    """What stands in for a log when the spec asks for none."""

    path = ""
    dropped = 0
    error = ""

    def write(self, data: bytes) -> None:
        """Forget `data`."""

    def close(self) -> None:
        """Do nothing."""


def open_log(path: str | None, cap_mib: float | None = None) -> Log | NoLog:
    """Create the log file, never writing into one that is there: a taken name gets a number (`x.1.log`).

    LogError: the directory is missing and cannot be made, not writable, or not to be trusted.
    """
    if path is None:
        return NoLog()
    directory = os.path.dirname(path) or "."
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _check_parent(directory)
        fd, path = _create(path)
    except OSError as error:
        raise LogError(f"log {path} cannot be created: {error.strerror}: correct log_dir or its permissions") from None
    return Log(fd, path, None if cap_mib is None else int(cap_mib * (1 << 20)))


def point_latest(latest: str | None, log: Log | NoLog) -> str:
    """Make the symlink `latest` name this log, atomically; return why not, or "". Never replaces a real file."""
    if latest is None or not log.path:
        return ""
    target = os.path.basename(log.path) if os.path.dirname(latest) == os.path.dirname(log.path) else log.path
    temporary = f"{latest}.{os.getpid()}.tmp"
    try:
        if os.path.lexists(latest) and not os.path.islink(latest):
            return f"{latest} is not a symbolic link and was left alone"
        os.symlink(target, temporary)
        os.rename(temporary, latest)
    except OSError as error:
        files.remove(temporary)
        return f"{latest} could not be updated: {error.strerror}"
    return ""


def _create(path: str) -> tuple[int, str]:
    stem, extension = os.path.splitext(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
    name = path
    for number in range(1, _MOST_NAMES):
        try:
            return os.open(name, flags, 0o600), name
        except FileExistsError:
            name = f"{stem}.{number}{extension}"
    raise FileExistsError(errno.EEXIST, "too many logs of this name", path)


def _check_parent(directory: str) -> None:
    """Refuse a directory that somebody else's symlink in a world-writable place leads to."""
    entry: Any = os.lstat(directory)
    if not stat.S_ISLNK(entry.st_mode) or entry.st_uid in (os.geteuid(), 0):
        return
    if os.stat(os.path.dirname(directory) or ".").st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EPERM, f"{directory} is another user's symbolic link in a world-writable place")
