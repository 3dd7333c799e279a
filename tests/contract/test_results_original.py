"""What programs written for the original storage count on: its API, its errors, its matching rules, its files."""

from __future__ import annotations

import fcntl
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.results import EntryError, MetadataStorage


@pytest.fixture
def storage(tmp_path: Path) -> MetadataStorage:
    return MetadataStorage(str(tmp_path / "storage"))


def on_disk(storage: MetadataStorage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(storage.index_file.read_text("utf-8"))
    return found


def write_like_the_original(root: Path, entries: dict[str, Any]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps(entries, ensure_ascii=False, indent=2)
    (root / "index.json").write_text(text, "utf-8")


def entry(uuid: str, **metadata: Any) -> dict[str, Any]:
    return {"uuid": uuid, "metadata": metadata, "extra_info": {}, "attachments": {}}


def test_attributes_of_a_new_storage(tmp_path: Path) -> None:
    storage = MetadataStorage(str(tmp_path / "new" / "storage"))
    assert storage.storage_dir == tmp_path / "new" / "storage"
    assert storage.storage_dir.is_dir()
    assert storage.index_file == storage.storage_dir / "index.json"
    assert storage.lock_file == storage.storage_dir / ".lock"
    assert storage.index_data == {}
    assert isinstance(storage.index_data, dict)
    assert storage._lock_count == 0


def test_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert MetadataStorage().storage_dir == Path("storage")
    assert (tmp_path / "storage").is_dir()


def test_an_empty_entry(storage: MetadataStorage) -> None:
    uuid = storage.create_entry()
    assert storage.read_entries(uuid_query=uuid) == ([entry(uuid)], [uuid])


def test_every_change_is_plain_json_on_disk_at_once(storage: MetadataStorage) -> None:
    first = storage.create_entry(metadata={"model": "größe", "lr": 1e-4, "n": None}, extra_info={"loss": math.inf})
    second = storage.create_entry(uuid="mine", attachments={"a": {"b": "x/y.pt"}})
    assert on_disk(storage) == {
        first: entry(first, model="größe", lr=1e-4, n=None) | {"extra_info": {"loss": math.inf}},
        "mine": entry("mine") | {"attachments": {"a": {"b": "x/y.pt"}}},
    }
    storage.update_entry(second, extra_info={"x": 1})
    assert on_disk(storage)["mine"]["extra_info"] == {"x": 1}
    assert storage.delete_entries(first) == 1
    assert list(on_disk(storage)) == ["mine"]


def test_a_storage_of_the_original_opens(tmp_path: Path) -> None:
    write_like_the_original(tmp_path, {"a": entry("a", lr=math.nan), "b": entry("b", big=2**80)})
    storage = MetadataStorage(tmp_path)
    assert storage.get_entry("b") == entry("b", big=2**80)
    storage.update_entry("b", metadata={"x": 1})
    assert on_disk(storage)["b"] == entry("b", big=2**80, x=1)
    assert math.isnan(on_disk(storage)["a"]["metadata"]["lr"])


def test_the_original_may_write_in_between(storage: MetadataStorage) -> None:
    storage.create_entry(uuid="ours", metadata={"n": 1})
    entries = on_disk(storage) | {"theirs": entry("theirs", n=2)}
    write_like_the_original(storage.storage_dir, entries)
    storage.lock_file.write_text("")
    assert storage.read_entries()[1] == ["ours", "theirs"]
    storage.create_entry(uuid="again", metadata={"n": 3})
    assert list(on_disk(storage)) == ["ours", "theirs", "again"]


def test_its_lock_keeps_us_out_and_ours_keeps_it_out(storage: MetadataStorage) -> None:
    storage._acquire_lock()
    with storage.lock_file.open("r") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    storage._release_lock()
    impatient = MetadataStorage(storage.storage_dir, lock_timeout_s=0.05)
    with storage.lock_file.open("r") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(ValueError, match=r"Failed to create entry: .*locked for more than 0.05 s by process \d+"):
            impatient.create_entry()
        with pytest.raises(RuntimeError):
            impatient._acquire_lock()
    impatient.create_entry()


def test_nested_locks(storage: MetadataStorage) -> None:
    storage._release_lock()
    assert storage._lock_count == 0
    storage._acquire_lock()
    storage._acquire_lock()
    assert storage._lock_count == 2
    uuid = storage.create_entry(metadata={"inside": True})
    thread = threading.Thread(target=storage._release_lock)  # a thread without the lock cannot give it back
    thread.start()
    thread.join()
    storage._release_lock()
    assert storage._lock_count == 1
    assert storage.read_entries(uuid)[1] == [uuid]
    storage._release_lock()
    assert storage._lock_count == 0


def test_what_is_read_is_a_copy(storage: MetadataStorage) -> None:
    given = {"config": {"layers": [1, 2]}}
    uuid = storage.create_entry(metadata=given)
    given["config"]["layers"].append(3)
    storage.get_entry(uuid)["metadata"]["config"]["layers"].append(4)
    assert storage.get_entry(uuid)["metadata"] == {"config": {"layers": [1, 2]}}


class TestMatching:
    @pytest.fixture(autouse=True)
    def three(self, storage: MetadataStorage) -> None:
        storage.create_entry(
            "a", {"type": "A", "value": 1, "config": {"model": "bert", "lr": 0.01}, "tags": ["x", "y"]}
        )
        storage.create_entry("b", {"type": "A", "value": 2, "config": {"model": "gpt", "lr": 0.01}, "note": None})
        storage.create_entry("c", {"type": "B", "value": True, "config": {"model": "bert", "lr": 0.02}, "note": "n"})

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, "abc"),
            ({"type": "A"}, "ab"),
            ({"value": 1}, "ac"),  # 1 == True
            ({"value": 1.0, "type": "A"}, "a"),
            ({"config": {"model": "bert"}}, "ac"),
            ({"config": {"model": "bert", "lr": 0.01}}, "a"),
            ({"config": {}}, "abc"),
            ({"type": {}}, ""),
            ({"tags": ["x", "y"]}, "a"),
            ({"tags": ["x"]}, ""),
            ({"tags": ("x", "y")}, ""),
            ({"note": None}, "ab"),  # null or missing
            ({"note": Any}, "c"),
            ({"config": Any, "type": "B"}, "c"),
            ({"config": {"depth": None, "model": "gpt"}}, "b"),
            ({"type": "C"}, ""),
            ({"value": pytest.approx(2)}, "b"),  # an object that only knows how to compare
        ],
    )
    def test_in_part(self, storage: MetadataStorage, query: dict[str, Any], found: str) -> None:
        assert storage.read_entries(metadata_query=query)[1] == list(found)

    def test_as_a_whole(self, storage: MetadataStorage) -> None:
        assert storage.read_entries(metadata_query={"type": "A"}, exact_match=True) == ([], [])
        whole = {"note": "n", "config": {"lr": 0.02, "model": "bert"}, "value": 1, "type": "B"}
        assert storage.read_entries(metadata_query=whole, exact_match=True)[1] == ["c"]
        assert storage.read_entries(metadata_query={"x": [pytest.approx(1)]}, exact_match=True)[1] == []

    def test_uuids(self, storage: MetadataStorage) -> None:
        assert storage.read_entries("b")[1] == ["b"]
        assert storage.read_entries(uuid_query=["c", "a", "nobody"])[1] == ["a", "c"]
        assert storage.read_entries(uuid_query=[]) == ([], [])
        assert storage.read_entries()[1] == ["a", "b", "c"]

    def test_get_entry(self, storage: MetadataStorage) -> None:
        assert storage.get_entry(metadata_query={"type": "B"})["uuid"] == "c"
        for query in ({"metadata_query": {"type": "A"}}, {"uuid_query": "nobody"}, {}):
            with pytest.raises(ValueError, match="Failed to get entry"):
                storage.get_entry(**query)

    def test_two_queries_are_one_too_many(self, storage: MetadataStorage) -> None:
        with pytest.raises(ValueError, match="Only one of"):
            storage.read_entries("a", {"type": "A"})
        with pytest.raises(ValueError, match="must be a dictionary"):
            storage.read_entries(metadata_query="A")  # type: ignore[arg-type]


