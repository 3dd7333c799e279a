"""Several processes on one storage: nobody's entry is lost, everybody sees everything."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.results import MetadataStorage, StorageBusy

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, CREATES = 8, 500


def start(role: str, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.results.processes", role, str(directory), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def hold(directory: Path) -> subprocess.Popen[str]:
    """A process that has the lock."""
    process = start("hold", directory)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_eight_processes_create_five_hundred_each(tmp_path: Path) -> None:
    watcher = MetadataStorage(tmp_path)
    processes = [start("create", tmp_path, str(name), str(CREATES)) for name in range(PROCESSES)]
    seen = 0
    while any(process.poll() is None for process in processes):
        now = len(watcher.read_entries(metadata_query={"by": "0"})[1])
        assert now >= seen
        seen = now
    assert [process.returncode for process in processes] == [0] * PROCESSES
    for process in processes:
        stop(process)
    expected = {(str(name), step) for name in range(PROCESSES) for step in range(CREATES)}
    for storage in (watcher, MetadataStorage(tmp_path)):
        entries, uuids = storage.read_entries()
        assert len(set(uuids)) == PROCESSES * CREATES
        assert {(entry["metadata"]["by"], entry["metadata"]["step"]) for entry in entries} == expected
    assert json.loads((tmp_path / "index.json").read_bytes()) == watcher.index_data


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start("obey", tmp_path)
    yield process
    stop(process)


def test_two_processes_see_each_other_s_changes_at_once(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    ours = MetadataStorage(tmp_path, durable=False)

    def order(uuid: str) -> int:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write(f"{uuid}\n")
        other.stdin.flush()
        return int(other.stdout.readline())

    for step in range(40):
        assert order(f"theirs {step}") == len(ours.read_entries()[1])
        assert ours.read_entries(metadata_query={"word": f"theirs {step}"})[1] == [f"theirs {step}"]
        ours.create_entry(f"ours {step}")
        if step % 3 == 0:
            order(f"ours {step}")  # deleted by the other one
            assert ours.read_entries(f"ours {step}") == ([], [])
        if step % 5 == 0:
            ours.flush()


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    storage = MetadataStorage(tmp_path, lock_timeout_s=0.05)
    uuid = storage.create_entry()
    holder = hold(tmp_path)
    with pytest.raises(StorageBusy, match=f"by process {holder.pid}"):
        storage._acquire_lock()
    assert storage.read_entries()[1] == [uuid]  # what has not changed needs no lock
    stop(holder)
    MetadataStorage(tmp_path).create_entry("a")
    assert storage.read_entries()[1] == [uuid, "a"]


def test_waiting_for_the_lock(tmp_path: Path) -> None:
    storage, holder = MetadataStorage(tmp_path), hold(tmp_path)
    thread = threading.Thread(target=storage.create_entry, args=("late",))
    thread.start()
    assert not (tmp_path / "index.json").exists()
    stop(holder)
    thread.join()
    assert storage.read_entries()[1] == ["late"]


def test_a_forked_child_has_a_lock_of_its_own(tmp_path: Path) -> None:
    storage = MetadataStorage(tmp_path)
    storage._acquire_lock()
    storage.create_entry("parent")
    pid = os.fork()
    if pid == 0:
        impatient = storage._lock_count == 0 and storage.index_data.keys() == {"parent"}
        storage._lock._timeout_s = 0.05
        try:
            storage.create_entry("child")
        except ValueError:
            os._exit(0 if impatient else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    other = MetadataStorage(tmp_path, lock_timeout_s=0.05)
    with pytest.raises(StorageBusy):  # the child's end did not give it back
        other._acquire_lock()
    storage._release_lock()
    other.create_entry("other")


def _create_in_child(storage: MetadataStorage) -> None:
    storage.create_entry("child" if len(storage.read_entries()[1]) == 1 else "grandchild")
    storage.close()


def test_a_storage_can_be_given_to_a_process(tmp_path: Path) -> None:
    with MetadataStorage(tmp_path, lock_timeout_s=9) as storage:
        storage.create_entry("parent")
        process = multiprocessing.get_context("fork").Process(target=_create_in_child, args=(storage,))
        process.start()
        process.join()
        assert process.exitcode == 0
        _create_in_child(pickle.loads(pickle.dumps(storage)))  # the way of "spawn"
        assert storage.read_entries()[1] == ["parent", "child", "grandchild"]
