"""Numbers spread over a range, and samples of it. Pure: the same arguments give the same values on every machine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from decimal import Decimal

Number = int | float


def steps(first: Number, last: Number, step: Number) -> list[Number]:
    """`first`, `first + step`, … up to `last`, which is among them if the steps meet it. `step` is not 0."""
    start, width = Decimal(str(first)), Decimal(str(step))
    values = [start + number * width for number in range(count_of_steps(first, last, step))]
    whole = all(isinstance(number, int) for number in (first, step))
    return [int(value) if whole else float(value) for value in values]


def count_of_steps(first: Number, last: Number, step: Number) -> int:
    """How many values `steps` has."""
    leads = last >= first if step > 0 else last <= first
    return int((Decimal(str(last)) - Decimal(str(first))) / Decimal(str(step))) + 1 if leads else 0


def linear(low: Number, high: Number, count: int) -> list[Number]:
    """`count` values at equal distances, both ends among them."""
    return _spread(low, high, count, lambda part: low + (high - low) * part)


def logarithmic(low: Number, high: Number, count: int) -> list[Number]:
    """`count` values at equal ratios, both ends among them. Both are above 0."""
    return _spread(low, high, count, lambda part: _between(low, high, part))


def uniform(low: Number, high: Number, count: int, dice: str) -> list[Number]:
    """`count` random values between the ends; more of them begin with the same ones. `dice` says which."""
    return [_rounded(low + (high - low) * throw(dice, number)) for number in range(count)]


def loguniform(low: Number, high: Number, count: int, dice: str) -> list[Number]:
    """As `uniform`, each order of magnitude equally often."""
    return [_rounded(_between(low, high, throw(dice, number))) for number in range(count)]


def chosen(items: Sequence[str], count: int, dice: str) -> list[int]:
    """The places of `count` of the items, without repetition and in their order; more of them keep those there."""
    ranked = sorted(range(len(items)), key=lambda at: _digest(f"{dice}:{items[at]}"))
    return sorted(ranked[:count])


def throw(dice: str, number: int) -> float:
    """The `number`th random number of these dice, in [0, 1)."""
    return int.from_bytes(_digest(f"{dice}:{number}")[:8]) / 2**64


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _spread(low: Number, high: Number, count: int, value_at: Callable[[float], float]) -> list[Number]:
    inner = [_rounded(value_at(number / (count - 1))) for number in range(1, count - 1)]
    values: list[Number] = [low, *inner, high] if count > 1 else [low]
    # Whole numbers stay whole where all are: a batch size is no 16.0.
    whole = all(isinstance(end, int) for end in (low, high)) and all(float(value).is_integer() for value in values)
    return [int(value) if whole else float(value) for value in values]


def _between(low: Number, high: Number, part: float) -> float:
    """The value at this part of the way, in orders of magnitude."""
    return float(10 ** (math.log10(low) * (1 - part) + math.log10(high) * part))


def _rounded(value: float) -> float:
    """Without the noise of the last digits: 0.0001 instead of 0.00010000000000000002."""
    return float(f"{value:.12g}") if math.isfinite(value) else value
