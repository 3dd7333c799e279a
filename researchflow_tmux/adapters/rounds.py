"""A thread beside the scheduler's loop that does a round of work whenever somebody pokes it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from researchflow_tmux.domain.errors import RfschedError

Round = Callable[[], float | None]
"""Does a round; seconds until the next one, None = when somebody pokes. What it raises is told and tried again."""


class Rounds:
    """Starts with the first poke. The loop never waits for it, and trouble is told once, as is its end."""

    def __init__(
        self,
        name: str,
        opened: Callable[[], AbstractContextManager[Round]],
        *,
        tell: Callable[[str], None],
        broken: str,
        again: str,
        pause_s: float,
        retry_s: float,
    ) -> None:
        """Start nothing yet.

        Args:
            name: What the thread is called.
            opened: Entered and left in the thread, once: what its rounds share (connections belong to one thread).
            tell: Called in the thread, with words.
            broken: What to say when rounds begin to fail.
            again: What to say when they work again.
            pause_s: Between two rounds: in a storm much is dealt with in one go.
            retry_s: Between a round that failed and the next one.
        """
        self._name, self._opened, self._tell = name, opened, tell
        self._broken, self._again, self._pause_s, self._retry_s = broken, again, pause_s, retry_s
        self._poked, self._ending = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = False

    def poke(self) -> None:
        """There is something to do."""
        self._poked.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Do a last round, if there ever was one; what takes longer is left as it is."""
        self._ending.set()
        self._poked.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _work(self) -> None:
        with self._opened() as work:
            wait_s: float | None = None
            while True:
                self._poked.wait(wait_s)
                self._poked.clear()  # first: whoever ends it after the question below has poked again
                ending = self._ending.is_set()
                wait_s = self._guarded(work)
                if ending:
                    return
                self._ending.wait(self._pause_s)

    def _guarded(self, work: Round) -> float | None:
        try:
            wait_s = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, jobs go on and the next round may succeed
            plain = isinstance(error, OSError | sqlite3.Error | RfschedError)
            words = str(error) if plain else f"{type(error).__name__}: {error}"
            if not self._trouble:
                self._tell(f"{self._broken}: {words}; it is tried again every {self._retry_s:g} s")
            self._trouble = True
            return self._retry_s
        if self._trouble:
            self._tell(self._again)
            self._trouble = False
        return wait_s
