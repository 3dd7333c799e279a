"""What a task prints, in its session and in its own log file alike; the file is complete when the task is asked about.

The task prints on a terminal of its own, and a process beside it copies: a thread would stand still, and with it the
task, whenever the task's C code prints much while it holds the interpreter.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE_S = 2.0
"""A process that the task left behind may keep the terminal open; what it says later is not waited for."""
_PAUSE_S = 0.002
_OPOST = 1


class Output:
    """Copies what is printed between `begin` and `end` to a log file as well."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._kept: tuple[int, int] | None = None
        self._copier = 0

    def begin(self) -> None:
        """From here on all output is copied. Raises OSError when there is no log file or no terminal to be had."""
        file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            master, slave = os.openpty()
        except OSError:
            os.close(file)
            raise
        _dress(slave)
        _flush()
        self._copier = os.fork()
        if self._copier == 0:
            os.close(slave)
            _copy(master, (1, file))
        os.close(master)
        os.close(file)
        self._kept = (os.dup(1), os.dup(2))
        os.dup2(slave, 1)
        os.dup2(slave, 2)
        os.close(slave)

    def end(self) -> None:
        """Output goes where it went before; what was printed so far is in the file. Called again it does nothing."""
        if self._kept is None:
            return
        _flush()
        for number in (1, 2):
            os.dup2(self._kept[number - 1], number)
            os.close(self._kept[number - 1])
        self._kept = None
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self._copier, os.WNOHANG)[0] == 0:
                    time.sleep(_PAUSE_S)
                    continue
            return


def _dress(slave: int) -> None:
    """As wide as the real one, and passing on what it gets: that one makes lines of it."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(slave, termios.TIOCSWINSZ, fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))
    with contextlib.suppress(termios.error):
        attributes = termios.tcgetattr(slave)
        attributes[_OPOST] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)


def _copy(master: int, targets: Sequence[int]) -> None:
    """Copy until nobody prints any more; never returns."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the last words of a task that is stopped are wanted too
    open_targets = list(targets)
    try:
        while open_targets:
            data = os.read(master, 65536)
            for target in list(open_targets):
                try:
                    _write(target, data)
                except OSError:
                    open_targets.remove(target)
    except OSError:
        pass  # the other side is closed
    finally:
        os._exit(0)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
