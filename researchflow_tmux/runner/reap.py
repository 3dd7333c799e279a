"""Ending what an attempt left behind after its runner was killed: processes are known by a cookie in their environment.

Each process of a job inherits `RFSCHED_ATTEMPT=<tag>`. One that cleaned its environment (`env -i`, `sudo`) escapes this
search; while the runner lives nothing escapes, because orphans become its children.
"""

from __future__ import annotations

import os
import time

from researchflow_tmux.runner import procfs

COOKIE = "RFSCHED_ATTEMPT"
# An exec or an end takes less; a process whose environment is empty for longer was started so and is none of ours.
_SETTLE_S = 0.3


def find_by_cookie(tag: str) -> list[int]:
    """Return the living processes of the attempt `tag` that this user may see, never the caller itself.

    A process in the middle of an exec may be missing: only `kill_by_cookie` waits until that is decided.
    """
    return [pid for pid, found in _scan(tag) if found]


def kill_by_cookie(tag: str, timeout_s: float = 30.0) -> list[int]:
    """SIGKILL every process of the attempt until none is left; return what is still there after `timeout_s`.

    [] proves the tree dead, as far as a cookie can. Call it only after the runner is gone: it would start no more
    processes then.
    """
    now = time.monotonic()
    deadline, settled = now + timeout_s, now + _SETTLE_S
    pause_s = 0.001
    while scan := _scan(tag):
        found = [pid for pid, sure in scan if sure]
        if not found and now > settled:
            return []
        if now > deadline:
            return found
        for pid in found:
            kill(pid, 9)
        settled = now + _SETTLE_S if found else settled
        time.sleep(pause_s)  # only a parent is told when a process ends
        pause_s = min(pause_s * 2, 0.05)
        now = time.monotonic()
    return []


def _scan(tag: str) -> list[tuple[int, bool]]:
    """Return (pid, True) for each process of the attempt and (pid, False) for those that cannot be told yet."""
    cookie = f"{COOKIE}={tag}".encode()
    own = os.getpid()
    answers = [(pid, procfs.has_cookie(pid, cookie)) for pid in procfs.pids() if pid != own]
    return [(pid, answer is True) for pid, answer in answers if answer is not False]


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
