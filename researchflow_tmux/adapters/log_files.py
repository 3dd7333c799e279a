"""Log files that rotate: private, never written through a symbolic link, and never in anybody's way.

Not `logging`: it looks at the file for every single line, and 100 000 jobs that are queued together are as many lines.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, date, datetime


class LogFile:
    """A file that lines are added to. Raises OSError when it is opened, and never later: a full disk costs lines."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._fd = self._open()

    def write(self, lines: Sequence[str], day: date) -> None:
        """Add lines of one day, without their line ends."""
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            if self.is_full(len(data), day):
                os.close(self._fd)
                self._fd = -1
                self.rotate()
            if self._fd < 0:
                self._fd = self._open()
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def size(self) -> int:
        """Bytes in it now."""
        return os.fstat(self._fd).st_size if self._fd >= 0 else 0

    def is_full(self, more: int, day: date) -> bool:
        """Whether what comes next belongs into a new file."""
        raise NotImplementedError

    def rotate(self) -> None:
        """Give the file another name, and remove the oldest."""
        raise NotImplementedError

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.path, flags, 0o600)


class SizedLog(LogFile):
    """At most so large; `.1` is the one before, and so on."""

    def __init__(self, path: str, *, most_bytes: int, backups: int) -> None:
        super().__init__(path)
        self._most_bytes = most_bytes
        self._backups = backups

    def is_full(self, more: int, day: date) -> bool:
        """It would grow over its size; a single batch may do so."""
        size = self.size()
        return size > 0 and size + more > self._most_bytes

    def rotate(self) -> None:
        """`.2` becomes `.3`, and so on."""
        for number in range(self._backups, 0, -1):
            older = f"{self.path}.{number - 1}" if number > 1 else self.path
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, f"{self.path}.{number}")


class DailyLog(LogFile):
    """One file a day; those of earlier days carry their date, and the last ones of them stay."""

    def __init__(self, path: str, *, days: int) -> None:
        super().__init__(path)
        self._days = days
        self._day = _day_of(os.fstat(self._fd).st_mtime) if self.size() else date.max
        """Of which day its lines are; of none yet."""
        self._written_on = self._day

    def is_full(self, more: int, day: date) -> bool:
        """It is of an earlier day."""
        self._written_on, self._day = self._day, day
        return self._written_on < day

    def rotate(self) -> None:
        """The file of a day gets its date; what is older than the last ones is removed."""
        os.replace(self.path, f"{self.path}.{self._written_on.isoformat()}")
        directory, name = os.path.split(self.path)
        dated = sorted(entry for entry in os.listdir(directory) if _is_dated(entry, name))
        for entry in dated[: -self._days]:
            os.unlink(os.path.join(directory, entry))


def _day_of(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).astimezone().date()


def _is_dated(entry: str, name: str) -> bool:
    if not entry.startswith(f"{name}."):
        return False
    with contextlib.suppress(ValueError):
        return len(entry) == len(name) + 11 and bool(date.fromisoformat(entry[len(name) + 1 :]))
    return False
