"""Disks that are full, directories that may not be written, files that are gone."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.results import IndexDamaged, MetadataStorage, StorageBusy, StorageUnusable
from researchflow_tmux.results.base import after_fork

NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """A storage that other users of the machine can reach (pytest's directories are private)."""
    path = Path(tempfile.mkdtemp(prefix="rf-results-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@contextlib.contextmanager
def without_rights(*paths: Path) -> Iterator[None]:
    """Nobody may write `paths`; root, who may everything, becomes somebody else meanwhile."""
    modes = [path.stat().st_mode for path in paths]
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode & ~0o222)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As on a full disk: files cannot grow over `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_directory_that_may_only_be_read(root: Path) -> None:
    MetadataStorage(root).create_entry("a", {"n": 1})
    with without_rights(root, root / ".lock"):
        storage = MetadataStorage(root)
        assert storage.get_entry(metadata_query={"n": 1})["uuid"] == "a"
        with pytest.raises(ValueError, match=r"Failed to create entry: .* cannot be written"):
            storage.create_entry("b")
        with pytest.raises(StorageUnusable, match="reading works"):
            storage.delete_entries("a")
        storage.flush()
        storage.close()
    storage.create_entry("b")
    with without_rights(root, root / ".lock"):
        storage.close()
    assert storage.read_entries()[1] == ["a", "b"]


def test_a_directory_to_read_without_a_lock_file(root: Path) -> None:
    MetadataStorage(root).create_entry("a")
    MetadataStorage(root).update_entry("a", extra_info={"n": 1})
    (root / ".lock").unlink()
    with without_rights(root):
        storage = MetadataStorage(root)
        assert storage.read_entries()[1] == ["a"]
        with pytest.raises(StorageUnusable):
            storage.flush()  # there are two lines for one entry
        storage.close()
    assert not (root / ".lock").exists()


def test_a_lost_index_that_cannot_be_restored_is_read_from_the_backup(root: Path) -> None:
    MetadataStorage(root).create_entry("a")
    (root / "index.json").unlink()
    with without_rights(root, root / ".lock"):
        assert MetadataStorage(root).read_entries()[1] == ["a"]
    assert not (root / "index.json").exists()


def test_an_index_that_may_not_be_read(root: Path) -> None:
    MetadataStorage(root).create_entry("a")
    (root / "index.json").chmod(0o200)
    with without_rights(root), pytest.raises(StorageUnusable, match=r"index.json cannot be read: Permission denied"):
        MetadataStorage(root).read_entries()


def test_a_full_disk_when_a_line_is_added(root: Path) -> None:
    storage = MetadataStorage(root)
    storage.create_entry("a")
    before = (root / "index.json").read_bytes()
    with largest_file(len(before) + 100):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"(?s)File too large.*nothing was stored.*make room"):
                storage.create_entry("b", {"text": "x" * 500})
            assert (root / "index.json").read_bytes() == before
        assert storage.read_entries()[1] == ["a"]
    assert (root / "index.json").read_bytes() == before
    storage.create_entry("c")
    assert MetadataStorage(root).read_entries()[1] == ["a", "c"]


def test_a_full_disk_when_files_are_replaced(root: Path) -> None:
    storage = MetadataStorage(root)
    for uuid in "abc":
        storage.create_entry(uuid)
    before = {name: (root / name).read_bytes() for name in ("index.json", "index.json.backup")}
    with largest_file(100), pytest.raises(StorageUnusable, match="nothing was stored"):
        storage.delete_entries("a")
    assert {name: (root / name).read_bytes() for name in before} == before
    assert {path.name for path in root.iterdir()} == {*before, ".lock"}
    assert storage.read_entries()[1] == ["a", "b", "c"]


def test_a_backup_that_cannot_follow_is_made_anew(root: Path) -> None:
    storage = MetadataStorage(root)
    storage.create_entry("a")
    (root / "index.json.backup").unlink()
    (root / "index.json.backup").mkdir()
    with pytest.raises(ValueError, match="Is a directory"):
        storage.create_entry("b")
    (root / "index.json.backup").rmdir()
    storage.create_entry("b")
    assert json.loads((root / "index.json.backup").read_bytes()).keys() == {"a", "b"}


def test_a_backup_that_may_not_be_written_is_replaced_with_the_next_change(root: Path) -> None:
    storage = MetadataStorage(root)
    storage.create_entry("a")
    index, backup = root / "index.json", root / "index.json.backup"
    for path, mode in ((root, 0o777), (index, 0o666), (root / ".lock", 0o666)):
        path.chmod(mode)
    before = backup.read_bytes()
    with without_rights(backup):
        storage.create_entry("b")
        assert (json.loads(index.read_bytes()).keys(), backup.read_bytes()) == ({"a", "b"}, before)
        storage.create_entry("c")
    assert json.loads(backup.read_bytes()).keys() == {"a", "b", "c"} == storage.index_data.keys()


def test_a_directory_that_cannot_be_made(root: Path) -> None:
    (root / "file").write_text("")
    for place in (root / "file", root / "file" / "below"):
        with pytest.raises(StorageUnusable, match="cannot be made a directory"):
            MetadataStorage(place)


def test_a_directory_that_goes_away_and_comes_back(root: Path) -> None:
    place = root / "storage"
    storage = MetadataStorage(place)
    storage.create_entry("a")
    shutil.rmtree(place)
    with pytest.raises(StorageUnusable, match="No such file"):
        storage.read_entries()
    with pytest.raises(ValueError, match="Failed to create entry"):
        storage.create_entry("b")
    storage.close()
    place.mkdir()
    assert storage.read_entries() == ([], [])
    storage.create_entry("c")
    assert storage.read_entries()[1] == ["c"]


def test_rights_of_the_index_stay(root: Path) -> None:
    storage = MetadataStorage(root)
    storage.create_entry("a")
    (root / "index.json").chmod(0o664)
    storage.delete_entries("a")
    assert (root / "index.json").stat().st_mode & 0o777 == 0o664


def test_two_contents_never_look_alike(root: Path) -> None:
    """Even if the clock of the file system stands still, or goes back."""
    storage, other = MetadataStorage(root), MetadataStorage(root)
    storage.create_entry("a")
    storage.create_entry("b")
    future = (root / "index.json").stat().st_mtime_ns + 10**12
    os.utime(root / "index.json", ns=(future, future))
    assert other.read_entries()[1] == ["a", "b"]
    storage.delete_entries("a")
    assert (root / "index.json").stat().st_mtime_ns > future
    assert other.read_entries()[1] == ["b"]


def test_a_lock_file_that_is_deleted_under_its_holder(root: Path) -> None:
    storage, other = MetadataStorage(root), MetadataStorage(root)
    storage.create_entry("a")
    (root / ".lock").unlink()
    other.create_entry("b")
    storage.create_entry("c")
    assert other.read_entries()[1] == ["a", "b", "c"]


def test_a_lock_file_without_room(root: Path) -> None:
    """The note in it only saves time."""
    storage = MetadataStorage(root)
    storage.create_entry("a")
    (root / ".lock").write_text("")
    with largest_file(0):
        storage._leave(b"note")
    assert (root / ".lock").read_bytes() == b""
    storage.create_entry("b")
    assert MetadataStorage(root).read_entries()[1] == ["a", "b"]


def test_the_index_is_damaged_while_the_lock_is_held(root: Path) -> None:
    storage = MetadataStorage(root)
    storage.create_entry("a")
    storage._acquire_lock()
    for name in ("index.json", "index.json.backup"):
        (root / name).write_text("{")
    with pytest.raises(IndexDamaged):
        storage._acquire_lock()
    assert storage._lock_count == 1
    storage._release_lock()
    MetadataStorage(root, lock_timeout_s=0.05)._lock.acquire(exclusive=True)


def test_closing_while_the_lock_is_held_keeps_it(root: Path) -> None:
    storage = MetadataStorage(root)
    storage._acquire_lock()
    storage.close()
    with pytest.raises(StorageBusy):
        MetadataStorage(root, lock_timeout_s=0.05)._acquire_lock()
    storage._release_lock()


def test_after_a_fork_the_child_starts_anew(root: Path) -> None:
    storage = MetadataStorage(root)
    storage._acquire_lock()
    after_fork()  # what happens in a real child: tests/acceptance/test_results_processes.py
    assert storage._lock_count == 0
    storage.create_entry("a")
    assert storage.read_entries()[1] == ["a"]


def test_flush_leaves_one_line_an_entry(root: Path) -> None:
    with MetadataStorage(root) as storage:
        storage.flush()
        assert not (root / "index.json").exists()
        storage.create_entry("a")
        for number in range(5):
            storage.update_entry("a", extra_info={"n": number})
        assert (root / "index.json").read_bytes().count(b'"metadata"') == 6
    assert (root / "index.json").read_bytes().count(b"\n") == 3
    assert (root / "index.json").read_bytes() == (root / "index.json.backup").read_bytes()
    before = (root / "index.json").stat()
    MetadataStorage(root).flush()
    (root / "index.json.backup").unlink()
    with MetadataStorage(root) as reader:
        assert reader.read_entries()[1] == ["a"]
    assert (root / "index.json").stat() == before
    assert repr(storage) == f"MetadataStorage({str(root)!r})"


def test_lines_that_were_replaced_are_cleared_away(root: Path) -> None:
    storage = MetadataStorage(root, durable=False)
    storage.create_entry("a")
    for number in range(2500):
        storage.update_entry("a", extra_info={"n": number})
    assert (root / "index.json").read_bytes().count(b"\n") < 1100
    assert storage.get_entry("a")["extra_info"] == {"n": 2499}


def test_another_instance_notices_what_stat_alone_would_not_tell(root: Path) -> None:
    storage, other = MetadataStorage(root), MetadataStorage(root)
    storage.create_entry("a", {"n": 1})
    assert other.read_entries()[1] == ["a"]
    content = (root / "index.json").read_bytes()
    (root / "index.json").write_bytes(content.replace(b'"n":1', b'"n":2')[:-3] + b'\n,"b":{}\n}\n')  # edited in place
    (root / "index.json.backup").unlink()
    assert other.read_entries()[0] == [{"uuid": "a", "metadata": {"n": 2}, "extra_info": {}, "attachments": {}}, {}]
    other.update_entry("b", metadata={"x": 1})
    assert storage.get_entry("b") == {"metadata": {"x": 1}}


def test_additions_that_cannot_be_understood_are_read_from_the_start(root: Path) -> None:
    storage, other = MetadataStorage(root), MetadataStorage(root)
    storage.create_entry("a")
    other.read_entries()
    storage.create_entry("b")
    index, note = root / "index.json", json.loads((root / ".lock").read_bytes())
    index.write_bytes(index.read_bytes().replace(b',"b": ', b'\n"b": '))
    stat = index.stat()
    note[1] = [stat.st_ino, stat.st_size, stat.st_mtime_ns]
    (root / ".lock").write_text(json.dumps(note))
    assert other.read_entries()[1] == ["a", "b"]  # from the backup
