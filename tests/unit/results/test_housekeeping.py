"""Hashes, verification, garbage, export and import."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.results import EntryError, MetadataStorage, NotStorable, StorageUnusable


@pytest.fixture
def storage(tmp_path: Path) -> MetadataStorage:
    storage = MetadataStorage(tmp_path / "storage")
    root = storage.storage_dir
    for name in ("a.pt", "deep/run/one.txt", "deep/run/two.txt", "deep/stray.txt", "stray.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    storage.create_entry("a", attachments={"weights": "a.pt", "outside": "/nowhere/x.pt"})
    storage.create_entry("b", attachments={"run": {"dir": "deep/run"}, "later": "later.pt"})
    return storage


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def findings(storage: MetadataStorage) -> list[str]:
    return [str(finding) for finding in storage.verify()]


def test_hashes_are_recorded_and_checked(storage: MetadataStorage) -> None:
    hashes = storage.hash_attachments()
    assert hashes == {
        "a": {"a.pt": sha256("a.pt")},
        "b": {name: sha256(name) for name in ("deep/run/one.txt", "deep/run/two.txt")},
    }
    assert storage.get_entry("a")["extra_info"] == {"attachment_sha256": hashes["a"]}
    known = ["a: /nowhere/x.pt: outside the storage: never deleted with its entry", "b: later.pt: is missing"]
    assert findings(storage) == known
    root = storage.storage_dir
    (root / "deep/run/one.txt").write_text("changed")
    (root / "deep/run/two.txt").unlink()
    (root / "a.pt").unlink()
    (root / "a.pt").mkdir()
    assert findings(storage) == [
        known[0],
        "a: a.pt: cannot be read: Is a directory",
        known[1],
        "b: deep/run/one.txt: has another content than when it was hashed",
        "b: deep/run/two.txt: was hashed and is gone",
    ]


def test_hashing_some(storage: MetadataStorage, tmp_path: Path) -> None:
    assert storage.hash_attachments("a").keys() == {"a"}
    assert storage.hash_attachments(["b", "a", "b"]).keys() == {"a", "b"}
    with pytest.raises(EntryError, match="no such entry among"):
        storage.hash_attachments(["a", "nobody"])
    assert MetadataStorage(tmp_path / "empty").hash_attachments() == {}
    (storage.storage_dir / "deep/run/loop").mkdir()
    fifo = storage.storage_dir / "deep/run/loop/two"
    fifo.symlink_to("/proc/self/mem")  # a file whose reading fails, for root too
    with pytest.raises(StorageUnusable, match=r"nothing was recorded"):
        storage.hash_attachments("b")


def test_hashes_of_a_person(storage: MetadataStorage) -> None:
    storage.update_entry("a", attachments={"outside": "a.pt"}, extra_info={"attachment_sha256": {"../x": "0"}})
    storage.update_entry("b", attachments={"later": "a.pt"}, extra_info={"attachment_sha256": 3})
    assert findings(storage) == ["a: ../x: has another content than when it was hashed"]


def test_verify_looks_at_the_index(tmp_path: Path) -> None:
    storage = MetadataStorage(tmp_path)
    assert storage.verify() == []
    storage.create_entry("a")
    assert storage.verify() == []
    index, backup = tmp_path / "index.json", tmp_path / "index.json.backup"
    good = index.read_bytes()
    for content, says in (
        (b"{", "is damaged"),
        (b"{}", "is not what index.json says"),
        (None, "is not what index.json"),
    ):
        backup.unlink()
        if content is not None:
            backup.write_bytes(content)
        assert [says in finding.problem for finding in storage.verify()] == [True]
    backup.write_bytes(good)
    index.write_bytes(b"{")
    assert [finding.path for finding in storage.verify()] == [str(index)]
    index.write_bytes(good.replace(b'"uuid":"a"', b'"uuid":"b"'))
    assert "a: the entry calls itself 'b'" in findings(storage)


def test_garbage(storage: MetadataStorage) -> None:
    root = storage.storage_dir
    (root / "deep/link").symlink_to(root / "deep/run")
    planned = storage.collect_garbage()
    assert planned.files == ("deep/link", "deep/stray.txt", "stray.txt")
    assert planned.size_bytes == sum((root / name).lstat().st_size for name in planned.files)
    assert all((root / name).exists() for name in planned.files)
    assert storage.collect_garbage(dry_run=False) == planned
    assert not any((root / name).exists() for name in planned.files)
    assert sorted(path.name for path in (root / "deep/run").iterdir()) == ["one.txt", "two.txt"]
    assert storage.collect_garbage().files == ()


def test_a_file_that_cannot_be_deleted_is_named(storage: MetadataStorage, caplog: pytest.LogCaptureFixture) -> None:
    from tests.unit.results.test_files import without_rights

    root = storage.storage_dir
    for place in (root, *root.parents):
        if place == Path("/tmp"):
            break
        place.chmod(0o755)
    for path in root.iterdir():
        path.chmod(0o777)
    root.chmod(0o777)
    storage.close()
    with without_rights(root / "deep/run"):
        assert storage.delete_entries("b") == 1
    assert "was not deleted" in caplog.text
    assert storage.read_entries()[1] == ["a"]


def test_out_and_in_again(storage: MetadataStorage, tmp_path: Path) -> None:
    storage.create_entry("ü", metadata={"loss": float("inf"), "text": "a\nb"})
    file = tmp_path / "out.jsonl"
    assert storage.export_jsonl(file) == 3
    assert [json.loads(line)["uuid"] for line in file.read_text().splitlines()] == ["a", "b", "ü"]
    other = MetadataStorage(tmp_path / "other")
    assert other.import_jsonl(file) == 3
    assert other.read_entries() == storage.read_entries()
    assert storage.export_jsonl(file, {"loss": {">": 1}}) == 1
    other.update_entry("ü", metadata={"text": "ours"})
    with pytest.raises(EntryError, match="exist already, the first is ü"):
        other.import_jsonl(file)
    assert other.import_jsonl(file, on_conflict="skip") == 0
    assert other.get_entry("ü")["metadata"]["text"] == "ours"
    assert other.import_jsonl(file, on_conflict="replace") == 1
    assert other.get_entry("ü") == storage.get_entry("ü")
    with pytest.raises(EntryError, match="on_conflict cannot be 'ask'"):
        other.import_jsonl(file, on_conflict="ask")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no object with a uuid"),
        ('{"metadata": {}}', "no object with a uuid"),
        ('{"uuid": ""}', "no object with a uuid"),
        ('{"uuid": "b", "metadata": 3}', "metadata is a int"),
        ('{"uuid": "a"}', "uuid a was on line 1 already"),
        ('{"uuid": "b", "metadata": {"x": "\\ud800"}}', "not valid Unicode"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_lines_that_are_no_entries(tmp_path: Path, line: str, message: str) -> None:
    storage, file = MetadataStorage(tmp_path / "storage"), tmp_path / "in.jsonl"
    file.write_bytes(b'{"uuid": "a"}\n\n' + line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(NotStorable, match=message) as caught:
        storage.import_jsonl(file)
    assert str(file) in str(caught.value)
    assert storage.read_entries() == ([], [])


def test_files_that_cannot_be_used(storage: MetadataStorage, tmp_path: Path) -> None:
    with pytest.raises(StorageUnusable, match="cannot be read"):
        storage.import_jsonl(tmp_path / "nothing.jsonl")
    for place in (tmp_path / "no" / "where.jsonl", tmp_path):
        with pytest.raises(StorageUnusable, match="cannot be written"):
            storage.export_jsonl(place)
    assert {path.name for path in tmp_path.iterdir()} == {"storage"}


def test_errors_are_of_one_tree() -> None:
    from researchflow_tmux import results
    from researchflow_tmux.domain.errors import StoreError

    errors: list[Any] = [getattr(results, name) for name in results.__all__]
    errors = [error for error in errors if isinstance(error, type) and issubclass(error, Exception)]
    assert len(errors) == 7
    assert all(issubclass(error, StoreError) for error in errors)
