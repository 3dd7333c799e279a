"""Writing run records: from the history of ended attempts, each exactly once, however often anything is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.events import AttemptEnded, Event
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.records.facts import Record, record
from researchflow_tmux.records.provenance import provenance
from researchflow_tmux.results import MetadataStorage, ResultsError

RESULTS_DIR = "results"
"""In the workspace: a `MetadataStorage`."""
BATCH = 500
CODE = "code.json"


def results_dir(paths: WorkspacePaths) -> str:
    """Where the workspace's results are."""
    return os.path.join(paths.root, RESULTS_DIR)


def catch_up(paths: WorkspacePaths) -> int:
    """Record every ended attempt that has no record yet; return how many.

    One process at a time; another that is at it makes this return 0. Raises ResultsError when the results cannot be
    written, StoreError when the history cannot be read; what is missing is recorded next time.
    """
    with _turn(paths) as turn:
        if turn is None:
            return 0
        count = 0
        with SqliteReader(paths.database) as reader:
            workspace_id = reader.meta().get("workspace_id", "")
            while events := reader.events(after=_done(turn), kinds=["attempt_ended"], limit=BATCH):
                count += _write(paths, reader, workspace_id, events)
                _note_done(turn, events[-1].seq)
        return count


def note_code(paths: WorkspacePaths, job_id: int, number: int, workdir: str) -> None:
    """Write down which code an attempt runs, into its directory. Called as it starts: code changes later."""
    directory = paths.attempt_dir(job_id, number)
    found = provenance(workdir)
    if found.commit is None:
        return
    facts = {name: value for name, value in msgspec.to_builtins(found).items() if name != "diff"}
    with contextlib.suppress(OSError):  # no directory any more, or no room: the record then says nothing of the code
        if found.diff is not None:
            _private_write(os.path.join(directory, "code.diff"), found.diff.encode())
        _private_write(os.path.join(directory, CODE), msgspec.json.encode(facts))


def _write(paths: WorkspacePaths, reader: SqliteReader, workspace_id: str, events: list[Event]) -> int:
    os.makedirs(results_dir(paths), mode=0o700, exist_ok=True)  # private, like everything we make
    storage = MetadataStorage(results_dir(paths))
    try:
        count = 0
        for event in events:
            found = _record(paths, reader, workspace_id, event)
            if found is not None:
                _store(storage, found)
                count += 1
        return count
    finally:
        storage.close()


def _record(paths: WorkspacePaths, reader: SqliteReader, workspace_id: str, event: Event) -> Record | None:
    payload = event.payload
    if not isinstance(payload, AttemptEnded):
        return None
    job = reader.job(payload.job_id)
    attempts = [a for a in reader.attempts_of(payload.job_id) if a.number == payload.number]
    if job is None or not attempts:
        return None  # cleaned away in the meantime
    directory = paths.attempt_dir(payload.job_id, payload.number)
    return record(
        job,
        attempts[0],
        payload.ended,
        tag=f"{workspace_id}/{payload.job_id}.{payload.number}",
        directory=directory,
        provenance=_code(directory),
    )


def _store(storage: MetadataStorage, found: Record) -> None:
    if storage.read_entries(uuid_query=found.uuid)[1]:
        return  # recorded before a crash kept us from noting it
    attachments: dict[str, Any] = {}
    for name, path in found.files.items():
        relative = os.path.join("runs", found.uuid, os.path.basename(path))
        target = os.path.join(storage.storage_dir, relative)
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
            attachments[name] = relative
    storage.create_entry(uuid=found.uuid, metadata=found.metadata, extra_info=found.extra_info, attachments=attachments)


def _code(directory: str) -> dict[str, Any]:
    try:
        with open(os.path.join(directory, CODE), "rb") as file:
            facts: dict[str, Any] = msgspec.json.decode(file.read())
            return facts
    except (OSError, msgspec.DecodeError):
        return {}


def _private_write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)


# How far the history has been recorded: a number in a file of its own, locked while somebody records. ----------------


@contextlib.contextmanager
def _turn(paths: WorkspacePaths) -> Iterator[int | None]:
    """The open, locked file; None = somebody else is recording."""
    fd = os.open(os.path.join(paths.state, "recorded"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _done(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _note_done(fd: int, seq: int) -> None:
    data = f"{seq:>20}\n".encode()
    os.pwrite(fd, data, 0)


class Recorder:
    """Does all of it beside the scheduler's loop, which it never delays."""

    def __init__(self, paths: WorkspacePaths, tell: Any) -> None:
        """`tell(text)` is called, in the recorder's thread, when recording does not work."""
        self._paths = paths
        self._tell = tell
        self._poked = threading.Event()
        self._ending = False
        self._started: list[tuple[int, int, str]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def attempt_started(self, job_id: int, number: int, workdir: str) -> None:
        """An attempt has just started: look at its code soon."""
        with self._lock:
            self._started.append((job_id, number, workdir))
        self._poke()

    def attempt_ended(self) -> None:
        """There is something to record."""
        self._poke()

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish what is there; what takes longer is recorded by whoever comes next."""
        self._ending = True
        self._poked.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _poke(self) -> None:
        self._poked.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._poked.wait()
            self._poked.clear()
            with self._lock:
                started, self._started = self._started, []
            for job_id, number, workdir in started:
                note_code(self._paths, job_id, number, workdir)
            try:
                catch_up(self._paths)
            except (ResultsError, RfschedError, OSError) as error:
                self._tell(f"a run could not be recorded: {error}")
            if self._ending and not self._poked.is_set():
                return
