"""Stretches of time in rows so that none overlaps another in its row."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime


def packed(stretches: Sequence[tuple[datetime, datetime]]) -> list[int]:
    """The row of each stretch (begin, end): always the lowest that is free; as few rows as can be.

    They are given by their begins. An end and a begin at the same moment do not overlap.
    """
    free: list[int] = []
    busy: list[tuple[datetime, int]] = []
    rows, count = [], 0
    for begin, end in stretches:
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            row = heapq.heappop(free)
        else:
            row, count = count, count + 1
        rows.append(row)
        heapq.heappush(busy, (end, row))
    return rows
