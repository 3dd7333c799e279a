"""What only a store on a disk can go through: kills, crowds, full disks, damage, other versions."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from researchflow_tmux.adapters import sqlite_database
from researchflow_tmux.adapters.sqlite_inbox import SqliteInbox
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.adapters.sqlite_store import KEEP_REPLIES, SqliteStore
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import AttemptStarted, JobSubmitted, Notice
from researchflow_tmux.domain.job import ENDED, JobState
from tests.contract.store_processes import PUTS
from tests.contract.store_samples import BOOT, NOW, at, attempt, ended, ended_job, job, running
from tests.support import eventually

DATA = Path(__file__).parent.parent / "data"
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / ".rfsched" / "state.db")


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    store = SqliteStore(path, boot_id=BOOT)
    yield store
    store.close()


@pytest.fixture
def reader(store: SqliteStore) -> Iterator[SqliteReader]:
    reader = SqliteReader(store.path)
    yield reader
    reader.close()


def process(role: str, path: str, name: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.contract.store_processes", role, path, name]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=DATA.parent.parent)


# Kills and crowds -----------------------------------------------------------------------------------------------------


def test_kill_9_between_and_in_commits_leaves_rows_and_events_in_step(path: str) -> None:
    # Given a writer whose every commit puts the same number into two jobs, an attempt, an event and meta
    told = 0
    for round_number in range(24):
        writer = process("write", path)
        assert writer.stdout is not None
        for _ in range(1 + round_number % 3):
            told = int(writer.stdout.readline())
        # When it is killed, each time a little later in the commit that follows
        kill_at = time.perf_counter() + round_number * 0.0001
        while time.perf_counter() < kill_at:
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        lines = writer.stdout.read().split()
        writer.stdout.close()
        told = int(lines[-1]) if lines else told
        # Then all of them say the same, and nothing that it reported as done is missing
        store, reader = SqliteStore(path, boot_id=BOOT), SqliteReader(path)
        state = store.load()
        number = int(state.meta["number"])
        assert [one.retries_used for one in state.jobs] == [number, number]
        assert [one.number for one in state.attempts] == list(range(1, number + 1))
        assert [event.payload.text for event in reader.events() if isinstance(event.payload, Notice)] == [
            str(one) for one in range(1, number + 1)
        ]
        assert told <= number <= told + 1
        reader.close()
        store.close()


def test_many_clients_at_once_lose_no_request(path: str) -> None:
    # Given eight clients that begin together, before there is a database, and a scheduler that answers meanwhile
    clients = [process("ask", path, f"client{number}") for number in range(8)]
    store = SqliteStore(path, boot_id=BOOT)
    seen: list[tuple[str, int]] = []

    def all_answered() -> bool:
        waiting = store.requests()
        seen.extend((request.by, request.body["number"]) for request in waiting)
        if waiting:
            store.commit([], [], [], at=NOW, replies={request.id: {"ok": True} for request in waiting})
        return len(seen) >= 8 * PUTS and all(client.poll() is not None for client in clients)

    eventually(all_answered, timeout_s=60, what="every request answered")
    # Then each was seen once, and each client's in its order
    assert [client.wait() for client in clients] == [0] * 8
    for client in clients:
        assert client.stdout is not None
        client.stdout.close()
    for number in range(8):
        assert [count for name, count in seen if name == f"client{number}"] == list(range(PUTS))
    store.close()


def test_a_client_hears_the_answer(store: SqliteStore) -> None:
    inbox = SqliteInbox(store.path)
    request = inbox.put("hold", {}, by="me", at=NOW)
    assert inbox.wait(request, 0.02) is None
    store.commit([], [], [], at=NOW, replies={request: {"held": 1}})
    assert inbox.wait(request, 0.0) == {"held": 1}
    assert inbox.withdraw(request) is False
    other = inbox.put("hold", {}, by="me", at=NOW)
    assert inbox.withdraw(other) is True
    assert store.requests() == []
    inbox.close()


def test_old_answers_are_forgotten(store: SqliteStore) -> None:
    inbox = SqliteInbox(store.path)
    one, two = (inbox.put("x", {}, by="me", at=NOW) for _ in range(2))
    store.commit([], [], [], at=NOW, replies={one: {"ok": 1}})
    store.commit([], [], [], at=NOW + KEEP_REPLIES + timedelta(seconds=1), replies={two: {"ok": 2}})
    assert (inbox.reply(one), inbox.reply(two)) == (None, {"ok": 2})
    inbox.close()


# Disks and files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 2 MiB."""
    where = Path(tempfile.mkdtemp(prefix="rf-small-"))
    mount = shutil.which("mount")
    mounted = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "none", where], capture_output=True)
    if not mounted or mounted.returncode:
        where.rmdir()
        pytest.skip("needs root with CAP_SYS_ADMIN, to mount a small tmpfs")
    yield where
    subprocess.run(["umount", where], check=True)
    where.rmdir()


