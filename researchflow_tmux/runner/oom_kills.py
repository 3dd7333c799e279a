"""Whether the kernel killed for want of memory: its own counters and, where it may be read, its log.

The counter of a control group counts every kill in it, also of other jobs in the same group: it is believed only for a
job that died as such a kill lets it die (see `oom`). The log names the process.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_MOST_RECORDS = 20_000


class OomKills:
    """The kills since this was made. `proc` and `groups` are where the kernel shows itself; tests show other places."""

    def __init__(
        self, proc: str = "/proc", groups: str = "/sys/fs/cgroup", log: str = "/dev/kmsg", also: Collection[str] = ()
    ) -> None:
        """`also` = directories of further control groups, for what is below them."""
        self._counters = [*_counters(proc, groups), *(os.path.join(group, "memory.events") for group in also)]
        self._before = {path: count for path in self._counters if (count := _count(path)) is not None}
        self._log = log
        self._since_us = _uptime_us(proc)

    def counted(self) -> int | None:
        """Return how many processes of our control group were killed since; None where nothing counts them."""
        if not self._before:
            return None
        return max((_count(path) or before) - before for path, before in self._before.items())

    def told(self, pids: Collection[int]) -> str:
        """Return the kernel's own line about one of these processes; "" = it says none, or may not be read."""
        for text in _records(self._log, self._since_us):
            if "Killed process " in text and _pid_after(text, "Killed process ") in pids:
                return text
        return ""


def _counters(proc: str, groups: str) -> list[str]:
    """Return the files that may count for this process, of either generation of control groups."""
    try:
        with open(f"{proc}/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, kinds, path = [*line.split(":", 2), "", ""][:3]
        if kinds == "":
            found += [os.path.join(groups, path.lstrip("/"), "memory.events")]
        elif "memory" in kinds.split(","):
            found += [os.path.join(groups, "memory", path.lstrip("/"), "memory.oom_control")]
    return found


def _count(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            words = dict(line.split(None, 1) for line in file if " " in line)
        return int(words["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _uptime_us(proc: str) -> float:
    try:
        with open(f"{proc}/uptime", encoding="ascii") as file:
            return float(file.read().split()[0]) * 1e6
    except (OSError, ValueError, IndexError):
        return float("inf")


def _records(log: str, since_us: float) -> list[str]:
    """Return the texts of the kernel's log since then; [] where it may not be read."""
    try:
        fd = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return []
    found = []
    try:
        for _ in range(_MOST_RECORDS):
            try:
                record = os.read(fd, 8192)
            except BrokenPipeError:
                continue  # it was overwritten meanwhile; the next read goes on behind the hole
            if not record:
                break
            head, _, text = record.decode(errors="replace").partition(";")
            fields = head.split(",")
            # The log's clock may be a little behind that of uptime.
            if len(fields) > 2 and fields[2].isdigit() and int(fields[2]) >= since_us - 1e6:
                found.append(text.partition("\n")[0])
    except OSError:
        pass  # that was all
    finally:
        os.close(fd)
    return found


def _pid_after(text: str, words: str) -> int:
    digits = text.partition(words)[2].split(None, 1)
    return int(digits[0]) if digits and digits[0].rstrip(",").isdigit() else 0
