"""The few things the runner asks of the kernel that need more than `os`: signals, prctl, the machine's identity.

The private accelerator modules are used on purpose: `signal` builds enums and `ctypes` builds a type library, which
together cost 15 ms and 1.3 MB in each running attempt.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    try:
        import _signal as signal
    except ImportError:
        import signal

__all__ = ["Signals", "boot_id", "die_with_parent", "hostname", "signal", "signal_name", "subreaper"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NAMES = {1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 10: "USR1", 11: "SEGV"} | {
    12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 24: "XCPU", 25: "XFSZ", 31: "SYS"
}  # fmt: skip


def _prctl(option: int, value: int) -> bool:
    try:
        import _ctypes

        address = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]
        return bool(_ctypes.call_function(address, (option, value, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        return False  # a Python built without libffi: the tree is then found by the cookie in its environment


def subreaper() -> bool:
    """Make orphans of this process's tree its own children; False when the kernel or this Python cannot."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> bool:
    """Have the calling process killed when its parent ends, however that ends."""
    return _prctl(_PR_SET_PDEATHSIG, 9)


def signal_name(number: int) -> str:
    """Return "SIGKILL" for 9, "signal 40" for what has no everyday name."""
    return f"SIG{_NAMES[number]}" if number in _NAMES else f"signal {number}"


def boot_id() -> str:
    """Return the kernel's id of this boot, "" where /proc does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def hostname() -> str:
    """Return the node name that claims carry."""
    return os.uname().nodename


class Signals:
    """Signals as bytes in a pipe, so that one poll waits for everything; none is acted on between two steps."""

    _WANTED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGWINCH)
    _IGNORED = (signal.SIGTTOU, signal.SIGTTIN, signal.SIGTSTP, signal.SIGPIPE)

    def __init__(self) -> None:
        self.fd, writer = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in self._WANTED:
            signal.signal(number, lambda _number, _frame: None)
        for number in self._IGNORED:
            signal.signal(number, signal.SIG_IGN)
        self._unread = b""

    def arrived(self) -> bytes:
        """Return the numbers of the signals that came since the last call, in order."""
        try:
            new = os.read(self.fd, 4096)
        except BlockingIOError:
            new = b""
        found, self._unread = self._unread + new, b""
        return found

    def put_back(self, numbers: bytes) -> None:
        """Let the next `arrived` return `numbers` again."""
        self._unread = numbers
