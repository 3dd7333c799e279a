"""The pane, seen from the runner: a screen that may be slow, wedged or gone and never holds the job up for long."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE_S = 0.5
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL
_DEFAULT_SIZE = (24).to_bytes(2, "little") + (80).to_bytes(2, "little") + bytes(4)


class Screen:
    """Standard input and output of the runner, raw and non-blocking.

    Output that the other side does not take within half a second is dropped, as is all further output until it takes
    some again; `lost` turns true when the other side is gone for good.
    """

    def __init__(self) -> None:
        self.is_tty = os.isatty(1)
        self.lost = False
        self.input_open = True
        self.attributes = _attributes(0)
        self._fd = _open_output()
        self._pending = bytearray()
        self._waiting_since = 0.0
        self._stalled = False
        self._skipped = 0
        if self.attributes is not None:
            _set(0, raw(self.attributes))

    def interests(self) -> list[tuple[int, int]]:
        """Return (fd, poll mask) of what this screen waits for, standard input left out."""
        return [(self._fd, select.POLLOUT)] if (self._pending or self._stalled) and not self.lost else []

    def holds_up(self, now: float) -> float | None:
        """Return until when (monotonic) the job has to wait for the screen; None when it need not."""
        if not self._pending or self.lost:
            return None
        deadline = self._waiting_since + _PATIENCE_S
        if now < deadline:
            return deadline
        self._stalled = True
        self._skipped += len(self._pending)
        self._pending.clear()
        return None

    def feed(self, data: bytes) -> None:
        """Show `data`, or as much of it as the other side takes in time."""
        if self.lost:
            return
        if self._stalled:
            self._skipped += len(data)
            return
        if not self._pending:
            self._waiting_since = time.monotonic()
        self._pending += data
        self.flush()

    def flush(self) -> None:
        """Go on after the other side became writable."""
        if self._stalled:
            self._stalled = False
            self._pending += f"\x1b[m\r\n… {self._skipped} bytes not shown, the log has them …\r\n".encode()
            self._skipped = 0
        try:
            written = os.write(self._fd, self._pending)
        except BlockingIOError:
            return
        except OSError:
            self.lose()
            return
        if written:
            del self._pending[:written]
            self._waiting_since = time.monotonic()

    def gone(self) -> bool:
        """Tell whether the terminal behind standard input has been closed."""
        poller = select.poll()
        poller.register(0, 0)
        return any(events & _GONE for _, events in poller.poll(0))

    def lose(self) -> None:
        """Go on without a screen."""
        self.lost = True
        self.input_open = False
        self._pending.clear()

    def finish(self, text: str) -> None:
        """Show a last line and give the terminal back as it was found; waits at most a moment."""
        self._stalled = False
        self.feed(text.encode(errors="replace"))
        deadline = time.monotonic() + _PATIENCE_S
        while self._pending and not self.lost and time.monotonic() < deadline:
            poller = select.poll()
            poller.register(self._fd, select.POLLOUT)
            if poller.poll(100):
                self.flush()
        if self.attributes is not None and not self.lost:
            _set(0, self.attributes)


def size() -> bytes:
    """Return the window size of the pane as the kernel's struct winsize."""
    try:
        found = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return _DEFAULT_SIZE
    return found if found[:2] != b"\0\0" and found[2:4] != b"\0\0" else _DEFAULT_SIZE


def raw(attributes: list[Any]) -> list[Any]:
    """Return terminal attributes that pass every byte on as it is."""
    changed = list(attributes)
    t = termios
    changed[0] &= ~(t.BRKINT | t.ICRNL | t.INLCR | t.IGNCR | t.INPCK | t.ISTRIP | t.IXON | t.IXOFF)
    changed[1] &= ~t.OPOST
    changed[3] &= ~(t.ECHO | t.ECHONL | t.ICANON | t.IEXTEN | t.ISIG)
    changed[6] = list(changed[6])
    changed[6][t.VMIN], changed[6][t.VTIME] = 1, 0
    return changed


def without_flow_control(attributes: list[Any]) -> list[Any]:
    """Return attributes with which a stray Ctrl-S cannot freeze the job."""
    return [attributes[0] & ~termios.IXON, *attributes[1:]]


def _attributes(fd: int) -> list[Any] | None:
    try:
        return termios.tcgetattr(fd)
    except (termios.error, OSError):
        return None


def _set(fd: int, attributes: list[Any]) -> None:
    try:
        termios.tcsetattr(fd, termios.TCSANOW, attributes)
    except (termios.error, OSError):
        return


def _open_output() -> int:
    """Return a non-blocking descriptor for standard output.

    Terminals and pipes are opened anew: O_NONBLOCK belongs to the open file, which others may share.
    """
    try:
        if os.isatty(1) or stat.S_ISFIFO(os.fstat(1).st_mode):
            return os.open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        pass
    os.set_blocking(1, False)
    return 1
