"""What signals ask of a job: SIGUSR1 to save soon, SIGTERM to save and end.

The handlers only take note; the training loop saves between two steps, where its state is whole.
"""

from __future__ import annotations

import os
import signal
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

SAVE, STOP = signal.SIGUSR1, signal.SIGTERM
EXIT_CODE = 128 + STOP
AGAIN_S = 3.0


class Requests:
    """`save` and `stop` become True when the signals arrive; handlers that were there before are called as well.

    A second SIGTERM, some seconds later, ends the process at once, like one that nobody handles. Sooner, it is the same
    request by another way: to the group, and again by a launcher that passes it on.
    """

    def __init__(self) -> None:
        self.save = False
        self.stop = False
        self._before: dict[int, Any] = {}
        self._asked = 0.0

    def listen(self) -> None:
        """Install the handlers, once. Only the main thread can; from another one nothing happens."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        for number in (SAVE, STOP):
            before = signal.getsignal(number)
            self._before[number] = before
            if before not in (None, signal.SIG_IGN):  # None: not installed by Python, so not ours to replace
                signal.signal(number, self._arrived)
        os.register_at_fork(after_in_child=self._leave)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        now = time.monotonic()
        if number == STOP and self.stop and before == signal.SIG_DFL and now - self._asked > AGAIN_S:
            signal.signal(STOP, signal.SIG_DFL)
            os.kill(os.getpid(), STOP)
        if number == STOP and not self.stop:
            self.stop, self._asked = True, now
        self.save = True
        if callable(before):
            before(number, frame)

    def _leave(self) -> None:
        """Put back what was there: a forked worker must end when its parent sends it SIGTERM."""
        for number, before in self._before.items():
            if signal.getsignal(number) == self._arrived:
                signal.signal(number, before)
