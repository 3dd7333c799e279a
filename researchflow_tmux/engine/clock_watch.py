"""Notices that the wall clock was set, by the clock that never is: it is told, and spans are measured without it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from researchflow_tmux.domain.events import Notice
from researchflow_tmux.engine.context import Context

JUMP_S = 60.0
"""Less than this at once is a correction that matters to nobody."""


class ClockWatch:
    """Asked at each tick."""

    def __init__(self, context: Context, jumped: Callable[[float], None]) -> None:
        """`jumped` = called with the seconds that the wall clock went forward (back, if negative) for no reason."""
        self._it = context
        self._jumped = jumped
        self._ahead_s: float | None = None

    def look(self, now: datetime) -> None:
        """Compare both clocks with each other."""
        ahead_s = now.timestamp() - self._it.clock.monotonic()
        before_s, self._ahead_s = self._ahead_s, ahead_s
        if before_s is None or abs(ahead_s - before_s) < JUMP_S:
            return
        jump_s = ahead_s - before_s
        self._jumped(jump_s)
        text = (
            f"the machine's clock went {'forward' if jump_s > 0 else 'back'} by {_span(abs(jump_s))} at once (it was "
            "set, or the machine slept): times told before and after do not fit together"
        )
        self._it.apply(Notice(text=text, level="warning"), now)


def _span(seconds: float) -> str:
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 200 * 3600 else f"{seconds / 86_400:.0f} days"
