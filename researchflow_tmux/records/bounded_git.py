"""Asking git something, for a limited time and a limited answer."""

from __future__ import annotations

import os
import select
import subprocess

from researchflow_tmux.adapters.clock import SystemClock

READ = 64 * 1024


def git(root: str, *args: str, timeout_s: float, most_bytes: int) -> bytes | None:
    """The first `most_bytes` of what git prints; None = no git, an error, or no end within `timeout_s`.

    An answer that is longer is cut, and git is ended: a changed file of gigabytes fills no memory.
    """
    # Optional locks off: looking must not get in the way of the user's own git. GIT_DIR and the like point elsewhere.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-C", root, "-c", "core.fsmonitor=false", "-c", "core.pager=cat", *args]
    try:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return None
    try:
        assert process.stdout is not None
        data, whole = _read(process.stdout.fileno(), timeout_s, most_bytes)
        if not whole:
            return data  # None after a timeout
        return data if process.wait(timeout_s) == 0 else None
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _read(fd: int, timeout_s: float, most_bytes: int) -> tuple[bytes | None, bool]:
    """(what came, whether that was all); None when the time is over."""
    clock = SystemClock()
    deadline = clock.monotonic() + timeout_s
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    taken = bytearray()
    while len(taken) < most_bytes:
        left_s = deadline - clock.monotonic()
        if left_s <= 0 or not poller.poll(left_s * 1000):
            return None, False
        part = os.read(fd, READ)
        if not part:
            return bytes(taken), True
        taken += part
    return bytes(taken[:most_bytes]), False
