"""A GPU probe that never holds up whoever asks: the driver is asked in a thread, and awaited for a moment only."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from researchflow_tmux.adapters.one_call import Call, Worker
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.ports import GpuProbe

PATIENCE_S = 0.5
"""Longest wait for a driver that usually answers in a few milliseconds."""
TOO_LATE_S = 5.0
"""An answer that took longer than this is of another time."""
LATE_LASTS_S = 1.0
"""And one that came before that is good for so long."""
MOST_KEPT = 256
"""Readings that nobody has taken, the latest ones."""


class PromptProbe:
    """The GpuProbe of the scheduler: its loop and its sampler share one reading at a time.

    Every answer of the driver, whoever asked for it, is kept for `take`: critical errors are told by the driver once.
    """

    def __init__(
        self,
        inner: GpuProbe,
        *,
        monotonic: Callable[[], float],
        on_news: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Ask nothing yet.

        Args:
            inner: The probe that may hang; used by one thread only.
            monotonic: Source of the time of readings.
            on_news: Called in the thread when a GPU is in trouble, and when there is an answer again after none: the
                loop had better look.
            patience_s: How long `read` waits at most.
        """
        self._inner, self._monotonic, self._on_news, self._patience_s = inner, monotonic, on_news, patience_s
        self._worker = Worker("gpu-reader")
        self._lock = threading.Lock()
        self._call: Call[list[GpuReading]] | None = None
        self._asked_at = 0.0
        self._given_up = False
        self._late: tuple[float, list[GpuReading]] | None = None
        """The answer that came when nobody waited for it any more, and when."""
        self._failed = False
        """Whether the answer before was none."""
        self._taken: deque[tuple[float, list[GpuReading]]] = deque(maxlen=MOST_KEPT)
        self.alert = False
        """Whether every reading is news: a GPU was lost, and it matters when it is back."""

    def read(self) -> list[GpuReading]:
        """One reading per GPU; a call that is under way already is joined.

        Raises ProbeError when the driver has no answer, or none in time; then at once, until it has. An answer that
        comes a little late is for the next one who asks: a driver that is always slow can be read all the same.
        """
        with self._lock:
            late, self._late = self._late, None
            if late is not None and self._monotonic() - late[0] <= LATE_LASTS_S:
                return late[1]
            if self._call is None:
                self._asked_at, self._given_up = self._monotonic(), False
                self._call = self._worker.submit(self._ask)
            call, patience_s = self._call, 0.0 if self._given_up else self._patience_s
        if not call.wait(patience_s):
            self._given_up = True
            waited_s = self._monotonic() - self._asked_at
            raise ProbeError(
                f"the driver has not answered for {waited_s:.1f} s",
                hint="try `nvidia-smi`; if that hangs too, `dmesg | grep -i xid` tells what the driver met",
            )
        if isinstance(call.result, list):
            return call.result
        if isinstance(call.result, Exception):
            raise call.result
        raise ProbeError("the GPUs are not read any more")

    def take(self) -> list[tuple[float, list[GpuReading]]]:
        """The readings since the last call, oldest first, each with its monotonic time."""
        taken = []
        while self._taken:
            taken.append(self._taken.popleft())
        return taken

    def close(self) -> None:
        """End the thread. A call that hangs goes with the program."""
        self._worker.close()

    def _ask(self) -> list[GpuReading]:
        failed = True
        try:
            readings = self._inner.read()
            failed = False
            self._taken.append((self._monotonic(), readings))
        finally:
            with self._lock:
                arrived_s = self._monotonic()
                if self._given_up and not failed and arrived_s - self._asked_at <= TOO_LATE_S:
                    self._late = (arrived_s, readings)
                self._call, again, self._failed = None, self._given_up or self._failed, failed
        if again or self.alert or any(reading.lost or reading.xids for reading in readings):
            self._on_news()
        return readings
