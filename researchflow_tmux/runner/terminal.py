"""The inner terminal: the job's own pty, and the pump between it, the log and the screen."""

from __future__ import annotations

import fcntl
import os
import select
import termios

from researchflow_tmux.runner import screen as outer
from researchflow_tmux.runner.tail import Tail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.runner.log import Log, NoLog
    from researchflow_tmux.runner.screen import Screen

_CHUNK = 1 << 16
_AT_ONCE = 1 << 17
_MOST_INPUT = 1 << 12
_ENDED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Pump:
    """Moves the job's output to the log and the screen, and what is typed to the job."""

    def __init__(self, log: Log | NoLog, screen: Screen) -> None:
        self.master, self.slave = os.openpty()
        self._log = log
        self.screen = screen
        self._typed = bytearray()
        self.tail = Tail()
        attributes = screen.attributes or termios.tcgetattr(self.slave)
        termios.tcsetattr(self.slave, termios.TCSANOW, outer.without_flow_control(attributes))
        os.set_blocking(self.master, False)
        self.resize()

    def close(self) -> None:
        """Give the terminal back; nothing uses it any more."""
        os.close(self.master)
        os.close(self.slave)

    def resize(self) -> None:
        """Give the inner terminal the size of the pane; the kernel tells the job."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, outer.size())

    def foreground_group(self) -> int:
        """Return the process group in the foreground of the job's terminal, 0 if there is none."""
        try:
            return os.tcgetpgrp(self.master)
        except OSError:
            return 0

    def interests(self, now: float) -> tuple[list[tuple[int, int]], float | None]:
        """Return what to poll for, and until when at the latest."""
        held_up_until = self.screen.holds_up(now)
        mask = (select.POLLIN if held_up_until is None else 0) | (select.POLLOUT if self._typed else 0)
        wanted = [*self.screen.interests(), (self.master, mask)]
        if self.screen.input_open and len(self._typed) < _MOST_INPUT:
            wanted.append((0, select.POLLIN))
        return wanted, held_up_until

    def handle(self, fd: int, events: int) -> None:
        """Act on one result of poll."""
        if fd == 0:
            self._read_typed(events)
        elif fd != self.master:
            self.screen.flush()
        else:
            if events & select.POLLOUT:
                self._send_typed()
            if events & select.POLLIN:
                self._forward()

    def say(self, text: str) -> None:
        """Put a line of the runner's own among the job's output."""
        data = f"rfsched: {text}\r\n".encode(errors="replace")
        self._log.write(data)
        self.screen.feed(data)

    def drain(self) -> None:
        """Move what the ended job still has in its terminal; waits for the screen no more."""
        while self._forward():
            pass

    def _forward(self) -> bool:
        """Move up to 128 KiB of output in one piece; False when there was none."""
        parts = []
        size = 0
        try:
            while size < _AT_ONCE and (part := os.read(self.master, _CHUNK)):
                parts.append(part)
                size += len(part)
        except OSError:
            pass  # nothing more at present
        data = b"".join(parts)
        if data:
            self._log.write(data)
            self.tail.add(data)
            self.screen.feed(data)
        return bool(data)

    def _read_typed(self, events: int) -> None:
        try:
            data = os.read(0, 4096) if events & select.POLLIN else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._typed += data
            self._send_typed()
        elif self.screen.is_tty and events & _ENDED:
            self.screen.lose()
        else:
            self.screen.input_open = False

    def _send_typed(self) -> None:
        try:
            del self._typed[: os.write(self.master, self._typed)]
        except OSError:
            return
