"""Which network disks can be trusted with a lock."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from researchflow_tmux.mounts import Mount
from researchflow_tmux.results import MetadataStorage, StorageUnusable
from researchflow_tmux.results import locks as module
from researchflow_tmux.results.locks import is_shared, why_unlockable


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("ext4", "rw", None),
        ("nfs4", "rw,vers=4.2,local_lock=none", None),
        ("nfs", "rw,local_lock=flock", "local_lock=flock"),
        ("nfs", "rw,local_lock=all,nolock", "local_lock=all"),
        ("nfs", "rw,nolock", "nolock"),
        ("lustre", "rw,flock", None),
        ("lustre", "rw,localflock", "without flock"),
        ("cifs", "rw,nobrl", "nobrl"),
        ("smb3", "rw", None),
        ("ceph", "rw", None),
        ("fuse.glusterfs", "rw", None),
        ("fuse.sshfs", "rw", "on this machine alone"),
        ("9p", "rw", "on this machine alone"),
        ("afs", "rw", "on this machine alone"),
    ],
)
def test_mounts(kind: str, options: str, reason: str | None) -> None:
    why = why_unlockable(Mount("/x", kind, frozenset(options.split(","))))
    assert why is None if reason is None else why is not None and reason in why


def test_nothing_known_is_taken_for_a_disk_of_this_machine() -> None:
    assert why_unlockable(None) is None


class NetworkDisk:
    """Stands for the kernel's list of mounts: one disk, under everything."""

    def __init__(self, kind: str, *options: str) -> None:
        self.mount = Mount("/", kind, frozenset(options))

    def __call__(self, path: str) -> Mount:
        return self.mount


def test_a_disk_without_locks_is_refused_unless_it_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "mount_of", NetworkDisk("fuse.sshfs"))
    with pytest.raises(StorageUnusable, match=r"(?s)is on fuse.sshfs.*single_machine=True"):
        MetadataStorage(tmp_path)
    assert list(tmp_path.iterdir()) == []
    MetadataStorage(tmp_path, single_machine=True).create_entry("a")


def test_on_a_shared_disk_each_look_takes_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "mount_of", NetworkDisk("nfs4", "local_lock=none"))
    assert is_shared(str(tmp_path), single_machine=False)
    storage, other = MetadataStorage(tmp_path, lock_timeout_s=0.05), MetadataStorage(tmp_path)
    storage.create_entry("a")
    assert other.read_entries()[1] == ["a"]
    other.create_entry("b")
    assert storage.read_entries()[1] == ["a", "b"]
    other._acquire_lock()
    with pytest.raises(RuntimeError):
        storage.read_entries()
    other._release_lock()


def test_a_file_system_that_cannot_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    storage = MetadataStorage(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StorageUnusable, match="cannot lock files"):
        storage._acquire_lock()
    monkeypatch.undo()
    assert storage._lock_count == 0
    storage.create_entry("a")


def refuse_to_open(*_: object, **__: object) -> None:
    """Stands for a /proc that is not mounted."""
    raise FileNotFoundError


def test_a_holder_that_cannot_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = module.DirectoryLock(str(tmp_path / ".lock"), 1)
    assert lock.acquire(exclusive=True)
    held = f"{lock._holder()}"
    lock.release()
    assert (held, lock._holder()) == (f" by process {__import__('os').getpid()}", "")
    monkeypatch.setattr(module, "open", refuse_to_open, raising=False)
    assert lock._holder() == ""
    lock.close()
    lock.release()
    assert lock.read_note() == b""
