"""What /proc says about processes; a process that goes away meanwhile is simply not there."""

from __future__ import annotations

import os

_KERNEL_THREAD = 0x00200000  # PF_KTHREAD


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


def catches(pid: int, number: int) -> bool:
    """Tell whether the process has a handler of its own for a signal."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            caught = file.read(8192).partition(b"\nSigCgt:")[2].partition(b"\n")[0]
    except OSError:
        return False
    return bool(int(caught or b"0", 16) >> (number - 1) & 1)


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


def has_cookie(pid: int, cookie: bytes) -> bool | None:
    """Tell whether `NAME=value` is in the environment the process was started with; unreadable counts as no.

    None: nobody can tell at this moment, because the process is in the middle of an exec or of its end. A program that
    was started with an empty environment looks the same, but for longer.
    """
    fields = _stat_fields(pid)
    if len(fields) < 18 or int(fields[6]) & _KERNEL_THREAD:
        return False
    if fields[0] not in (b"Z", b"X"):
        return _holds(f"/proc/{pid}/environ", cookie)
    if int(fields[17]) <= 1:
        return False
    # The main thread has ended and others go on, or follow it just now: they have the environment.
    answers = [_holds(f"/proc/{pid}/task/{tid}/environ", cookie) for tid in _threads(pid) if tid != str(pid)]
    return True if True in answers else None if None in answers else False


def _holds(path: str, cookie: bytes) -> bool | None:
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.readall()
    except OSError:
        return False
    return b"\0" + cookie + b"\0" in b"\0" + data + b"\0" if data else None


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
