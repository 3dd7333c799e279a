"""One checkpoint on its way to the store, in a thread of its own."""

from __future__ import annotations

import os
import threading

from .errors import CheckpointError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .store import Saved


class Saving:
    """A handle on a save. The interpreter does not exit before it is done; nobody has to wait for it."""

    def __init__(self, work: Callable[[], Saved], step: int, failed: Callable[[CheckpointError], None]) -> None:
        self.step = step
        self.saved: Saved | None = None
        """The checkpoint, once it is safely in the store."""
        self.error: CheckpointError | None = None
        """Why it failed, once it did."""
        self._work = work
        self._failed = failed
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name=f"checkpoint of step {step}")

    def start(self) -> None:
        """Begin; at once and to the end if the interpreter is exiting, when nobody waits for threads any more."""
        if not threading.main_thread().is_alive():
            self._run()
            return
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: a limit of the system, or a newer Python on its way out
            self._run()

    @property
    def done(self) -> bool:
        """Whether it ended, well or not. In a forked copy of the process it always has: its thread is not there."""
        return self.saved is not None or self.error is not None or self._pid != os.getpid()

    def wait(self, timeout_s: float | None = None) -> Saved:
        """Return the checkpoint when it is safely in the store.

        Raises `CheckpointError` if it failed and `TimeoutError` after `timeout_s` seconds (None: waits for ever).
        """
        self._join(timeout_s)
        if self.error is not None:
            raise self.error
        if self.saved is None:
            what = "is being written by the process this one was forked from" if self.done else "is not written yet"
            raise TimeoutError(f"the checkpoint of step {self.step} {what}: wait longer, there")
        return self.saved

    def settle(self) -> None:
        """Wait until it ended, well or not."""
        self._join(None)

    def _join(self, timeout_s: float | None) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self.saved = self._work()
        except CheckpointError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to
            what = f"{type(error).__name__}: {reason(error)}"
            failure = CheckpointError(f"the checkpoint of step {self.step} was not saved: {what}")
            failure.__cause__ = error
            self._fail(failure)

    def _fail(self, error: CheckpointError) -> None:
        self._failed(error)
        self.error = error