class TestCreating:
    def test_a_finished_match_is_updated(self, storage: MetadataStorage) -> None:
        uuid = storage.create_entry(metadata={"n": 1}, extra_info={"finished": True, "old": 1})
        assert storage.create_entry(metadata={"n": 1}, extra_info={"new": 2}) == uuid
        assert storage.get_entry(uuid)["extra_info"] == {"finished": True, "old": 1, "new": 2}

    def test_an_unfinished_match_is_refused(self, storage: MetadataStorage) -> None:
        uuid = storage.create_entry(metadata={"n": 1}, extra_info={"finished": "yes"})
        with pytest.raises(ValueError, match=r"Failed to create entry: .*not finished"):
            storage.create_entry(metadata={"n": 1})
        assert storage.create_entry(metadata={"n": 1}, allow_overwrite=True) == uuid
        with pytest.raises(ValueError, match=r"Failed to create entry: .*already exists"):
            storage.create_entry(metadata={"n": 1}, allow_overwrite=False)
        with pytest.raises(ValueError, match="Failed to create entry: Invalid"):
            storage.create_entry(metadata={"n": 1}, allow_overwrite="no")  # type: ignore[arg-type]

    def test_several_matches(self, storage: MetadataStorage) -> None:
        for number in (1, 2):
            uuid = storage.create_entry(metadata={"n": number})
        storage.update_entry(uuid, metadata={"n": 1})
        with pytest.raises(ValueError, match="Failed to create entry: Multiple entries"):
            storage.create_entry(metadata={"n": 1}, allow_overwrite=True)

    def test_without_metadata_nothing_matches(self, storage: MetadataStorage) -> None:
        assert storage.create_entry() != storage.create_entry()

    @pytest.mark.parametrize("uuid", ["", 7])
    def test_odd_uuids(self, storage: MetadataStorage, uuid: Any) -> None:
        with pytest.raises(ValueError, match="Failed to create entry: a uuid is text"):
            storage.create_entry(uuid)


