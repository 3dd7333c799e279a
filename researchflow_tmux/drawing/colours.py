"""Colours of lines on white: far apart for a few, a ramp in the order of the legend for many."""

from __future__ import annotations

FEW = ("#1f6fb4", "#d9480f", "#2b8a3e", "#ae3ec9", "#b08900", "#0b7285", "#c2255c", "#5f3dc4")
_RAMP = ((59, 15, 112), (40, 80, 180), (0, 128, 150), (40, 150, 80), (170, 140, 0), (225, 95, 20), (190, 20, 60))


def colours(count: int) -> list[str]:
    """One colour for each of `count` lines."""
    if count <= len(FEW):
        return list(FEW[:count])
    return [_between(place / (count - 1) * (len(_RAMP) - 1)) for place in range(count)]


def _between(place: float) -> str:
    index = min(int(place), len(_RAMP) - 2)
    part = place - index
    low, high = _RAMP[index], _RAMP[index + 1]
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(low, high, strict=True))
