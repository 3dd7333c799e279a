"""From the history of ended attempts to entries of the results: each exactly once, however often anything is killed.

The entry's uuid follows from the attempt, so that writing it again writes nothing; how far the history has been
recorded is noted afterwards, in a file that is locked while somebody records.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.attempt import UpToDate
from researchflow_tmux.domain.events import AttemptEnded, Event, Payload
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.records.facts import Record, record, record_uuid
from researchflow_tmux.results import MetadataStorage

RESULTS_DIR = "results"
"""In the workspace: a `MetadataStorage`."""
RUNS_DIR = "runs"
"""In the results: a directory for each record's files."""
BATCH = 200
_LOOK_S = 0.02


def results_dir(paths: WorkspacePaths) -> str:
    """Where the workspace's results are."""
    return os.path.join(paths.root, RESULTS_DIR)


class Opener:
    """The results, opened when there is something to write and kept open: each opening reads the whole index."""

    def __init__(self, paths: WorkspacePaths) -> None:
        self._directory = results_dir(paths)
        self._storage: MetadataStorage | None = None
        self._inode = 0

    def get(self) -> MetadataStorage:
        """The storage; its directory is made if it is not there (any more). Raises ResultsError, OSError."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)  # private, like everything we make
        inode = os.stat(self._directory).st_ino
        if self._storage is None or inode != self._inode:
            self.close()
            self._storage, self._inode = MetadataStorage(self._directory), inode
        return self._storage

    def close(self) -> None:
        """Give it back."""
        if self._storage is not None:
            self._storage.close()
            self._storage = None


def catch_up(
    paths: WorkspacePaths,
    *,
    wait_s: float = 0.0,
    opener: Opener | None = None,
    before: Callable[[], None] = lambda: None,
) -> int | None:
    """Record every ended attempt that has no record yet; return how many, or None while somebody else is at it.

    One process at a time; another's turn is waited for up to `wait_s`. `before` is called when it is known what is to
    be recorded, before any of it is. Raises ResultsError when the results cannot be
    written, StoreError when the history cannot be read, OSError; what is missing is recorded next time.
    """
    results = opener or Opener(paths)
    try:
        with _turn(paths, wait_s) as turn:
            if turn is None:
                return None
            count = 0
            with SqliteReader(paths.database) as reader:
                while events := reader.events(after=_done(turn), kinds=["attempt_ended"], limit=BATCH):
                    before()
                    count += _write(paths, reader, results.get(), events)
                    _note_done(turn, events[-1].seq)
            return count
    finally:
        if opener is None:
            results.close()


def is_behind(paths: WorkspacePaths) -> bool:
    """Whether an attempt has ended that is not recorded yet. Needs no lock. Raises StoreError, OSError."""
    try:
        with open(_done_path(paths), "rb") as file:
            done = _done(file.fileno())
    except FileNotFoundError:
        done = 0
    with SqliteReader(paths.database) as reader:
        return bool(reader.events(after=done, kinds=["attempt_ended"], limit=1))


def _write(paths: WorkspacePaths, reader: SqliteReader, storage: MetadataStorage, events: list[Event]) -> int:
    workspace_id = reader.meta().get("workspace_id", "")
    uuids = {event.seq: record_uuid(_tag(workspace_id, event.payload)) for event in events}
    known = set(storage.read_entries(uuid_query=list(uuids.values()))[1])
    count = 0
    for event in events:
        if uuids[event.seq] in known:
            continue  # recorded before a crash kept us from noting it
        found = _record(paths, reader, workspace_id, event)
        if found is not None:
            _store(storage, found)
            known.add(found.uuid)
            count += 1
    return count


def _tag(workspace_id: str, payload: Payload) -> str:
    assert isinstance(payload, AttemptEnded)
    return f"{workspace_id}/{payload.job_id}.{payload.number}"


def _record(paths: WorkspacePaths, reader: SqliteReader, workspace_id: str, event: Event) -> Record | None:
    payload = event.payload
    assert isinstance(payload, AttemptEnded)
    if isinstance(payload.ended.outcome, UpToDate):
        return None  # nothing ran: the record of the run that made the files stands
    job = reader.job(payload.job_id)
    attempt = next((each for each in reader.attempts_of(payload.job_id) if each.number == payload.number), None)
    if job is None or attempt is None:
        return None  # cleaned away in the meantime
    directory = paths.attempt_dir(payload.job_id, payload.number)
    return record(job, attempt, payload.ended, tag=_tag(workspace_id, payload), directory=directory)


def _store(storage: MetadataStorage, found: Record) -> None:
    attachments: dict[str, Any] = {}
    for name, path in found.files.items():
        relative = os.path.join(RUNS_DIR, found.uuid, os.path.basename(path))
        if _copied(path, os.path.join(storage.storage_dir, relative)):
            attachments[name] = relative
    storage.create_entry(uuid=found.uuid, metadata=found.metadata, extra_info=found.extra_info, attachments=attachments)


def _copied(source: str, target: str) -> bool:
    """Copy a file; False = it is gone. A full disk is an error: the record waits for a whole copy."""
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    try:
        with open(source, "rb") as file:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as copy:
                shutil.copyfileobj(file, copy)
    except FileNotFoundError:
        return False
    return True


# How far the history has been recorded: a number in a file of its own, locked while somebody records. ----------------


@contextlib.contextmanager
def _turn(paths: WorkspacePaths, wait_s: float) -> Iterator[int | None]:
    """The open, locked file; None = somebody else is recording."""
    fd = os.open(_done_path(paths), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd if _locked(fd, wait_s) else None
    finally:
        os.close(fd)


def _locked(fd: int, wait_s: float) -> bool:
    clock = SystemClock()
    deadline, never = clock.monotonic() + wait_s, threading.Event()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                return False
            never.wait(_LOOK_S)
        else:
            return True


def _done_path(paths: WorkspacePaths) -> str:
    return os.path.join(paths.state, "recorded")


def _done(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _note_done(fd: int, seq: int) -> None:
    os.pwrite(fd, f"{seq:>20}\n".encode(), 0)
