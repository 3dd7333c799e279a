"""One writer per workspace: a kernel lock on `.rfsched/lock`, and in the file who holds it.

The kernel frees the lock when its holder dies, kill -9 included. The content is for people and for what no local kernel
can know: that a scheduler of another machine (a shared home) went away without a word. A clean release empties it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import StoreError, WorkspaceBusy, WorkspaceElsewhere
from researchflow_tmux.domain.workspace import WorkspacePaths

PROBE_GRACE_S = 0.25
"""Acquiring takes no for an answer only after this: a mere look at the lock holds it for microseconds."""
PAUSE_S = 0.001

Role = Literal["scheduler", "cli"]


class LockHolder(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder wrote about itself."""

    pid: int
    role: Role
    host: str
    boot_id: str
    session: str | None = None
    started_at: datetime | None = None

    def __str__(self) -> str:
        what = "a scheduler" if self.role == "scheduler" else "a command"
        where = f", session {self.session}" if self.session else ""
        return f"{what} (pid {self.pid} on {self.host}{where})"


class Lock:
    """The lock, held. Give it back with `release`; a process that dies gives it back anyway."""

    def __init__(self, fd: int, path: str, holder: LockHolder) -> None:
        self.path = path
        self.holder = holder
        self._fd = fd
        _HELD.add(self)

    def release(self) -> None:
        """End cleanly: empty the file, free the lock. Twice is fine."""
        if self._fd >= 0:
            try:
                os.ftruncate(self._fd, 0)
            finally:
                self.forget()

    def forget(self) -> None:
        """Close the descriptor without a word in the file, as a killed process would."""
        fd, self._fd = self._fd, -1
        _HELD.discard(self)
        if fd >= 0:
            os.close(fd)

    def still_ours(self) -> bool:
        """False = the file was deleted or replaced under us: another scheduler can start, so this one must stop."""
        return self._fd >= 0 and _same_file(self._fd, self.path)

    def tell_session(self, session: str | None) -> None:
        """Write down another session name (after the tmux server died and a new session was opened)."""
        self.holder = msgspec.structs.replace(self.holder, session=session)
        _write(self._fd, self.holder)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_HELD: set[Lock] = set()


def _forget_all() -> None:
    # A forked child shares the lock: it would outlive the scheduler in a helper that never calls exec.
    for lock in list(_HELD):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)


def acquire(paths: WorkspacePaths, role: Role, wait_s: float = 0.0, *, session: str | None = None) -> Lock:
    """Take the lock, waiting up to `wait_s` for its holder. Raises WorkspaceBusy naming whoever is in the way."""
    clock = SystemClock()
    me = LockHolder(
        pid=os.getpid(),
        role=role,
        host=os.uname().nodename,
        boot_id=clock.boot_id,
        session=session,
        started_at=clock.now(),
    )
    fd = _lock_file(paths.lock, max(wait_s, PROBE_GRACE_S))
    try:
        _refuse_foreign(_read(fd), me, paths.lock)
        _write(fd, me)
    except BaseException:
        os.close(fd)
        raise
    return Lock(fd, paths.lock, me)


def holder(paths: WorkspacePaths) -> LockHolder | None:
    """Who holds the lock now; None = nobody."""
    deadline = time.monotonic() + PROBE_GRACE_S
    while True:
        try:
            fd = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(paths.lock, error) from error
        try:
            if _try_lock(fd, fcntl.LOCK_SH):
                return None
            found = _read(fd)
        finally:
            os.close(fd)
        if found is not None:
            return found
        if time.monotonic() > deadline:  # locked, and it says nothing: an acquirer that was stopped halfway
            return LockHolder(pid=0, role="cli", host="unknown", boot_id="")
        _pause()


def refuse_foreign_attempts(attempts: Iterable[Attempt], lock: Lock) -> None:
    """Raise WorkspaceElsewhere if live attempts are another machine's: their locks and processes are out of sight."""
    me = lock.holder
    for attempt in attempts:
        if attempt.live and attempt.boot_id != me.boot_id and attempt.hostname != me.host:
            raise WorkspaceElsewhere(
                f"job {attempt.job_id} of this workspace runs on {attempt.hostname}; this is {me.host}",
                hint=f"use rfsched on {attempt.hostname}, or wait there until its jobs have ended",
            )


def _lock_file(path: str, wait_s: float) -> int:
    """An exclusively locked descriptor of the file that `path` names at this moment."""
    deadline = time.monotonic() + wait_s
    while True:
        fd = _open(path)
        if _try_lock(fd, fcntl.LOCK_EX) and _same_file(fd, path):
            return fd
        found = _read(fd)
        os.close(fd)
        if time.monotonic() > deadline:
            raise WorkspaceBusy(
                f"{os.path.dirname(path)} is in use by {found or 'another process'}",
                hint="`rfsched status` shows it; `rfsched stop` ends a scheduler",
            )
        _pause()


def _open(path: str) -> int:
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            f"this file system cannot lock files: {error.strerror}",
            hint="put the workspace on a local disk; two schedulers could not be told apart here",
        ) from error
    return True


def _same_file(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def _read(fd: int) -> LockHolder | None:
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=LockHolder)
    except msgspec.MsgspecError:  # empty (released cleanly), or being written
        return None


def _write(fd: int, content: LockHolder) -> None:
    data = msgspec.json.encode(content) + b"\n"
    os.pwrite(fd, data, 0)
    os.ftruncate(fd, len(data))


def _refuse_foreign(last: LockHolder | None, me: LockHolder, path: str) -> None:
    """Refuse after a scheduler of another machine that did not say goodbye: its jobs may still run there.

    The same boot id is the same machine under another name (a container); the same name is this machine rebooted.
    """
    if last is None or last.role != "scheduler" or last.boot_id == me.boot_id or last.host == me.host:
        return
    raise WorkspaceElsewhere(
        f"{last} used this workspace and did not end cleanly; this is {me.host}",
        hint=f"run `rfsched stop` on {last.host}; if that machine is gone for good, delete {path}",
    )


def _unusable(path: str, error: OSError) -> StoreError:
    return StoreError(f"{path}: {error.strerror}", hint="check that you own its directory and may write there")


def _pause() -> None:
    time.sleep(PAUSE_S)  # noqa: TID251 - a lock with a deadline: flock itself can only wait forever or not at all