class TestUpdating:
    def test_key_by_key(self, storage: MetadataStorage) -> None:
        uuid = storage.create_entry(metadata={"a": 1, "deep": {"x": 1}})
        storage.update_entry(uuid, metadata={"b": 2, "deep": {"y": 2}})
        assert storage.get_entry(uuid)["metadata"] == {"a": 1, "deep": {"y": 2}, "b": 2}
        storage.update_entry(uuid)

    def test_who(self, storage: MetadataStorage) -> None:
        with pytest.raises(ValueError, match="Multiple or no entries found"):
            storage.update_entry("nobody", metadata={"key": "value"})
        uuids = [storage.create_entry() for _ in range(3)]
        with pytest.raises(ValueError, match="Multiple or no entries found"):
            storage.update_entry(uuids[:2], metadata={"key": "value"})
        with pytest.raises(EntryError, match="No entry was named"):
            storage.update_entry(metadata={"key": "value"})
        storage.update_entry(uuids[:2], metadata={"key": "value"}, allow_multiple=True)
        assert storage.read_entries(metadata_query={"key": "value"})[1] == uuids[:2]
        storage.update_entry(extra_info={"all": True}, allow_multiple=True)
        assert all(found["extra_info"] == {"all": True} for found in storage.read_entries()[0])
        again = MetadataStorage(storage.storage_dir)
        assert again.read_entries() == storage.read_entries()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"metadata": "x"}, "Metadata must be a dictionary"),
            ({"extra_info": [1]}, "Extra information must be a dictionary"),
            ({"attachments": "x"}, "Attachments must be a dictionary"),
        ],
    )
    def test_wrong_types(self, storage: MetadataStorage, given: dict[str, Any], message: str) -> None:
        uuid = storage.create_entry()
        with pytest.raises(ValueError, match=message):
            storage.update_entry(uuid, **given)
        with pytest.raises(ValueError, match=f"Failed to create entry: {message}"):
            storage.create_entry(**given)
        assert storage.read_entries()[1] == [uuid]


