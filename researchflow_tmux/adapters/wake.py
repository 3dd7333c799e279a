"""The FIFO `.rfsched/wake`: a line in it makes the scheduler look at once.

A runner writes its attempt's tag, so that only that attempt is looked at; an empty line means: look at everything.

It only makes things faster: the scheduler's sweep finds everything without it. So a file system without FIFOs, a FIFO
that somebody deleted and a scheduler that is not there are no errors.
"""

from __future__ import annotations

import contextlib
import os
import stat


def ensure(path: str) -> bool:
    """Make the FIFO unless it is there; False = this file system has none."""
    with contextlib.suppress(FileExistsError):
        try:
            os.mkfifo(path, 0o600)
        except FileExistsError:
            raise
        except OSError:
            return False
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def wake(path: str) -> bool:
    """Poke whoever reads the FIFO; False = nobody does."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:  # ENXIO: no reader; ENOENT: no FIFO
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return False
        os.write(fd, b"\n")
    except BlockingIOError:  # full: it is as awake as can be
        return True
    except OSError:  # the reader went away in between
        return False
    finally:
        os.close(fd)
    return True


class WakeReader:
    """The scheduler's end. `fileno()` belongs in a selector; after it was readable call `drain()`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._spare: int | None = None
        self._fd = self._open()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        if ensure(self.path):
            # Read and write: without a writer of our own, the last client's leaving would make it readable forever.
            with contextlib.suppress(OSError):
                return os.open(self.path, flags)
        # No FIFO to be had: a pipe that nobody else writes to, so that callers need not know.
        reading, self._spare = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        return reading

    @property
    def works(self) -> bool:
        """False = nobody can poke us (no FIFOs here): only the sweep finds requests."""
        return self._spare is None

    def fileno(self) -> int:
        """The descriptor to select on."""
        return self._fd

    def drain(self) -> list[str]:
        """Take everything out: the lines that were written."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._fd, 65536):
                data += part
        return data.decode(errors="replace").splitlines()

    def close(self) -> None:
        """Give the descriptor back; the FIFO stays."""
        for fd in (self._fd, self._spare):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._fd, self._spare = -1, None
