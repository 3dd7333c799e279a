"""Whose process is it? What /proc tells about the processes that a GPU names."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

from researchflow_tmux.runner.reap import COOKIE

_COOKIE = f"\0{COOKIE}=".encode()


def managed(runner_pids: Iterable[int], candidates: Iterable[int], *, proc: str = "/proc") -> frozenset[int]:
    """Those of `candidates` that belong to rfsched jobs.

    Climbs from each candidate to its ancestors, so the cost follows the few processes on GPUs and not all of the
    machine. stat is readable for everybody's processes; the cookie, read for what has no runner above it any more, only
    for our own.

    Args:
        runner_pids: Runners of any workspace and user: from the live tickets and from our own attempts.
        candidates: Pids that the driver names.
        proc: Where procfs is.
    """
    runners = {pid for pid in runner_pids if pid > 0}
    parents: dict[int, int] = {}
    return frozenset(pid for pid in candidates if _under(pid, runners, parents, proc) or has_any_cookie(pid, proc=proc))


def _under(pid: int, runners: set[int], parents: dict[int, int], proc: str) -> bool:
    seen: set[int] = set()
    while pid > 1 and pid not in seen:  # pids may be given out again while we climb: never in circles
        if pid in runners:
            return True
        seen.add(pid)
        if pid not in parents:
            parents[pid] = parent(pid, proc=proc)
        pid = parents[pid]
    return False


def runners_above(pids: Iterable[int], runners: Iterable[int], *, proc: str = "/proc") -> dict[int, int]:
    """Of those pids that descend from one of the runners (or are one): which runner. Others are left out."""
    known, parents = set(runners), dict[int, int]()
    found = {}
    for start in pids:
        pid, seen = start, set[int]()
        while pid > 1 and pid not in seen and pid not in known:
            seen.add(pid)
            if pid not in parents:
                parents[pid] = parent(pid, proc=proc)
            pid = parents[pid]
        if pid in known:
            found[start] = pid
    return found


def user_and_command(pid: int, *, proc: str = "/proc") -> tuple[str | None, str | None]:
    """Whose process it is and its command line; None = it is gone, or hidden from us."""
    try:
        uid = os.stat(f"{proc}/{pid}").st_uid
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
            words = file.read(4096).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        if not words:  # a thread of the kernel, or a process that is about to end
            with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
                words = file.read().strip()
    except OSError:
        return None, None
    return user_name(uid), words


def parent(pid: int, *, proc: str = "/proc") -> int:
    """The parent's pid; 0 = there is no such process."""
    try:
        with open(f"{proc}/{pid}/stat", "rb", buffering=0) as file:
            # The name in parentheses may hold spaces and parentheses: fields count from the last one.
            return int(file.read(1024).rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def has_any_cookie(pid: int, *, proc: str = "/proc") -> bool:
    """Whether the process was started in the environment of some job; unreadable counts as no."""
    try:
        with open(f"{proc}/{pid}/environ", "rb") as file:
            return _COOKIE in b"\0" + file.read()
    except OSError:
        return False


def describe(pid: int, *, proc: str = "/proc") -> str:
    """The process for people: `python pid 4242, user ann`; what cannot be told is left out."""
    try:
        with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
        uid = os.stat(f"{proc}/{pid}").st_uid
    except OSError:
        return f"pid {pid}"
    return f"{name} pid {pid}, user {user_name(uid)}"


@functools.cache
def user_name(uid: int) -> str:
    """The login name, or the number where there is none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
