"""A child process that runs code of the user's: JSON lines on pipes, each with a deadline, killed when it is over."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

READ_BYTES = 1 << 20


class UserChild:
    """One process. Neither what it does nor what it leaves undone can hold its parent up."""

    def __init__(self, command: Sequence[str], directory: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start it in `directory`. Raises OSError."""
        self._monotonic = monotonic
        self._received = b""
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=directory,
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self.began_s = monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None = it lives."""
        return self._process.poll()

    def send(self, data: bytes, limit_s: float) -> bool:
        """Write a line; False = it did not take all of it within `limit_s`. Raises OSError when it is gone."""
        assert self._process.stdin is not None
        fd = self._process.stdin.fileno()
        until = self._monotonic() + limit_s
        left = memoryview(data + b"\n")
        while left:
            if not _ready(fd, select.POLLOUT, until - self._monotonic()):
                return False
            left = left[os.write(fd, left) :]
        return True

    def receive(self, limit_s: float) -> dict[str, Any] | None:
        """The next line; None = there is none within `limit_s`.

        Raises OSError when the child is gone, ValueError when the line is no JSON.
        """
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        until = self._monotonic() + limit_s
        while b"\n" not in self._received:
            if not _ready(fd, select.POLLIN, until - self._monotonic()):
                return None
            part = os.read(fd, READ_BYTES)
            if not part:
                raise OSError(self._end())
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kill it, and let nothing of it be left."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)

    def _end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
            return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
        return "it closed its pipes"


def _ready(fd: int, wanted: int, limit_s: float) -> bool:
    poller = select.poll()
    poller.register(fd, wanted)
    return bool(poller.poll(max(0.0, limit_s) * 1000))


def written(path: str) -> tuple[int, int] | None:
    """Changes when somebody writes the file; None = it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
