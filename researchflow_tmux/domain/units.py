"""Times and sizes as people write them."""

from __future__ import annotations

import math
import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_WORDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
}
_MIB = {
    "b": 1 / 2**20,
    **dict.fromkeys(("k", "kib"), 1 / 2**10),
    **dict.fromkeys(("m", "mib"), 1.0),
    **dict.fromkeys(("g", "gib"), 2.0**10),
    **dict.fromkeys(("t", "tib"), 2.0**20),
    "kb": 1e3 / 2**20,
    "mb": 1e6 / 2**20,
    "gb": 1e9 / 2**20,
    "tb": 1e12 / 2**20,
}
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_DURATION = re.compile(rf"(?:{_NUMBER}\s*[a-z]+\s*)+")
_PART = re.compile(rf"({_NUMBER})\s*([a-z]+)")
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]+)")
_BARE = re.compile(_NUMBER)

DURATION_WORDS = "a time such as `90m`, `12h`, `2d` or `1h30m`, or a number of seconds"
SIZE_WORDS = "a size such as `500MiB` or `1GiB`, or a number of MiB"


def parse_duration(value: str | float) -> float:
    """Seconds in `90m`, `12h`, `2d`, `1h30m`, `45`; a bare number is seconds.

    Raises:
        ValueError: It is no time; the message says what one looks like.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        seconds = float(text) if _BARE.fullmatch(text) else _sum_of_parts(value, text)
    else:
        seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"expected {DURATION_WORDS}, got {value!r}")
    return seconds


def _sum_of_parts(value: str, text: str) -> float:
    if len(text) > 60 or not _DURATION.fullmatch(text):
        raise ValueError(f"expected {DURATION_WORDS}, got {value!r}")
    total, seen = 0.0, set()
    for number, word in _PART.findall(text):
        unit = _WORDS.get(word)
        if unit is None or unit in seen:
            raise ValueError(f"expected {DURATION_WORDS}, got {value!r}")
        seen.add(unit)
        total += float(number) * _SECONDS[unit]
    return total


def parse_size(value: str | float) -> float:
    """MiB in `1GiB`, `500MB`, `20k`; a bare number is MiB, `k M G T` alone are binary.

    Raises:
        ValueError: It is no size; the message says what one looks like.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        match = _SIZE.fullmatch(text)
        if _BARE.fullmatch(text):
            mib = float(text)
        elif match and match[2] in _MIB:
            mib = float(match[1]) * _MIB[match[2]]
        else:
            mib = math.nan
    else:
        mib = float(value)
    if not math.isfinite(mib) or mib < 0:
        raise ValueError(f"expected {SIZE_WORDS}, got {value!r}")
    return mib


def counted(number: int, one: str, many: str = "") -> str:
    """`1 job`, `3 jobs`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
