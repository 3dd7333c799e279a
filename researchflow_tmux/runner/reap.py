"""Ending what an attempt left behind after its runner was killed: processes are known by a cookie in their environment.

Each process of a job inherits `RFSCHED_ATTEMPT=<tag>`. One that cleaned its environment (`env -i`, `sudo`) escapes this
search; while the runner lives nothing escapes, because orphans become its children.
"""

from __future__ import annotations

import os
import time

from researchflow_tmux.runner import procfs

COOKIE = "RFSCHED_ATTEMPT"


def find_by_cookie(tag: str) -> list[int]:
    """Return the living processes of the attempt `tag` that this user may see, never the caller itself."""
    cookie = f"{COOKIE}={tag}".encode()
    own = os.getpid()
    return [pid for pid in procfs.pids() if pid != own and procfs.has_cookie(pid, cookie)]


def kill_by_cookie(tag: str, timeout_s: float = 30.0) -> list[int]:
    """SIGKILL every process of the attempt until none is left; return what is still there after `timeout_s`.

    [] proves the tree dead, as far as a cookie can. Call it only after the runner is gone: it would start no more
    processes then.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.001
    while found := find_by_cookie(tag):
        for pid in found:
            kill(pid, 9)
        if time.monotonic() > deadline:
            return found
        time.sleep(pause_s)  # only a parent is told when a process ends
        pause_s = min(pause_s * 2, 0.05)
    return []


def kill(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone or out of reach."""
    try:
        os.kill(pid, number)
    except OSError:
        return


def kill_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False if it is gone. 0 and 1 would mean other things and are left alone."""
    if group <= 1:
        return False
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True
