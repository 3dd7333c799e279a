"""The claim: which one process may run an attempt.

`ATTEMPT_DIR/start` appears once, by link(2), already locked and complete; whoever linked it owns the attempt for good.
The runner keeps its lock until it ends, so a free lock on an existing `start` means that the runner is gone.
"""

from __future__ import annotations

import fcntl
import os
import time

from researchflow_tmux.runner import files, jsontext, kernel, procfs, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NONE = "none"
HELD = "held"
FREE = "free"


class Probe:
    """What `start` says: `state` is "none" (nobody claimed), "held" (the owner lives) or "free" (the owner is gone).

    `content` has pid, start_time, boot_id, host, tag, at, and fenced=True if a scheduler took the attempt away; it is
    {} for "none". A lock tells nothing about another machine or an earlier boot: compare `host` and `boot_id`. It can
    be held for a moment after the runner was killed, by a fork of it that had not become the job yet and dies with it.
    """

    __slots__ = ("content", "state")

    def __init__(self, state: str, content: dict[str, Any]) -> None:
        self.state = state
        self.content = content

    @property
    def fenced(self) -> bool:
        """True when a scheduler's fence, not a runner, owns the attempt: nothing ran and nothing will."""
        return bool(self.content.get("fenced"))


class Claimed:
    """The claim a runner holds: descriptors of the locked `start` and of the preallocated exit record."""

    __slots__ = ("exit_fd", "lock_fd")

    def __init__(self, lock_fd: int, exit_fd: int) -> None:
        self.lock_fd = lock_fd
        self.exit_fd = exit_fd


def path(attempt_dir: str) -> str:
    """Return where the claim of an attempt is."""
    return os.path.join(attempt_dir, "start")


def take(attempt_dir: str, tag: str) -> Claimed | None:
    """Claim the attempt; None if someone else has. OSError: no room for claim or record, and nothing is claimed.

    The exit record is preallocated and durable *before* the link: a full disk then leaves an attempt that nobody
    claimed and that may be issued again, instead of one that looks lost. It goes to disk together with the claim.
    """
    temporary = os.path.join(attempt_dir, f".exit.{os.getpid()}")
    exit_fd = record.preallocate(temporary)
    try:
        lock_fd = _link(attempt_dir, tag, fenced=False, beside=exit_fd)
        if lock_fd is None:
            os.close(exit_fd)
            files.remove(temporary)
            return None
    except OSError:
        os.close(exit_fd)
        files.remove(temporary)
        raise
    os.rename(temporary, record.path(attempt_dir))
    files.sync_dir(attempt_dir)
    return Claimed(lock_fd, exit_fd)


def fence(attempt_dir: str, tag: str = "") -> bool:
    """Take the attempt away from every runner that has not claimed it yet.

    True: this call won, no runner will ever run the attempt. False: it is claimed (or fenced) already: `probe` it.
    """
    lock_fd = _link(attempt_dir, tag, fenced=True)
    if lock_fd is None:
        return False
    os.close(lock_fd)
    files.sync_dir(attempt_dir)
    return True


def probe(attempt_dir: str) -> Probe:
    """Tell who owns the attempt and whether that runner lives; never disturbs the runner."""
    while True:
        try:
            fd = os.open(path(attempt_dir), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return Probe(NONE, {})
        try:
            state = FREE if lockable(fd) else HELD
            content = jsontext.load_dict(os.read(fd, 4096)) or {}
            if same_file(fd, path(attempt_dir)):
                return Probe(state, content)
        finally:
            os.close(fd)


def lockable(fd: int) -> bool:
    """Tell whether no other process holds the exclusive lock of this file; leaves it unlocked on close."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def same_file(fd: int, name: str) -> bool:
    """Tell whether `name` still names the open file `fd`."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, follow_symlinks=False))
    except OSError:
        return False


def _link(attempt_dir: str, tag: str, *, fenced: bool, beside: int | None = None) -> int | None:
    """Link a locked, durable `start`; None when there is one. Lock before link, so it is never seen unlocked.

    The file `beside` is made durable with it: journalling file systems then wait for the disk once for both.
    """
    temporary = os.path.join(attempt_dir, f".start.{os.getpid()}.{time.monotonic_ns()}")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        files.write_all(fd, jsontext.dumps(_content(tag, fenced)).encode())
        os.fsync(fd)
        if beside is not None:
            os.fsync(beside)
        os.link(temporary, path(attempt_dir))
    except FileExistsError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    finally:
        files.remove(temporary)
    return fd


def _content(tag: str, fenced: bool) -> dict[str, Any]:
    pid = os.getpid()
    owner = {"pid": pid, "start_time": procfs.start_time(pid), "boot_id": kernel.boot_id(), "host": kernel.hostname()}
    return owner | {"tag": tag, "at": time.time()} | ({"fenced": True} if fenced else {})
