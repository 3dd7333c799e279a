"""Axes: where the marks are, what they are called, and how values become pixels."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import NamedTuple

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


class Tick(NamedTuple):
    """A mark on an axis."""

    value: float
    label: str


class Axis(NamedTuple):
    """The range of values that is drawn from one pixel to another."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        at = math.log10(value) if self.log else value
        # Halves: the distance between two large numbers of opposite sign may be more than a float holds, and that
        # between the two smallest ones less: then all is in the middle.
        span = high / 2 - low / 2
        return self.start + ((at / 2 - low / 2) / span if span else 0.5) * (self.end - self.start)

    def ticks(self, most: int, *, least_step: float = 0.0) -> list[Tick]:
        """Marks at round values, about `most` of them, not closer than `least_step`."""
        if self.log:
            return log_ticks(self.low, self.high, most)
        return linear_ticks(self.low, self.high, most, least_step)


def axis(values: Iterable[float], start: float, end: float, *, margin: float = 0.0, log: bool = False) -> Axis:
    """An axis that holds all values, with a part of its length left free at both ends."""
    found = list(values)
    low, high = min(found), max(found)
    if log:
        low, high = math.log10(low), math.log10(high)
    alone = 0.5 if log or low == 0 else abs(low) * 0.05
    pad = alone if low == high else (high / 2 - low / 2) * 2 * margin
    low, high = max(low - pad, -sys.float_info.max), min(high + pad, sys.float_info.max)
    return Axis(10**low, 10**high, start, end, log) if log else Axis(low, high, start, end)


def linear_ticks(low: float, high: float, most: int, least_step: float = 0.0) -> list[Tick]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten."""
    span = (high / 2 - low / 2) * 2
    if not (math.isfinite(span) and span > 0):
        return [Tick(low, label(low, abs(low)))]
    rough = span / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 1e-300 else rough
    step = max(next(factor * power for factor in _STEPS if factor * power >= rough * 0.999), least_step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first > 10 * most:  # a tiny range far from zero, where floats are too coarse for such steps
        return [Tick(low, label(low, span)), Tick(high, label(high, span))]
    return [Tick(number * step, label(number * step, step)) for number in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Powers of ten; where there are fewer than two, ordinary marks."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 1:
        return [tick for tick in linear_ticks(low, high, most) if tick.value > 0]
    every = max(1, math.ceil((last - first + 1) / most))
    return [Tick(10.0**power, f"1e{power}") for power in range(first, last + 1, every)]


def label(value: float, step: float) -> str:
    """A number with the digits that tell it from its neighbours `step` away: `0.25`, `20k`, `1e-05`."""
    if abs(value) < step * 1e-6:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-3:
        return f"{value:.{_digits(size, step)}e}".replace("e+", "e")
    for unit, suffix in _SUFFIXES:
        if size >= unit * (10 if unit == 1e3 else 1):
            return _plain(value / unit, step / unit) + suffix
    return _plain(value, step)


def _plain(value: float, step: float) -> str:
    decimals = min(max(0, -math.floor(math.log10(step) + 1e-9)), 12) if step > 0 else 0
    text = f"{value:.{decimals + 1}f}"
    # One digit more for steps such as 2.5; without it where it says nothing.
    return text[:-1].removesuffix(".") if text.endswith("0") else text


def _digits(size: float, step: float) -> int:
    if step < sys.float_info.min:  # powers of ten so small are none
        return 0
    digits = max(0, math.floor(math.log10(size)) - math.floor(math.log10(step) + 1e-9))
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    return min(digits + (0 if abs(mantissa - round(mantissa)) < 1e-6 else 1), 12)