class TestAttachments:
    def test_parents_and_directories_are_made(self, storage: MetadataStorage) -> None:
        names = {"weights": "runs/1/best.pt", "logs": "runs/1/logs", "dotted": "runs/lr0.01", "slash": "run.v1/"}
        storage.create_entry(attachments=names)
        root = storage.storage_dir
        assert not (root / "runs/1/best.pt").exists()
        (root / "runs/1/best.pt").write_text("weights")
        assert all((root / name).is_dir() for name in ("runs/1/logs", "runs/lr0.01", "run.v1"))

    def test_what_is_there_stays(self, storage: MetadataStorage) -> None:
        (storage.storage_dir / "model").write_text("m")
        uuid = storage.create_entry(attachments={"nested": {"model": str(storage.storage_dir / "model")}})
        assert storage.get_entry(uuid)["attachments"] == {"nested": {"model": str(storage.storage_dir / "model")}}
        assert (storage.storage_dir / "model").read_text() == "m"

    def test_no_room_for_a_directory(self, storage: MetadataStorage) -> None:
        (storage.storage_dir / "file").write_text("f")
        uuid = storage.create_entry()
        with pytest.raises(ValueError, match="Failed to create entry"):
            storage.create_entry(attachments={"a": "file/below.pt"})
        with pytest.raises(Exception, match="directory for an attachment cannot be made"):
            storage.update_entry(uuid, attachments={"a": "file/below.pt"})
        assert storage.read_entries()[0] == [entry(uuid)]

    def test_deleted_with_their_entry(self, storage: MetadataStorage) -> None:
        root = storage.storage_dir
        for name in ("a.txt", "b.txt"):
            (root / name).write_text(name)
        storage.create_entry("a", attachments={"file": "a.txt", "dir": "deep/dir", "list": ["lost.txt"], "number": 3})
        (root / "deep/dir/inner.txt").write_text("i")
        storage.create_entry("b", attachments={"file": "b.txt"})
        assert storage.delete_entries("a") == 1
        assert storage.delete_entries("a") == 0
        assert sorted(path.name for path in root.iterdir() if not path.name.startswith((".", "index"))) == [
            "b.txt",
            "deep",
        ]
        assert not (root / "deep/dir").exists()

    def test_cleanup(self, storage: MetadataStorage) -> None:
        root = storage.storage_dir
        for name in ("stray.txt", "kept.txt"):
            (root / name).write_text(name)
        (root / "folder").mkdir()
        (root / "folder/any.txt").write_text("a")
        storage.create_entry("full", attachments={"file": "kept.txt"}, extra_info={"finished": True})
        storage.create_entry("empty", attachments={"file": "nothing.txt"}, extra_info={"finished": True})
        storage.create_entry("open", attachments={"file": "kept.txt"}, metadata={"n": 1})
        planned = storage.cleanup_orphaned_files(True, True, dry_run=True)
        assert (planned.files, planned.size_bytes, planned.entries) == (("stray.txt",), 9, ("empty", "open"))
        assert (root / "stray.txt").exists()
        assert storage.cleanup_orphaned_files().files == ("stray.txt",)
        assert not (root / "stray.txt").exists()
        assert (root / "folder/any.txt").exists()
        assert storage.cleanup_orphaned_files(clean_entries=True).entries == ("empty",)
        assert storage.cleanup_orphaned_files(clean_entries=True, clean_unfinished=True).entries == ("open",)
        assert (root / "kept.txt").exists()  # "full" still names it
        assert storage.read_entries()[1] == ["full"]

    def test_stats(self, storage: MetadataStorage) -> None:
        (storage.storage_dir / "x.bin").write_bytes(b"x" * 1000)
        storage.create_entry(metadata={"key1": 1, "key2": 2})
        storage.create_entry(metadata={"key1": 3})
        assert storage.get_storage_stats() == {
            "total_entries": 2,
            "total_files": 2,
            "total_size_bytes": 1000,
            "total_size_mb": 1000 / 2**20,
            "metadata_keys": {"key1": 2, "key2": 1},
            "storage_directory": str(storage.storage_dir),
        }


def test_a_storage_left_alone_is_complete(tmp_path: Path) -> None:
    storage = MetadataStorage(tmp_path)
    uuid = storage.create_entry(metadata={"test": "value"})
    del storage
    assert MetadataStorage(tmp_path).get_entry(uuid)["metadata"] == {"test": "value"}
