"""How busy a GPU was over a rolling span of time. Pure: time is what the caller says."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

WINDOW_S = 60.0
"""The span that `max_util` looks at: a training pauses for seconds between epochs, and that is no free GPU."""
MAX_GAP_S = 15.0
"""A reading speaks for no more time than this: what nobody looked at is unknown."""


class UtilisationWindow:
    """Readings of one GPU's utilisation, averaged over the last `span_s` seconds, each by the time it stands for.

    A reading stands for the time since the one before it, as the driver's own figure is an average over the moments
    before it; at most for `max_gap_s`. So twenty readings of one busy second weigh no more than one of it.
    """

    def __init__(self, span_s: float = WINDOW_S, max_gap_s: float = MAX_GAP_S) -> None:
        """Begin with nothing known."""
        self.span_s = span_s
        self.max_gap_s = max_gap_s
        self._readings: deque[tuple[float, float | None]] = deque()
        self._known_since: float | None = None
        """From here to the last reading there is no hole."""

    def add(self, at_s: float, util_pct: float | None) -> None:
        """Note a reading taken at `at_s` of a monotonic clock; None = it could not be read.

        A reading that is not later than the last one is left out.
        """
        last_s = self._readings[-1][0] if self._readings else None
        if last_s is not None and at_s <= last_s:
            return
        if util_pct is None:
            self._known_since = None
        elif self._known_since is None or last_s is None or at_s - last_s > self.max_gap_s:
            self._known_since = at_s  # an average needs a beginning: the first one only marks it
        self._readings.append((at_s, util_pct))
        # One reading from before the window stays: it says from when on the next one speaks.
        while len(self._readings) > 1 and self._readings[1][0] <= at_s - self.span_s:
            self._readings.popleft()

    def mean_pct(self, now_s: float) -> float | None:
        """The time-weighted average over `[now_s - span_s, now_s]`; None while any part of that is unknown."""
        covered_s = self.covered_at(now_s)
        if covered_s is None or covered_s > now_s:
            return None
        begin_s = now_s - self.span_s
        total = 0.0
        for (before_s, _), (at_s, util_pct) in pairwise(self._readings):
            total += (util_pct or 0.0) * max(0.0, min(at_s, now_s) - max(before_s, begin_s))
        last_s, last_pct = self._readings[-1]
        total += (last_pct or 0.0) * max(0.0, now_s - last_s)
        return total / self.span_s

    def covered_at(self, now_s: float) -> float | None:
        """When the window will be known as a whole if readings go on coming; in the past = it is.

        None = nothing is known just now: the last reading failed, or is too old.
        """
        if self._known_since is None or now_s - self._readings[-1][0] > self.max_gap_s:
            return None
        return self._known_since + self.span_s
