"""Intervals from what was wrong before: split-conformal ranks of residuals ln(actual / predicted).

Of n residuals that are exchangeable with the next one, the value at rank ⌈(n + 1)·q⌉ is not exceeded with probability
of at least q (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005). No distribution is assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

LOW, HIGH = 0.1, 0.9
"""What lies between is the 80 % interval."""
ENOUGH = 30
"""Residuals of a kind of job from which on only these speak; with fewer they are pooled with others'."""
LEAST = 9
"""With fewer the rank for 90 % lies beyond the largest."""


def upper(ordered: Sequence[float], part: float) -> float:
    """The value at rank ⌈(n + 1)·part⌉ of `ordered`, ascending and not empty; the largest where n is too small."""
    rank = math.ceil((len(ordered) + 1) * part - 1e-9)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def lower(ordered: Sequence[float], part: float) -> float:
    """The value that is not undercut with probability 1 − part: the mirror image of `upper`."""
    rank = math.floor((len(ordered) + 1) * part + 1e-9)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def pooled(*pools: Sequence[float]) -> Sequence[float]:
    """The first pool, nearest first, with at least ENOUGH residuals; else the largest that has LEAST; else nothing."""
    for pool in pools:
        if len(pool) >= ENOUGH:
            return pool
    largest = max(pools, key=len, default=())
    return largest if len(largest) >= LEAST else ()


def residual(actual_s: float, predicted_s: float) -> float:
    """ln(actual / predicted); what took no time counts as a millisecond."""
    return math.log(max(actual_s, LEAST_S) / max(predicted_s, LEAST_S))


LEAST_S = 0.001
