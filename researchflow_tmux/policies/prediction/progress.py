"""What is left of a job that says how far it is.

The rate is that of the last increments (their median: pauses for evaluation and saving do not count) blended with the
mean (in which they do), the mean counting f/(f + 0.05) at a fraction f: at first it knows too little, later it knows
best. The first fifth of what was done is left out of the mean: programs are slow while they warm up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

LEAST = 0.02
"""Fraction from which on it says anything,"""
UPDATES = 3
"""and so many reports that moved on."""
INCREMENTS = 50
BLEND = 0.05
WARM_UP = 0.2
"""Measured on made-up trainings (`rfsched simulate --predict`): without it 83 % of the predictions at 10 % of progress
were within 15 %, with it 97 %."""
MARK = 0.005
"""Progress from one mark to the next: where the mean may begin."""
SPREAD = 0.1
"""Half of the interval, as a logarithm, of which nothing is known yet: what is left may be 10 % more or less, and as
much more as the two rates differ."""


class Left(NamedTuple):
    """What is left, in seconds, and how far the two rates are apart."""

    seconds: float
    spread: float
    """|ln(mean / median)| of the rates."""


class Track(msgspec.Struct, kw_only=True):
    """How one attempt went on, from report to report. Fractions are of the whole job, times seconds since 1970."""

    source: str
    """`progress` (it said so) or `log` (it was read from its output)."""
    first_at: float = 0.0
    first: float = 0.0
    last_at: float = 0.0
    last: float = 0.0
    updates: int = 0
    """Reports that moved on."""
    steps: list[tuple[float, float]] = []
    """The last increments: (fraction, seconds)."""
    marks: list[tuple[float, float]] = []
    """(fraction, time) now and then since the first report."""
    restarts: int = 0
    """Times it went back."""

    def see(self, fraction: float, at_s: float) -> bool:
        """A report; whether it says anything new. One that goes back begins anew: the work is another one."""
        if not 0.0 <= fraction <= 1.0 or not math.isfinite(at_s):
            return False
        if not self.marks:
            self._begin(fraction, at_s)
            return True
        if fraction < self.last - 1e-9:
            self.restarts += 1
            self._begin(fraction, at_s)
            return True
        took_s = at_s - self.last_at
        if fraction <= self.last + 1e-9 or took_s <= 0:
            return False
        self.steps = [*self.steps[-INCREMENTS + 1 :], (round(fraction - self.last, 9), round(took_s, 3))]
        self.last, self.last_at = fraction, at_s
        self.updates += 1
        if fraction >= self.marks[-1][0] + MARK:
            self.marks = [*self.marks, (fraction, at_s)]
        return True

    @property
    def shown(self) -> float | None:
        """How far it is; None = unknown. A bar in a log that began anew is one of nobody knows how many."""
        return None if not self.marks or (self.source == "log" and self.restarts) else self.last

    @property
    def usable(self) -> bool:
        """Whether it is enough to go by."""
        enough = self.last >= LEAST and self.updates >= UPDATES and self.last > self.first
        return enough and self.shown is not None

    def left(self, now_s: float) -> Left | None:
        """What is left at `now_s`, never less than nothing; None = it is too early to tell."""
        if not self.usable:
            return None
        done = self.last - self.first
        begin, begin_at = self._warm(self.first + WARM_UP * done)
        mean = (self.last - begin) / max(self.last_at - begin_at, 1e-6)
        median = _middle([fraction / max(took_s, 1e-6) for fraction, took_s in self.steps])
        weight = done / (done + BLEND)
        rate = weight * mean + (1.0 - weight) * median
        # What it has done since its last report is not known: at most what it usually does between two.
        since_s = min(max(now_s - self.last_at, 0.0), _middle([took_s for _, took_s in self.steps]))
        return Left(max((1.0 - self.last) / rate - since_s, 0.0), abs(math.log(mean / median)))

    def _warm(self, fraction: float) -> tuple[float, float]:
        """Where the mean begins: the first mark from there on that is not the last report."""
        found = next((mark for mark in self.marks if mark[0] >= fraction), self.marks[0])
        return found if found[0] < self.last else self.marks[0]

    def _begin(self, fraction: float, at_s: float) -> None:
        self.first, self.first_at, self.last, self.last_at = fraction, at_s, fraction, at_s
        self.updates, self.steps, self.marks = 0, [], [(fraction, at_s)]


def _middle(values: list[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0
