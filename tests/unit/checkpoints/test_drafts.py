"""Writing: what a crash leaves behind, and who may clear it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from researchflow_tmux.checkpoints import CheckpointError, LocalStore, Part
from researchflow_tmux.job import disk, draft

DYING = """
import os, sys
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.store import Part
def pieces():
    yield b"half"
    os.kill(os.getpid(), 9)
LocalStore(sys.argv[1]).write([Part("deep/a", pieces)], step=1)
"""


def write(store: LocalStore, step: int = 1) -> str:
    return store.write([Part("a", lambda: iter([b"abc"]))], step=step).name


def test_what_a_killed_writer_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", DYING, str(tmp_path)]).returncode == -9
    left = sorted(os.listdir(tmp_path))
    assert len(left) == 2  # the second cleared the first's, and left its own
    store = LocalStore(tmp_path)
    assert store.names() == []
    name = write(store)
    assert os.listdir(tmp_path) == [name]


def test_the_draft_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with draft.Draft(str(tmp_path)) as one:
        draft.clear_leftovers(str(tmp_path))
        assert os.path.isdir(one.path)
        Path(tmp_path, f"{draft._prefix()}x.lock").symlink_to("/dev/null")
        draft.clear_leftovers(str(tmp_path))
        assert os.path.isdir(one.path)


def test_another_hosts_draft_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".draft-otherhost-1-abc.lock").write_text("")
    draft.clear_leftovers(str(tmp_path))
    assert os.listdir(tmp_path) == [".draft-otherhost-1-abc.lock"]


def test_a_lock_cleared_before_it_was_held_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock
    cleared: list[int] = []

    def clear_first(fd: int, operation: int) -> None:
        if not cleared:
            cleared.append(fd)
            os.unlink(tmp_path / "x.lock")
        elif len(cleared) == 1:
            cleared.append(fd)
            os.replace(tmp_path / "x.lock", tmp_path / "old.lock")
            (tmp_path / "x.lock").write_text("")
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", clear_first)
    fd = draft._lock(str(tmp_path / "x.lock"))
    assert os.path.samestat(os.fstat(fd), os.stat(tmp_path / "x.lock"))
    assert len(cleared) == 2
    os.close(fd)


def test_a_file_system_without_locks_works_and_clears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    subprocess.run([sys.executable, "-c", DYING, str(tmp_path)])
    left = set(os.listdir(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    name = write(LocalStore(tmp_path))
    assert set(os.listdir(tmp_path)) == left | {name}


def test_a_place_where_no_directory_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = LocalStore(tmp_path)
    name = write(store)
    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(CheckpointError, match="No space left on device; those saved before are untouched: free some"):
        write(store)
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(CheckpointError, match="was not removed: No space left on device: remove it by hand"):
        store.delete(name)


def test_removing_is_one_step_for_readers_and_no_error_when_another_was_first(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    name = write(store)
    draft.retire(str(tmp_path), name)
    draft.retire(str(tmp_path), name)
    assert os.listdir(tmp_path) == []


def test_directories_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", lambda _fd: refuse(errno.EINVAL))
    disk.sync_dir(str(tmp_path))
    monkeypatch.setattr(os, "fsync", lambda _fd: refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        disk.sync_dir(str(tmp_path))


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    disk.remove(str(tmp_path / "nothing"))


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    facts = disk.write(str(tmp_path / "x"), [b"0123456789"])
    assert ((tmp_path / "x").read_bytes(), facts.size) == (b"0123456789", 10)


def test_memory_without_large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("mmap.MADV_HUGEPAGE", raising=False)
    assert len(disk._memory(disk.PIECE)) == disk.PIECE
