"""The recorder: a thread beside the scheduler's loop, which it never delays and never ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.rounds import Round, Rounds
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
        self._rounds = Rounds(
            "recorder",
            self._opened,
            tell=tell,
            broken="runs cannot be recorded for now",
            again="runs are recorded again, with those that were left out",
            pause_s=PAUSE_S,
            retry_s=retry_s,
        )
        self._started: dict[tuple[int, int], str] = {}
        self._lock = threading.Lock()
        self._remembered = False
        self._code = CodeNotes()

    def attempt_started(self, job_id: int, number: int, workdir: str) -> None:
        """An attempt has just started: look at its code soon."""
        with self._lock:
            self._started[job_id, number] = workdir
        self._rounds.poke()

    def attempt_ended(self) -> None:
        """There is something to record."""
        self._rounds.poke()

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish what is there; what takes longer is recorded by whoever comes next."""
        self._rounds.close(timeout_s)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Round]:
        opener = Opener(self._paths)
        yield lambda: self._look(opener)
        with contextlib.suppress(RfschedError, OSError):  # nothing is lost: every record is stored already
            opener.close()

    def _look(self, opener: Opener) -> float | None:
        """One round; seconds until the next one, None = when somebody pokes."""
        if not self._remembered:
            self._remember_running()
            self._remembered = True
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
