"""The recorder: a thread beside the scheduler's loop, which it never delays and never ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.records.catching_up import Opener, catch_up
from researchflow_tmux.records.provenance import CodeNotes

PAUSE_S = 0.2
"""Between two looks: in a storm of short jobs many are recorded in one go."""
RETRY_S = 30.0
"""Until the next try when the results cannot be written (a full disk, a directory without rights)."""


class Recorder:
    """Records attempts as they end, and notes their code as they start."""

    def __init__(self, paths: WorkspacePaths, tell: Callable[[str], None], *, retry_s: float = RETRY_S) -> None:
        """`tell(text)` is called, in the recorder's thread, when recording stops working and when it works again."""
        self._paths = paths
        self._tell = tell
        self._retry_s = retry_s
        self._poked = threading.Event()
        self._ending = threading.Event()
        self._started: dict[tuple[int, int], str] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None
        self._code = CodeNotes()

    def attempt_started(self, job_id: int, number: int, workdir: str) -> None:
        """An attempt has just started: look at its code soon."""
        with self._lock:
            self._started[job_id, number] = workdir
        self._poke()

    def attempt_ended(self) -> None:
        """There is something to record."""
        self._poke()

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish what is there; what takes longer is recorded by whoever comes next."""
        self._ending.set()
        self._poked.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _poke(self) -> None:
        self._poked.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        opener = Opener(self._paths)
        retry_s = self._guarded(self._remember_running)
        while True:
            self._poked.wait(retry_s)
            self._poked.clear()
            ending = self._ending.is_set()  # asked first: what comes later has poked again
            retry_s = self._guarded(lambda: self._look(opener))
            if ending:
                break
            self._ending.wait(PAUSE_S)
        with contextlib.suppress(RfschedError, OSError):  # nothing is lost: every record is stored already
            opener.close()

    def _look(self, opener: Opener) -> float | None:
        """One round; seconds until the next one, None = when somebody pokes."""
        self._note_code()
        # Once more before anything is recorded: a short job may have started and ended in the meantime.
        done = catch_up(self._paths, opener=opener, before=self._note_code)
        return PAUSE_S if done is None else None

    def _note_code(self) -> None:
        with self._lock:
            started, self._started = self._started, {}
        directories = {self._paths.attempt_dir(*key): workdir for key, workdir in started.items()}
        self._code.note(directories, SystemClock().now())

    def _remember_running(self) -> None:
        """A scheduler that was killed may have started attempts whose code nobody has noted."""
        with SqliteReader(self._paths.database) as reader:
            keys = [attempt.key for attempt in reader.live_attempts()]
            jobs = {job.id: job for job in reader.full_jobs([job_id for job_id, _ in keys])}
        with self._lock:
            for key in keys:
                self._started.setdefault(key, jobs[key[0]].spec.workdir)

    def _guarded(self, step: Callable[[], float | None]) -> float | None:
        """Do a step; say once what keeps it from working, and once when it works again."""
        try:
            wait_s = step()
        except Exception as error:  # noqa: BLE001 - whatever it is, jobs go on and the next look may succeed
            words = str(error) if isinstance(error, RfschedError | OSError) else f"{type(error).__name__}: {error}"
            if self._trouble is None:
                self._tell(f"runs cannot be recorded for now: {words}; it is tried again every {self._retry_s:g} s")
            self._trouble = words
            return self._retry_s
        if self._trouble is not None:
            self._tell("runs are recorded again, with those that were left out")
            self._trouble = None
        return wait_s