def fill(where: Path) -> Path:
    ballast = where / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_a_full_disk_is_said_and_costs_nothing(small_disk: Path) -> None:
    path = str(small_disk / ".rfsched" / "state.db")
    store = SqliteStore(path, boot_id=BOOT)
    store.commit([], [job(1), job(2)], [attempt(1)], at=NOW)
    ballast = fill(small_disk)
    # When the disk is full
    many = [job(number) for number in range(1, 1000)]
    for _ in range(3):
        with pytest.raises(StoreError, match=r"no space left on the disk of .*state\.db"):
            store.commit([Notice(text="x" * 9000)], many, [attempt(2)], at=NOW)
    # Then the queue is what it was, also for a new process, and for readers
    assert [one.id for one in store.load().jobs] == [1, 2]
    reader = SqliteReader(path)
    assert (len(reader.jobs()), reader.events()) == (2, [])
    reader.close()
    # And when there is space again it goes on
    ballast.unlink()
    store.commit([Notice(text="on it goes")], [job(3)], [], at=NOW)
    store.close()
    again = SqliteStore(path, boot_id=BOOT)
    assert [one.id for one in again.load().jobs] == [1, 2, 3]
    again.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_full_disk_at_the_beginning_is_said(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(StoreError, match=r"No space left|no space left|disk"):
        SqliteStore(str(small_disk / ".rfsched" / "state.db"), boot_id=BOOT)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A directory that this process may not write, even when the tests run as root."""
    where = Path(tempfile.mkdtemp(prefix="rf-closed-"))
    where.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield where
    if root:
        os.seteuid(0)
    where.chmod(0o755)
    shutil.rmtree(where)


def test_a_directory_that_may_not_be_written_is_said(as_nobody: Path) -> None:
    with pytest.raises(StoreError, match=r"state\.db: Permission denied"):
        SqliteStore(str(as_nobody / ".rfsched" / "state.db"), boot_id=BOOT)


def test_only_the_owner_can_read(path: str) -> None:
    mask = os.umask(0)
    try:
        store = SqliteStore(path, boot_id=BOOT)
    finally:
        os.umask(mask)
    store.commit([], [job()], [], at=NOW)
    modes = {name: stat.S_IMODE(os.stat(os.path.join(os.path.dirname(path), name)).st_mode) for name in _files(path)}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    store.close()


def _files(path: str) -> list[str]:
    return os.listdir(os.path.dirname(path))


def test_a_file_that_is_no_database_is_said(path: str) -> None:
    os.makedirs(os.path.dirname(path))
    Path(path).write_bytes(b"this is not a database, by no means\n" * 500)
    for kind in (lambda: SqliteStore(path, boot_id=BOOT), lambda: SqliteReader(path), lambda: SqliteInbox(path)):
        with pytest.raises(StoreError, match=r"state\.db is damaged.*\n.*move it away"):
            kind()


def test_a_damaged_page_is_said(path: str) -> None:
    store = SqliteStore(path, boot_id=BOOT)
    store.commit([], [job(number) for number in range(1, 300)], [], at=NOW)
    store.close()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.path.getsize(path) - 4096))
    with pytest.raises(StoreError, match=r"state\.db is damaged"):
        SqliteStore(path, boot_id=BOOT).load()


def test_a_row_written_by_hand_is_said(store: SqliteStore) -> None:
    store.commit([], [job()], [], at=NOW)
    store._db.execute("UPDATE jobs SET doc = '{}'")
    with pytest.raises(StoreError, match=r"state\.db has a row that cannot be read"):
        store.load()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_vanishes_under_the_store_is_said(store: SqliteStore, replaced: bool) -> None:
    store.commit([], [job()], [], at=NOW)
    os.rename(store.path, store.path + ".old")
    if replaced:
        Path(store.path).touch()
    with pytest.raises(StoreError, match=r"state\.db was deleted or replaced while in use"):
        store.commit([], [job(2)], [], at=NOW)


def test_a_missing_database_is_said(path: str) -> None:
    with pytest.raises(StoreError, match=r"state\.db does not exist"):
        SqliteReader(path)


# Versions and journals ------------------------------------------------------------------------------------------------


def test_a_newer_version_is_refused(store: SqliteStore) -> None:
    store._db.execute("PRAGMA user_version = 99")
    for kind in (lambda: SqliteStore(store.path, boot_id=BOOT), lambda: SqliteReader(store.path)):
        with pytest.raises(StoreError, match=r"newer rfsched .state version 99"):
            kind()


def test_every_version_has_an_old_database() -> None:
    assert [(DATA / f"state_v{number}.db").exists() for number in range(1, sqlite_database.VERSION + 1)] == [
        True
    ] * sqlite_database.VERSION


@pytest.mark.parametrize("version", range(1, sqlite_database.VERSION + 1))
def test_an_old_database_is_read_and_carried_on(path: str, version: int) -> None:
    os.makedirs(os.path.dirname(path))
    shutil.copy(DATA / f"state_v{version}.db", path)
    reader = SqliteReader(path)
    assert [(row.id, row.state) for row in reader.jobs()] == [
        (1, JobState.ACTIVE),
        (2, JobState.SUCCEEDED),
        (3, JobState.QUEUED),
    ]
    assert [event.seq for event in reader.events()] == [1, 2, 3, 4]
    store = SqliteStore(path, boot_id=BOOT)
    state = store.load()
    assert state.jobs[0] == job(1, JobState.ACTIVE, attempts=1, started_at=at(1))
    assert state.attempts == [attempt(1, 1, running())]
    assert state.meta["workspace_id"] == "0123abcd"
    assert [request.kind for request in store.requests()] == ["cancel"]
    assert store.environment("d" * 8) == {"env": {"PATH": "/usr/bin"}}
    store.commit([Notice(text="on")], [job(4)], [], at=NOW)
    reader.close()
    store.close()


def test_the_journal_suits_the_file_system(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def journal_mode() -> str:
        store = SqliteStore(path, boot_id=BOOT)
        store.commit([], [job()], [], at=NOW)
        mode, synchronous = (
            store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        )
        assert synchronous == 2  # FULL
        store.close()
        return str(mode)

    assert journal_mode() == "wal"
    # A workspace that was copied to a network disk; there is none here, so its name is put in.
    monkeypatch.setattr(sqlite_database, "is_network_fs", lambda _path: "nfs4")
    assert journal_mode() == "delete"
    assert _files(path) == ["state.db"]


# Reading and cleaning -------------------------------------------------------------------------------------------------


def test_rows_for_status(store: SqliteStore, reader: SqliteReader) -> None:
    jobs = [job(1), job(2, JobState.ACTIVE, attempts=2), ended_job(3), job(4)]
    store.commit([], jobs, [attempt(2, 1, ended()), attempt(2, 2, running()), attempt(3, 1, ended())], at=NOW)
    rows = reader.jobs()
    for row, one in zip(rows, jobs, strict=True):
        shared = set(row.__struct_fields__) & set(one.__struct_fields__)
        assert {name: getattr(row, name) for name in shared} == {name: getattr(one, name) for name in shared}
        assert (row.source, row.key, row.name) == (one.spec.source, one.spec.key, one.spec.name)
        assert (row.priority, row.group, row.gpus) == (one.spec.priority, one.spec.group, one.spec.request.gpus)
    assert [row.id for row in reader.jobs(states=[JobState.QUEUED])] == [1, 4]
    assert [row.id for row in reader.jobs(ids=[2, 4, 99], names=["exp_4"])] == [4]
    assert [row.id for row in reader.jobs(group="sweep")] == [1, 3]
    assert [row.id for row in reader.jobs(limit=2)] == [3, 4]
    assert reader.jobs(states=[]) == []
    counts = {JobState.QUEUED: 2, JobState.ACTIVE: 1, JobState.SUCCEEDED: 1}
    assert reader.counts_by_state() == {state: counts.get(state, 0) for state in JobState}
    assert reader.job(3) == jobs[2]
    assert reader.job(99) is None
    assert reader.full_jobs([4, 99, 1]) == [jobs[3], jobs[0]]
    latest: dict[int, Attempt] = reader.latest_attempts(range(1, 2000))
    assert {number: one.number for number, one in latest.items()} == {2: 2, 3: 1}
    assert [one.key for one in reader.live_attempts()] == [(2, 2)]


def test_history(store: SqliteStore, reader: SqliteReader) -> None:
    store.commit([JobSubmitted(job=job(1)), JobSubmitted(job=job(2))], [job(1), job(2)], [], at=NOW)
    started = AttemptStarted(job_id=2, number=1, runner_pid=5, started_at=at(1))
    store.commit([started, Notice(text="n")], [], [], at=at(1))
    assert [event.seq for event in reader.events()] == [1, 2, 3, 4]
    assert [event.seq for event in reader.events(job_id=2)] == [2, 3]
    assert [event.seq for event in reader.events(kinds=["notice", "attempt_started"])] == [3, 4]
    assert [event.seq for event in reader.events(since=at(0.5))] == [3, 4]
    assert [event.seq for event in reader.events(limit=3)] == [2, 3, 4]
    assert [event.seq for event in reader.events(after=1, limit=2)] == [2, 3]
    assert reader.events(after=4) == []


def test_a_snapshot_stands_still(store: SqliteStore, reader: SqliteReader) -> None:
    with reader.snapshot():
        assert reader.jobs() == []
        store.commit([], [job()], [], at=NOW)
        assert reader.jobs() == []
    assert len(reader.jobs()) == 1


def test_cleaning_takes_old_ended_jobs_that_nothing_hangs_on(store: SqliteStore, reader: SqliteReader) -> None:
    jobs = [
        ended_job(1, at(0)),
        ended_job(2, at(0)),  # job 5 waits for others after it
        ended_job(3, at(99)),  # too young
        ended_job(4, at(0), JobState.FAILED),
        job(5, after=(2,)),
        ended_job(6, at(0)),  # its processes could not be killed
        ended_job(7, at(0), after=(1,)),
    ]
    attempts = [attempt(1, 1, ended()), attempt(6, 1, ended(), quarantined=(9,))]
    store.commit([JobSubmitted(job=one) for one in jobs], jobs, attempts, at=NOW)
    # dry run, by the writer and by a reader
    assert store.delete_jobs_before(at(50), dry_run=True) == reader.cleanable(at(50)) == [1, 4, 7]
    assert store.delete_jobs_before(at(50), states=[JobState.FAILED, JobState.QUEUED], dry_run=True) == [4]
    assert store.delete_jobs_before(at(50), states=[JobState.QUEUED]) == []
    assert len(reader.jobs()) == 7
    # the real thing
    assert store.delete_jobs_before(at(50)) == [1, 4, 7]
    assert [row.id for row in reader.jobs()] == [2, 3, 5, 6]
    assert reader.attempts_of(1) == []
    assert [event.seq for event in reader.events()] == [2, 3, 5, 6]
    # numbers never come back
    assert store.load().next_job_id == 8
    assert store.commit([Notice(text="x")], [], [], at=NOW)[0].seq == 8
    assert {JobState.SUCCEEDED, JobState.FAILED} <= ENDED
