"""What runs in the scheduler's pane: starts the scheduler and starts it again when it is killed or crashes.

Run as `python -I -S keeper.py COMMAND…`, standard library only. It outlives SIGHUP and hands it on, because the kernel
tells only the leader of the terminal's session: the scheduler decides what a closed terminal means (the tmux server
died: carry on in a new session; the session was closed: stop). One that starts later sees that the terminal is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 60.0
STEADY_S = 60.0
"""A scheduler that ran this long has recovered: the next crash starts with the first pause again."""
DELIBERATE = frozenset({0, 2, 3, 4, 5})
"""Exit codes that a restart would only repeat: stopped, wrong usage, bad config, state busy, no tmux."""


def keep(command: list[str]) -> int:
    """Run `command` until it ends deliberately; return its exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pause_s = FIRST_PAUSE_S
    while True:
        began = time.monotonic()
        code = _run(command)
        if code in DELIBERATE:
            return code
        if time.monotonic() - began > STEADY_S:
            pause_s = FIRST_PAUSE_S
        told = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        _say(f"the scheduler was {told}; starting it again in {pause_s:g} s (no job is lost)")
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, MAX_PAUSE_S)


def _run(command: list[str]) -> int:
    """One life of the scheduler: its exit code, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            os.execv(command[0], command)  # noqa: S606 - argv of our own making, no shell wanted
        except OSError as error:
            _say(f"{command[0]} cannot be started: {error.strerror}")
            os._exit(5)

    def pass_on(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGHUP, pass_on)
    # Ctrl-C in the pane reaches the scheduler by itself: both are in the foreground group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            _, status = os.waitpid(pid, 0)
        except InterruptedError:
            continue
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return os.waitstatus_to_exitcode(status)


def _say(text: str) -> None:
    # The terminal may be gone; the scheduler's log has what matters.
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
