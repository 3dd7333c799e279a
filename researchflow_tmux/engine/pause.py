"""Not launching for a while because the machine refuses (disk full, tmux silent): with a reason, and backoff."""

from __future__ import annotations

from datetime import timedelta

from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.policies.retry import backoff_s
from researchflow_tmux.ports import Clock

FIRST_PAUSE_S = 1.0
MAX_PAUSE_S = 60.0


class Pause:
    """Counts refusals in a row."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._refusals = 0
        self._until = float("-inf")
        self._reason: Reason | None = None

    def begin(self, why: str) -> bool:
        """Pause, longer each time in a row; True = `why` is news."""
        pause_s = backoff_s(FIRST_PAUSE_S, self._refusals, MAX_PAUSE_S)
        self._refusals += 1
        self._until = self._clock.monotonic() + pause_s
        news = self._reason is None or self._reason.text != why
        until = self._clock.now() + timedelta(seconds=pause_s)
        self._reason = Reason(code=ReasonCode.HOST, text=why, until=until)
        return news

    def over(self) -> None:
        """Something worked: the next refusal starts afresh."""
        self._refusals = 0
        self._reason = None
        self._until = float("-inf")

    @property
    def left_s(self) -> float:
        """Seconds it still lasts; 0 = launching goes on."""
        return max(self._until - self._clock.monotonic(), 0.0)

    @property
    def reason(self) -> Reason | None:
        """Why nothing is launched now; None = no pause."""
        return self._reason if self.left_s > 0 else None
