"""Job arrays: one command as many jobs that differ by an index, at most so many of them at a time."""

from __future__ import annotations

import re

import msgspec

MOST_INDICES = 100_000
"""A longer array is a slip of the finger."""
MOST_DIGITS = 12

_PART = re.compile(rf"(\d{{1,{MOST_DIGITS}}})(?:-(\d{{1,{MOST_DIGITS}}})(?::(\d{{1,{MOST_DIGITS}}}))?)?", re.ASCII)
_WRITTEN = "write 0-99, 0-99%8 (at most 8 at a time), 0-10:2 (every second) or 1,3,5-7"


class Array(msgspec.Struct, frozen=True, kw_only=True):
    """What the jobs of one array have in common."""

    id: str
    """Tells two arrays of one name apart."""
    name: str
    count: int
    first: int
    """The lowest index."""
    last: int
    """The highest index."""
    at_most: int | None = None
    """How many of its jobs may run at a time; None = as many as there is room for."""


class Indices(msgspec.Struct, frozen=True):
    """What `0-99%8` says."""

    values: tuple[int, ...]
    """In the order in which they were written, none twice."""
    at_most: int | None = None

    def array(self, array_id: str, name: str) -> Array:
        """The array of these indices."""
        values = self.values
        return Array(
            id=array_id, name=name, count=len(values), first=min(values), last=max(values), at_most=self.at_most
        )


def parse_indices(text: str) -> Indices:
    """`0-99%8`, `0-10:2`, `1,3,5-7`: whole numbers and ranges with both ends, and how many may run at a time.

    Raises ValueError saying what is wrong and how it is written.
    """
    listed, percent, limit = text.replace(" ", "").partition("%")
    at_most = _limit(limit) if percent else None
    values: dict[int, None] = {}
    for part in listed.split(","):
        for value in _range(part, text):
            if value in values:
                raise ValueError(f"{text!r} has the index {value} twice")
            values[value] = None
        if len(values) > MOST_INDICES:
            raise ValueError(f"{text!r} is more than {MOST_INDICES} jobs")
    return Indices(tuple(values), at_most)


def _range(part: str, text: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} in {text!r} is no index: {_WRITTEN}" if part else f"{text!r}: {_WRITTEN}")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    step = 1 if match[3] is None else int(match[3])
    if step == 0:
        raise ValueError(f"{part!r} in {text!r} never gets to its end: the step is 0")
    if last < first:
        raise ValueError(f"{part!r} in {text!r} is empty: it runs from {first} to {last}")
    if (last - first) // step >= MOST_INDICES:
        raise ValueError(f"{text!r} is more than {MOST_INDICES} jobs")
    return range(first, last + 1, step)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS or int(text) == 0:
        raise ValueError(f"%{text} is no number of jobs at a time: {_WRITTEN}")
    return int(text)
