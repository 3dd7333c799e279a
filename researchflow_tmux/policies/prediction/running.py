"""When a running job should end: by its progress if it says any, else by what its like took and what it has had."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.conformal import HIGH, LOW, lower, pooled, residual, upper
from researchflow_tmux.policies.prediction.history import Prediction
from researchflow_tmux.policies.prediction.progress import SPREAD, Track

LAST = 400
WIDE = 1.0
"""As a logarithm: the half of an interval is never taken to be more, while nothing is known."""


class Foresight(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is believed of one running attempt. Seconds are of its whole duration."""

    total_s: float
    low_s: float
    high_s: float
    source: str
    """`progress`, `log` or `history`."""
    fraction: float | None = None
    """How far it is; None = it does not say."""


class Wrong:
    """How wrong it was about what is left, by tenth of progress: ln(actual left / predicted left)."""

    def __init__(self) -> None:
        self._pools: dict[int, deque[float]] = {}

    def learn(self, made: Made) -> None:
        """A prediction that has come to its end. What was not made from progress teaches nothing here."""
        if made.source not in ("progress", "log") or not made.moment.endswith("%"):
            return
        left_s = made.predicted_s - made.elapsed_s
        if left_s > 0:
            pool = self._pools.setdefault(int(made.moment[:-2]), deque(maxlen=LAST))
            pool.append(residual(max(made.actual_s - made.elapsed_s, 0.0), left_s))

    def at(self, tenth: int) -> Sequence[float]:
        """The residuals there, ascending; with too few of them those of all tenths."""
        own = self._pools.get(tenth, ())
        everything = [one for pool in self._pools.values() for one in pool]
        return sorted(pooled(list(own), everything))


def foresee(
    track: Track | None,
    known: Prediction | None,
    elapsed_s: float,
    *,
    now_s: float,
    wrong: Wrong,
    limit_s: float | None = None,
) -> Foresight | None:
    """When an attempt that has run for `elapsed_s` should end; None = nothing is known. Never in the past."""
    found = _by_progress(track, elapsed_s, now_s, wrong) or _by_history(track, known, elapsed_s)
    if found is None or limit_s is None or found.high_s <= limit_s:
        return found
    most_s = max(limit_s, elapsed_s)
    total_s, low_s = min(found.total_s, most_s), min(found.low_s, most_s)
    return msgspec.structs.replace(found, total_s=total_s, low_s=low_s, high_s=most_s)


def _by_progress(track: Track | None, elapsed_s: float, now_s: float, wrong: Wrong) -> Foresight | None:
    left = None if track is None else track.left(now_s)
    if left is None or track is None:
        return None
    seen = wrong.at(tenth(track.last))
    spread = min(SPREAD + left.spread, WIDE)
    low, high = (lower(seen, LOW), upper(seen, HIGH)) if seen else (-spread, spread)
    return Foresight(
        total_s=round(elapsed_s + left.seconds, 3),
        low_s=round(elapsed_s + left.seconds * math.exp(min(low, 0.0)), 3),
        high_s=round(elapsed_s + left.seconds * math.exp(max(high, 0.0)), 3),
        source=track.source,
        fraction=track.last,
    )


def _by_history(track: Track | None, known: Prediction | None, elapsed_s: float) -> Foresight | None:
    if known is None:
        return None
    now = known.after(elapsed_s)
    fraction = None if track is None else track.shown
    return Foresight(total_s=now.p50_s, low_s=now.low_s, high_s=now.high_s, source="history", fraction=fraction)


def tenth(fraction: float) -> int:
    """Which tenth of progress a fraction belongs to, from 0."""
    return min(int(fraction * 10 + 1e-9), 9)


def moment_of(fraction: float) -> str | None:
    """The moment of `accuracy.MOMENTS` that is reached with this fraction; None = none yet."""
    reached = tenth(fraction)
    return f"{reached}0%" if reached else None
