"""How wide text is, about, and cut so that it fits: fonts differ, so each letter counts as wide as in a wide one."""

from __future__ import annotations

import unicodedata

_NARROW = frozenset("ijl.,:;'|!")
_SLIM = frozenset('frtI()[]{}/\\-"` ')
_BROAD = frozenset("mwMW@%—…")
LEAST = 4
"""Fewer letters than these before the … say nothing."""


def width(text: str, size: float) -> float:
    """Pixels that `text` takes at most in a common sans-serif font of this size."""
    return size * sum(map(_ems, text))


def fitted(text: str, size: float, room: float) -> str:
    """`text`, cut with … to fit into `room` pixels; empty when not even a few letters would be left."""
    if width(text, size) <= room:
        return text
    kept = _count(text, room / size - _ems("…"))
    return text[:kept].rstrip() + "…" if kept >= LEAST else ""


def shortened(text: str, size: float, room: float) -> str:
    """As `fitted`, cut in the middle: names often differ at their ends."""
    if width(text, size) <= room:
        return text
    head = _count(text, (room / size - _ems("…")) * 0.55)
    tail = _count(text[::-1], room / size - _ems("…") - sum(map(_ems, text[:head])))
    return text[:head].rstrip() + "…" + text[len(text) - tail :].lstrip() if head + tail >= LEAST else ""


def _count(text: str, ems: float) -> int:
    """How many letters from the beginning fit."""
    for count, char in enumerate(text):
        ems -= _ems(char)
        if ems < 0:
            return count
    return len(text)


def _ems(char: str) -> float:
    if char in _NARROW:
        return 0.33
    if char in _SLIM:
        return 0.42
    if char in _BROAD:
        return 1.0
    if char.isascii():
        return 0.78 if char.isupper() else 0.645
    if unicodedata.combining(char):
        return 0.0
    return 1.05 if unicodedata.east_asian_width(char) in "WF" else 0.9
