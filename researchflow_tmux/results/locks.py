"""The lock of a storage directory: `flock` on its `.lock` file, which other programs for the same format take too.

The kernel gives it back when its holder dies. The file's content belongs to whoever holds the lock: see `Seal`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from researchflow_tmux.mounts import Mount, is_network_type, mount_of
from researchflow_tmux.results.errors import StorageBusy, StorageUnusable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.0001, 0.01
_NO_WRITE = (errno.EACCES, errno.EROFS, errno.EPERM)
_NO_LOCKS = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)
_LOCKS_OF_ALL_MACHINES = frozenset({"beegfs", "ceph", "gfs2", "glusterfs", "fuse.glusterfs", "gpfs", "ocfs2", "wekafs"})


class DirectoryLock:
    """One process's hold on a lock file, for one thread at a time (the caller sees to that)."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._fd = -1
        self._writable = False

    def acquire(self, *, exclusive: bool) -> bool:
        """Wait for the lock. False = this directory cannot be written and has no lock file: nobody can lock it.

        Raises StorageBusy after the time limit; StorageUnusable where locks or (if exclusive) writing cannot work.
        """
        deadline = time.monotonic() + self._timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            if not self._open(exclusive=exclusive):
                return False
            if self._try(fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH):
                if self._is_the_file():
                    return True
                self.close()  # deleted while we waited: the next holder would lock another file
                continue
            if time.monotonic() > deadline:
                raise StorageBusy(
                    f"{self.path}: locked for more than {self._timeout_s:g} s{self._holder()}",
                    hint="wait for that process, or end it: the lock goes with it",
                )
            time.sleep(pause_s)  # noqa: TID251 - a lock with a deadline: flock itself waits forever or not at all
            pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)

    def release(self) -> None:
        """Give the lock back. The file stays open for the next time."""
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, and with it the lock unless a forked process shares it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read_note(self) -> bytes:
        """What the last holder left in the file."""
        return os.pread(self._fd, 4096, 0) if self._fd >= 0 else b""

    def write_note(self, note: bytes) -> None:
        """Leave a note for the next holder. Only while the lock is held exclusively."""
        os.pwrite(self._fd, note, 0)
        os.ftruncate(self._fd, len(note))

    def _open(self, *, exclusive: bool) -> bool:
        if self._fd >= 0 and (self._writable or not exclusive):
            return True
        self.close()
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            self._writable = True
        except OSError as error:
            if exclusive or error.errno not in _NO_WRITE:
                raise self._cannot_write(error) from error
            return self._open_to_read()
        return True

    def _open_to_read(self) -> bool:
        self._writable = False
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        return True

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise StorageUnusable(
                    f"{self.path}: this file system cannot lock files ({error.strerror})", hint=_ELSEWHERE
                ) from error
            return False
        return True

    def _is_the_file(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except OSError:
            return False

    def _holder(self) -> str:
        """Who has it, from the kernel's list: " by process 123", or nothing when it cannot be told."""
        inode = str(os.fstat(self._fd).st_ino)
        try:
            with open("/proc/locks", encoding="ascii") as file:
                fields = [line.split() for line in file]
        except OSError:
            return ""
        pids = {one[4] for one in fields if len(one) > 5 and one[1] == "FLOCK" and one[5].rpartition(":")[2] == inode}
        return f" by process {', '.join(sorted(pids))}" if pids else ""

    def _cannot_write(self, error: OSError) -> StorageUnusable:
        return StorageUnusable(
            f"{os.path.dirname(self.path)} cannot be written: {error.strerror}",
            hint="reading works without; to write, get the rights to it or copy it to a place of your own",
        )


_ELSEWHERE = (
    "put the storage on a disk of this machine, or mount it with locks (NFS without `nolock` and `local_lock`, Lustre "
    "with `flock`); if no other machine ever uses it, pass single_machine=True"
)


def why_unlockable(mount: Mount | None) -> str | None:
    """Why a lock on this mount would not keep other machines out; None if it would, or if there are none."""
    if mount is None or not is_network_type(mount.kind) or mount.kind in _LOCKS_OF_ALL_MACHINES:
        return None
    if mount.kind in {"nfs", "nfs4"}:
        own = {"nolock", "local_lock=flock", "local_lock=all"} & mount.options
        return f"it is mounted with {min(own)}" if own else None
    if mount.kind == "lustre":
        return None if "flock" in mount.options else "it is mounted without flock"
    if mount.kind in {"cifs", "smb3"}:
        return "it is mounted with nobrl" if "nobrl" in mount.options else None
    return "its locks are known on this machine alone"


def is_shared(directory: str, *, single_machine: bool) -> bool:
    """True if other machines may change the directory. Raises StorageUnusable if no lock would hold them off."""
    if single_machine:
        return False
    mount = mount_of(directory)
    reason = why_unlockable(mount)
    if reason is not None and mount is not None:
        raise StorageUnusable(f"{directory} is on {mount.kind}, and {reason}", hint=_ELSEWHERE)
    return mount is not None and is_network_type(mount.kind)
