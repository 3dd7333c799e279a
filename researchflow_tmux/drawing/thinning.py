"""Fewer points that look the same."""

from __future__ import annotations

import operator
from collections.abc import Sequence


def in_order(xs: Sequence[float], ys: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """The same points by x."""
    if all(map(operator.le, xs, xs[1:])):
        return xs, ys
    pairs = sorted(zip(xs, ys, strict=True), key=operator.itemgetter(0))
    return [x for x, _ in pairs], [y for _, y in pairs]


def thinned(xs: Sequence[float], ys: Sequence[float], most: int) -> list[tuple[float, float]]:
    """At most `most` (x, y) of a curve in order: its ends, and of each stretch the least and the greatest value.

    A spike of a single value is still seen.
    """
    last = len(xs) - 1
    if last < max(most, 4):
        return list(zip(xs, ys, strict=True))
    stretches = max((most - 2) // 2, 1)
    kept = [0]
    for number in range(stretches):
        start, end = (1 + at * (last - 1) // stretches for at in (number, number + 1))
        part = ys[start:end]
        if part:
            kept += sorted({start + part.index(min(part)), start + part.index(max(part))})
    return [(xs[at], ys[at]) for at in (*kept, last)]
