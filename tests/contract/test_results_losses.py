"""Every way in which the original was seen to lose results: here it must not."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from researchflow_tmux.results import EntryError, IndexDamaged, MetadataStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def storage(root: Path) -> MetadataStorage:
    """Two entries with a file each, and a file that belongs to neither."""
    storage = MetadataStorage(root)
    for name in ("one", "two", "stray"):
        (root / f"{name}.pt").write_text(name)
    for name in ("one", "two"):
        storage.create_entry(name, metadata={"name": name}, attachments={"weights": f"{name}.pt"})
    return storage


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_duplicate_uuid_leaves_the_old_entry_and_its_files(storage: MetadataStorage, root: Path) -> None:
    before = files(root)
    for metadata in (None, {"other": 1}):
        with pytest.raises(ValueError, match="Failed to create entry: UUID one already exists"):
            storage.create_entry("one", metadata=metadata, attachments={"weights": "other.pt"})
    assert files(root) == before
    assert storage.get_entry("one")["metadata"] == {"name": "one"}


def test_reading_deletes_nothing(storage: MetadataStorage, root: Path) -> None:
    before = files(root)
    for reader in (storage, MetadataStorage(root)):
        reader.read_entries()
        reader.get_entry("one")
        reader.get_storage_stats()
        reader.find({"name": "one"})
        reader.verify()
        reader._acquire_lock()
        reader._release_lock()
    assert files(root) == before


def test_a_path_object_is_an_attachment_like_any_other(storage: MetadataStorage, root: Path) -> None:
    (root / "three.pt").write_text("three")
    storage.create_entry("three", metadata={"where": Path("a/b")}, attachments={"weights": Path("three.pt")})
    storage.create_entry("whole", attachments={"weights": root / "one.pt", "in": {"deep": Path("four/five")}})
    assert (root / "three.pt").read_text() == "three"
    assert storage.get_entry("three")["attachments"] == {"weights": "three.pt"}
    assert storage.get_entry("three")["metadata"] == {"where": "a/b"}
    assert (root / "four/five").is_dir()
    storage.delete_entries("three")
    assert not (root / "three.pt").exists()


def test_a_missing_index_comes_back_from_the_backup(storage: MetadataStorage, root: Path) -> None:
    before, entries = files(root), storage.read_entries()
    for reader in (storage, MetadataStorage(root)):
        (root / "index.json").unlink()
        assert reader.read_entries() == entries
        assert (
            root / "index.json"
        ).exists()  # restored at once, for programs that take a missing index for an empty one
        assert files(root).keys() == before.keys()
    storage.create_entry("three")
    assert MetadataStorage(root).read_entries()[1] == ["one", "two", "three"]


@pytest.mark.parametrize("damage", [b"", b"{broken", b"[1, 2]", b'{"one": 3}', b"\0" * 500, b"{\n", b'{\n"one": {"uu'])
def test_a_damaged_index_comes_back_from_the_backup(storage: MetadataStorage, root: Path, damage: bytes) -> None:
    entries = storage.read_entries()
    (root / "index.json").write_bytes(damage)
    assert MetadataStorage(root).read_entries() == entries
    assert storage.read_entries() == entries
    assert json.loads((root / "index.json").read_bytes()).keys() == {"one", "two"}
    assert (root / ".index.json.tmp.damaged").read_bytes() == damage
    assert (root / "stray.pt").exists()


@pytest.mark.parametrize(
    ("index", "backup"),
    [(b"{broken", None), (b"{broken", b"{broken"), (b"", None), (b"", b""), (None, b""), (b'{\n"a": {}\n,"b', None)],
)
def test_both_damaged_is_refused_and_touched_by_nothing(
    storage: MetadataStorage, root: Path, index: bytes | None, backup: bytes | None
) -> None:
    for name, content in (("index.json", index), ("index.json.backup", backup)):
        (root / name).unlink()
        if content is not None:
            (root / name).write_bytes(content)
    before = files(root)
    for user in (storage, MetadataStorage(root)):
        for refused in (
            user.read_entries,
            user.create_entry,
            lambda user=user: user.delete_entries("one"),
            user.cleanup_orphaned_files,
            lambda user=user: user.collect_garbage(dry_run=False),
            user._acquire_lock,
            user.flush,
        ):
            with pytest.raises(ValueError, match=r"(?s)nothing was changed.*(repair|restore)"):
                refused()
        assert user._lock_count == 0
        with pytest.raises(IndexDamaged):
            user.read_entries()
        assert [finding.uuid for finding in user.verify()] == [None]
    assert files(root) == before


def test_both_gone_is_an_empty_storage_whose_files_stay(storage: MetadataStorage, root: Path) -> None:
    for name in ("index.json", "index.json.backup"):
        (root / name).unlink()
    assert storage.read_entries() == ([], [])
    assert MetadataStorage(root).read_entries() == ([], [])
    storage.create_entry("new")
    assert {"one.pt", "two.pt", "stray.pt"} <= files(root).keys()


def test_nothing_outside_the_storage_is_deleted(tmp_path: Path, storage: MetadataStorage, root: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data.pt").write_text("data")
    (root / "link").symlink_to(outside)
    (root / "own_link").symlink_to(outside / "data.pt")
    paths = [
        "../outside/data.pt",
        "../outside",
        str(outside / "data.pt"),
        "link/data.pt",
        "one/../../outside",
        "own_link",
    ]
    paths += [
        "",
        ".",
        "..",
        "/",
        str(root),
        str(tmp_path),
        "index.json",
        ".lock",
        "index.json.backup",
        "a/../index.json",
    ]
    storage.create_entry("bad", attachments={str(number): path for number, path in enumerate([*paths, "bad\0name"])})
    assert storage.delete_entries("bad") == 1
    assert (outside / "data.pt").read_text() == "data"
    assert not (root / "own_link").is_symlink()  # the link was in the storage, its target was not
    assert MetadataStorage(root).read_entries()[1] == ["one", "two"]
    assert {"index.json", "index.json.backup", ".lock", "one.pt", "stray.pt"} <= files(root).keys()


def test_an_attachment_of_two_entries_goes_with_the_last_one(storage: MetadataStorage, root: Path) -> None:
    (root / "runs/1").mkdir(parents=True)
    for name in ("runs/1/best.pt", "runs/1/last.pt", "runs/log.txt"):
        (root / name).write_text(name)
    storage.create_entry("all", attachments={"runs": "runs", "same": "one.pt"})
    storage.create_entry("best", attachments={"weights": "runs/1/best.pt"})
    storage.create_entry("first", attachments={"dir": "runs/1"})
    storage.delete_entries("first")  # it lies in "all"
    assert (root / "runs/1/last.pt").exists()
    storage.delete_entries("all")
    assert {name for name in files(root) if name.startswith("runs")} == {"runs/1/best.pt"}
    assert (root / "one.pt").exists()
    storage.delete_entries(["best", "one"])
    assert not (root / "runs/1/best.pt").exists()
    assert not (root / "one.pt").exists()


def test_deleting_without_a_query_is_refused(storage: MetadataStorage, root: Path) -> None:
    before = files(root)
    with pytest.raises(EntryError, match="nothing was deleted"):
        storage.delete_entries()
    assert storage.delete_entries(uuid_query=[]) == 0
    assert files(root) == before
    assert storage.delete_entries(metadata_query={}) == 2


def test_one_instance_serves_many_threads(root: Path) -> None:
    storage = MetadataStorage(root, durable=False)
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for step in range(25):
                uuid = storage.create_entry(metadata={"thread": number, "step": step})
                storage.update_entry(uuid, extra_info={"done": True})
                assert storage.get_entry(metadata_query={"thread": number, "step": step})["uuid"] == uuid
                if step % 5 == 0:
                    assert storage.delete_entries(uuid) == 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(MetadataStorage(root).read_entries(metadata_query={"step": 24})[1]) == 8
    assert len(storage.read_entries()[1]) == 8 * 20
    assert storage._lock_count == 0


def test_each_thread_may_have_an_instance_of_its_own(root: Path) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        storage = MetadataStorage(root, durable=False)
        try:
            for step in range(10):
                storage._acquire_lock()
                uuid = storage.create_entry(metadata={"thread": number, "step": step})
                storage._release_lock()
                storage.update_entry(uuid, extra_info={"done": True})
                storage.cleanup_orphaned_files()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    entries, uuids = MetadataStorage(root).read_entries()
    assert len(set(uuids)) == 120
    assert all(entry["extra_info"] == {"done": True} for entry in entries)


def test_filling_is_linear_and_queries_do_not_look_at_everything(root: Path) -> None:
    """Bounds far above what was measured (see the benchmark), far below what O(n) per create costs."""
    storage = MetadataStorage(root, durable=False)
    start = time.perf_counter()
    for number in range(5000):
        storage.create_entry(metadata={"seed": number, "model": "bert", "training": {"lr": number / 7}})
    assert time.perf_counter() - start < 15
    storage.read_entries(metadata_query={"seed": 1})
    start = time.perf_counter()
    for number in range(100):
        assert len(storage.read_entries(metadata_query={"model": "bert", "seed": number})[1]) == 1
    assert time.perf_counter() - start < 0.5
    shutil.rmtree(root)
