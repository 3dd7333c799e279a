"""Fewer points that look the same."""

from __future__ import annotations

from collections.abc import Sequence


def thinned(xs: Sequence[float], ys: Sequence[float], most: int) -> list[tuple[float, float]]:
    """At most `most` (x, y) of a curve, by x: its ends, and of each stretch the least and the greatest value.

    A spike of a single value is still seen.
    """
    pairs = sorted(zip(xs, ys, strict=True), key=lambda pair: pair[0])
    if len(pairs) <= max(most, 4):
        return pairs
    inner = pairs[1:-1]
    stretches = max((most - 2) // 2, 1)
    kept = [pairs[0]]
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        if part:
            places = {
                min(range(len(part)), key=lambda at: part[at][1]),
                max(range(len(part)), key=lambda at: part[at][1]),
            }
            kept += [part[at] for at in sorted(places)]
    return [*kept, pairs[-1]]
