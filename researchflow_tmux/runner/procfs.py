"""What /proc says about processes; a process that goes away meanwhile is simply not there."""

from __future__ import annotations

import os


def _stat_fields(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The name in parentheses may hold spaces and parentheses: fields count from the last one.
            return file.read(1024).rpartition(b")")[2].split()
    except OSError:
        return []


def start_time(pid: int) -> int | None:
    """Return field 22 of stat (clock ticks since boot): with the pid it names one process of this boot."""
    fields = _stat_fields(pid)
    return int(fields[19]) if len(fields) > 19 else None


def alive(pid: int, started: int | None) -> bool:
    """Tell whether the process of that pid and start time still runs (a zombie does not)."""
    fields = _stat_fields(pid)
    return len(fields) > 19 and fields[0] not in (b"Z", b"X") and started in (None, int(fields[19]))


def pids() -> list[int]:
    """Return the ids of all processes that can be seen."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(root: int) -> list[int]:
    """Return all living descendants of `root`, zombies left out, parents before children."""
    children: dict[int, list[int]] = {}
    zombies = set()
    for pid in pids():
        fields = _stat_fields(pid)
        if len(fields) > 1:
            children.setdefault(int(fields[1]), []).append(pid)
            if fields[0] in (b"Z", b"X"):
                zombies.add(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return [pid for pid in found if pid not in zombies]


def has_cookie(pid: int, cookie: bytes) -> bool:
    """Tell whether `NAME=value` is in the environment the process was started with; unreadable counts as no."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            data = file.readall()
    except OSError:
        return False
    return data is not None and b"\0" + cookie + b"\0" in b"\0" + data + b"\0"
