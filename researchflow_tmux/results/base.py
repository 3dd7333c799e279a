"""What every operation on a storage stands on: the lock, a current view, and one way to store changes."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from researchflow_tmux.results.errors import ResultsError, StorageUnusable
from researchflow_tmux.results.files import IndexFiles
from researchflow_tmux.results.locks import DirectoryLock, is_shared
from researchflow_tmux.results.state import State
from researchflow_tmux.results.values import Entry

_LOG = logging.getLogger(__name__)
_LIVE: weakref.WeakSet[StorageBase] = weakref.WeakSet()


class StorageBase:
    """The lock and the entries of one directory, for all threads of this process."""

    def __init__(
        self,
        storage_dir: str | os.PathLike[str] = "storage",
        *,
        lock_timeout_s: float = 60.0,
        durable: bool = True,
        single_machine: bool = False,
    ) -> None:
        self.storage_dir = Path(storage_dir)
        self.index_file = self.storage_dir / "index.json"
        self.index_file_backup = self.storage_dir / "index.json.backup"
        self.lock_file = self.storage_dir / ".lock"
        self._options = {"lock_timeout_s": lock_timeout_s, "durable": durable, "single_machine": single_machine}
        try:
            self.storage_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnusable(
                f"{storage_dir} cannot be made a directory: {error.strerror}", hint="choose another place"
            ) from error
        self._root = os.path.abspath(storage_dir)
        self._shared = is_shared(self._root, single_machine=single_machine)
        self._lock = DirectoryLock(os.path.join(self._root, ".lock"), lock_timeout_s)
        self._state = State(IndexFiles(self._root, durable=durable))
        self._lock_count = 0
        self._lock_thread = 0
        self._threads = threading.RLock()
        _LIVE.add(self)

    @property
    def index_data(self) -> dict[str, Entry]:
        """All entries by uuid as last seen: to look at, not to change. Empty until the first operation."""
        return self._state.entries

    def flush(self) -> None:
        """Bring index.json and its backup into their shortest form: one line for each entry.

        Nothing waits for this: every change is in index.json when its call returns. Raises ResultsError.
        """
        with self._current() as state:
            if state.is_tidy():
                return
        with self._writing():
            self._leave(self._state.rewrite())

    def close(self) -> None:
        """Flush if anything was changed here, and close the lock file. Using the storage again opens it again."""
        if self._state.has_written:
            with contextlib.suppress(StorageUnusable):  # nothing is lost without
                self.flush()
        with self._threads:
            if self._lock_count == 0:
                self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.storage_dir)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets a storage of its own for the same directory.
        return _open, (type(self), str(self.storage_dir), self._options)

    def __del__(self) -> None:
        lock = getattr(self, "_lock", None)
        if lock is not None:
            lock.close()

    def _acquire_lock(self) -> None:
        """Take the directory's lock, or once more; other threads and processes wait. Raises ResultsError."""
        self._threads.acquire()
        try:
            if self._lock_count == 0:
                self._lock.acquire(exclusive=True)
            self._lock_count += 1
            self._lock_thread = threading.get_ident()
            try:
                self._catch_up()
            except BaseException:
                self._lock_count -= 1
                if self._lock_count == 0:
                    self._lock.release()
                raise
        except BaseException:
            self._threads.release()
            raise

    def _release_lock(self) -> None:
        """Give back one hold on the lock. In a thread that has none, nothing happens."""
        if self._lock_count == 0 or self._lock_thread != threading.get_ident():
            return
        self._lock_count -= 1
        if self._lock_count == 0:
            self._lock.release()
        self._threads.release()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[State]:
        """The entries, current and locked for changes."""
        self._acquire_lock()
        try:
            yield self._state
        finally:
            self._release_lock()

    @contextlib.contextmanager
    def _current(self) -> Iterator[State]:
        """The entries, current, for as long as this thread looks at them. No lock if nothing has changed."""
        with self._threads:
            if self._lock_count or self._shared or not self._state.is_current():
                self._look()
            yield self._state

    def _look(self) -> None:
        if self._lock_count == 0:
            self._lock.acquire(exclusive=False)
            try:
                self._state.sync(self._lock.read_note())
            finally:
                self._lock.release()
        if self._state.trouble and self._lock_count == 0:
            # Restored at once: another program would take a missing index for an empty storage.
            with contextlib.suppress(StorageUnusable), self._writing():
                pass

    def _catch_up(self) -> None:
        self._state.sync(self._lock.read_note())
        if self._state.trouble:
            self._leave(self._state.rewrite())

    def _commit(self, changed: Mapping[str, Entry], removed: Collection[str] = ()) -> None:
        """Store changes, all or none. Only while writing. Raises StorageUnusable."""
        self._leave(self._state.commit(changed, removed, self._lock.read_note()))

    def _leave(self, note: bytes) -> None:
        try:
            self._lock.write_note(note)
        except OSError as error:  # the next one to look reads the whole index instead of what was added
            _LOG.info("%s: %s", self.lock_file, error)

    def reset_after_fork(self) -> None:
        """The parent keeps the lock; whatever thread held it does not exist in the child."""
        self._lock.close()
        self._lock_count = 0
        self._threads = threading.RLock()
        self._state.forget()


def _open(kind: type[StorageBase], storage_dir: str, options: dict[str, Any]) -> StorageBase:
    return kind(storage_dir, **options)


def after_fork() -> None:
    """Called in the child of a fork, for every storage of the process."""
    for storage in list(_LIVE):
        with contextlib.suppress(ResultsError, OSError):
            storage.reset_after_fork()


os.register_at_fork(after_in_child=after_fork)
