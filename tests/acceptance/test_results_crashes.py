"""A storage survives its writers: kill -9 at random, and every byte at which a write can be cut short."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.results import MetadataStorage
from tests.acceptance.test_results_processes import start, stop

KILLS = 25


def check(entries: dict[str, Any], told: int) -> int:
    """The storage is as after step `told`, or a part of the next one further; return the step to go on with."""
    last = max((int(uuid) for uuid in entries), default=-1)
    assert told <= last <= told + 1
    for uuid, entry in entries.items():
        number = int(uuid)
        assert entry["metadata"]["n"] == number
        assert len(entry["metadata"]["text"]) == number * 37 % 3000
        assert number >= last - 1 or entry["extra_info"] == {"done": True}
    if told >= 0:
        assert str(told) in entries
        assert told - 5 < 0 or str(told - 5) not in entries
    assert {int(uuid) for uuid in entries} >= set(range(max(last - 3, 0), last + 1))
    return last + 1


def test_kill_at_random(tmp_path: Path) -> None:
    chance = random.Random(20)
    told, following = -1, 0
    for kill in range(KILLS):
        process = start("change", tmp_path, str(following))
        told = max(told, run_and_kill(process, chance.randrange(12), chance))
        if kill % 4 == 3:
            (tmp_path / "index.json").unlink()  # then the backup has it all, but for a change that was under way
        following = check(read(tmp_path), told)
        # What was half done is finished, so that the next process starts from a whole step.
        told = finish(tmp_path, following - 1)


def read(root: Path) -> dict[str, Any]:
    entries, uuids = MetadataStorage(root, durable=False).read_entries()
    return dict(zip(uuids, entries, strict=True))


def run_and_kill(process: subprocess.Popen[str], steps: int, chance: random.Random) -> int:
    """Kill the process some time after it told of `steps` steps; return the last one it told of."""
    told = -1
    assert process.stdout is not None
    for _ in range(steps + 1):
        told = int(process.stdout.readline())
    spin = chance.randrange(60_000)
    while spin:
        spin -= 1
    process.kill()
    for line in process.stdout:
        if line.endswith("\n"):
            told = int(line)
    stop(process)
    return told


def finish(root: Path, number: int) -> int:
    storage = MetadataStorage(root, durable=False)
    if number > 0:
        storage.update_entry(str(number - 1), extra_info={"done": True})
    if number >= 5:
        storage.delete_entries(str(number - 5))
    return number


class TestEveryByte:
    """What a write that was cut short can leave in index.json, with the backup as it was before or after."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path]:
        return tmp_path / "index.json", tmp_path / "index.json.backup"

    @pytest.mark.parametrize("entries_before", [0, 1, 3])
    @pytest.mark.parametrize("rest", [b"", b"\0", b"\n}\n"], ids=["cut", "zeros", "later page came first"])
    def test_a_line_added(self, tmp_path: Path, files: tuple[Path, Path], entries_before: int, rest: bytes) -> None:
        index, backup = files
        storage = MetadataStorage(tmp_path, durable=False)
        storage.create_entry("0")
        for number in range(1, entries_before):
            storage.create_entry(str(number), metadata={"n": number, "nested": {"text": "}\n,"}})
        if entries_before == 0:
            storage.delete_entries("0")
        before = index.read_bytes()
        storage.create_entry("new", metadata={"a": [1, None, {"b": "ü"}]})
        after = index.read_bytes()
        old, new = json.loads(before), json.loads(after)
        for cut in range(len(before) - 3, len(after)):
            torn = after[:cut] + (before[cut:] if not rest else rest * (len(after) - cut))
            index.write_bytes(torn)
            backup.write_bytes(before)
            assert read(tmp_path) in (old, new), torn
            assert json.loads(index.read_bytes()) in (old, new)

    def test_a_torn_backup_is_replaced(self, tmp_path: Path, files: tuple[Path, Path]) -> None:
        index, backup = files
        storage = MetadataStorage(tmp_path, durable=False)
        storage.create_entry("a")
        for torn in (b"", b"{", backup.read_bytes()[:-2], None):
            backup.unlink()
            if torn is not None:
                backup.write_bytes(torn)
            storage.create_entry()
            assert json.loads(backup.read_bytes()) == json.loads(index.read_bytes())

    def test_between_the_two_files(self, tmp_path: Path, files: tuple[Path, Path]) -> None:
        """A rewrite reaches the backup first; a line reaches index.json first. One is ahead: index.json counts."""
        index, backup = files
        storage = MetadataStorage(tmp_path, durable=False)
        storage.create_entry("a")
        storage.create_entry("b")
        old = index.read_bytes()
        storage.delete_entries("a")
        for index_content, backup_content, found in (
            (old, index.read_bytes(), ["a", "b"]),
            (old, b"{\n}\n", ["a", "b"]),
        ):
            index.write_bytes(index_content)
            backup.write_bytes(backup_content)
            assert MetadataStorage(tmp_path).read_entries()[1] == found
            MetadataStorage(tmp_path).create_entry("c")
            assert list(json.loads(index.read_bytes())) == [*found, "c"]
            assert index.read_bytes() == backup.read_bytes()

    def test_both_ends_torn(self, tmp_path: Path, files: tuple[Path, Path]) -> None:
        """As after a power cut: what had been acknowledged is in index.json, up to its torn end."""
        index, backup = files
        storage = MetadataStorage(tmp_path, durable=False)
        for number in range(4):
            storage.create_entry(str(number))
        whole = index.read_bytes()
        index.write_bytes(whole[:-20])
        backup.write_bytes(whole[:-100])
        assert MetadataStorage(tmp_path).read_entries()[1] == ["0", "1", "2"]

    def test_half_an_index_is_not_taken_for_a_torn_end(self, tmp_path: Path, files: tuple[Path, Path]) -> None:
        index, _ = files
        storage = MetadataStorage(tmp_path, durable=False)
        for number in range(10):
            storage.create_entry(str(number))
        index.write_bytes(index.read_bytes()[:400])
        assert len(MetadataStorage(tmp_path).read_entries()[1]) == 10
        assert (tmp_path / ".index.json.tmp.damaged").stat().st_size == 400

    def test_a_temporary_file_of_a_crash_is_in_nobody_s_way(self, tmp_path: Path) -> None:
        (tmp_path / ".index.json.tmp").write_text("{half")
        storage = MetadataStorage(tmp_path)
        storage.create_entry("a")
        storage.delete_entries("a")
        assert {path.name for path in tmp_path.iterdir()} == {"index.json", "index.json.backup", ".lock"}
