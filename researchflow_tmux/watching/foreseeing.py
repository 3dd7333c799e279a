"""A thread beside the scheduler's loop that follows how far jobs are, and learns from how they end."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable

from researchflow_tmux.adapters import foreseen_file
from researchflow_tmux.adapters.foreseen_file import Foreseen
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.events import AttemptEnded, Event, JobSubmitted
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.ports import Clock
from researchflow_tmux.watching.learning import Learning
from researchflow_tmux.watching.outlook import Outlook, Target, target

LOOK_S = 2.0
"""Between two looks at running jobs; longer with many of them, so that it never takes more than a little of a core."""
PER_JOB_S = 0.1
RETRY_S = 30.0
MOST_NEW = 20_000
"""Jobs that came and are still to be predicted; of more than that at once the first ones are left out."""


class Foreseeing:
    """Keeps `foreseen.json` and `predictions.db` up to date. The loop never waits for it; trouble is told once."""

    def __init__(self, paths: WorkspacePaths, clock: Clock, tell: Callable[[str], None]) -> None:
        """Start nothing yet. `tell(text)` is called in the thread when something stops or works again."""
        self._paths, self._clock, self._tell = paths, clock, tell
        self._targets: tuple[Target, ...] = ()
        self._news: deque[Job] = deque(maxlen=MOST_NEW)
        self._poked, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: str | None = None

    # -- the loop's side

    def follow(self, attempts: Iterable[Attempt], job: Callable[[int], Job]) -> None:
        """These attempts are live now. Cheap: called with every tick."""
        before = self._targets
        self._targets = tuple(found for each in attempts if (found := target(each, job)) is not None)
        if self._targets and not before:
            self._poke()

    def saved(self, events: Iterable[Event]) -> None:
        """This happened: predict what came, learn from what ended."""
        poke = False
        for event in events:
            match event.payload:
                case JobSubmitted(job=job):
                    self._news.append(job)
                    poke = True
                case AttemptEnded():
                    poke = True
        if poke:
            self._poke()

    def begin(self) -> None:
        """Learn from what ended while no scheduler ran."""
        self._poke()

    def close(self, timeout_s: float = 2.0) -> None:
        """Finish what there is; what takes longer is learned at the next start."""
        self._ending.set()
        self._poked.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # -- the thread's side

    def _poke(self) -> None:
        self._poked.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="foreseeing", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        learning, outlook = Learning(self._paths), Outlook(self._paths, foreseen_file.read(self._paths.foreseen))
        wait_s: float | None = 0.0
        while True:
            self._poked.wait(wait_s)
            ending = self._ending.is_set()  # asked first: what comes later has poked again
            self._poked.clear()
            wait_s = self._guarded(lambda: self._round(learning, outlook))
            if ending:
                break
            self._ending.wait(min(LOOK_S / 4, 0.5))  # in a storm of short jobs many are dealt with in one go
        learning.close()

    def _round(self, learning: Learning, outlook: Outlook) -> float | None:
        """Look once; seconds until the next time, None = when something happens."""
        learning.expect(self._news)
        learning.learn(outlook)
        targets = self._targets
        now = self._clock.now()
        if outlook.look(targets, learning.history, learning.wrong, now):
            foreseen_file.write(self._paths.foreseen, Foreseen(at=now, attempts=outlook.attempts))
        return max(LOOK_S, PER_JOB_S * len(targets)) if targets else None

    def _guarded(self, step: Callable[[], float | None]) -> float | None:
        try:
            wait_s = step()
        except Exception as error:  # noqa: BLE001 - whatever it is, jobs go on and the next round may succeed
            plain = isinstance(error, OSError | sqlite3.Error | RfschedError)
            words = str(error) if plain else f"{type(error).__name__}: {error}"
            if self._trouble is None:
                self._tell(f"ends of jobs cannot be predicted for now: {words}; it is tried again every {RETRY_S:g} s")
            self._trouble = words
            return RETRY_S
        if self._trouble is not None:
            self._tell("ends of jobs are predicted again")
            self._trouble = None
        return wait_s
