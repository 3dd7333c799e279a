"""Marks on an axis of time: round moments on the wall clock, with the date where it changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_STEPS = (*_SECONDS, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_DAYS = (1, 2, 7, 14)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
DAY_S, MONTH_S = 86_400.0, 30.4 * 86_400.0


class Moment(NamedTuple):
    """A mark on the axis."""

    at: float
    """Seconds since 1970."""
    label: str
    context: str = ""
    """The date or year, at the first mark and where it changes."""


class TimeAxis(NamedTuple):
    """The stretch of time that is drawn from one pixel to another. Seconds since 1970."""

    begin: float
    end: float
    left: float
    right: float
    zone: tzinfo | None = None
    """Of the labels; None = this machine's."""

    def place(self, at: float) -> float:
        """The pixel of a moment; what lies outside is put on the edge."""
        span = self.end - self.begin
        part = (at - self.begin) / span if span > 0 else 0.0
        return self.left + min(max(part, 0.0), 1.0) * (self.right - self.left)

    def marks(self, apart: float = 76.0) -> list[Moment]:
        """Round moments that stand at least about `apart` pixels from each other."""
        return time_marks(self.begin, self.end, max(int((self.right - self.left) / apart), 1), self.zone)


def time_marks(begin: float, end: float, most: int, zone: tzinfo | None = None) -> list[Moment]:
    """At most about `most` marks at round moments of the wall clock."""
    rough = (end - begin) / most
    if rough <= 0:
        return []
    step = next((step for step in _STEPS if step >= rough), None)
    if step is not None:
        return list(_clock(begin, end, step, zone))
    days = next((days for days in _DAYS if days * DAY_S >= rough), None)
    return list(_calendar(begin, end, rough, days, zone))


def _clock(begin: float, end: float, step: float, zone: tzinfo | None) -> Iterator[Moment]:
    """Within days: every `step` seconds from midnight."""
    start = _wall(begin, zone)
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    count = int((start - midnight).total_seconds() / step)
    last, day = begin - step, None
    while True:
        # Counted from midnight: many sums of a fraction would drift.
        wall = midnight + timedelta(seconds=count * step)
        at = _epoch(wall, zone)
        count += 1
        if at > end:
            return
        if at >= begin and at > last:  # the clock may be set back within a day
            yield Moment(at, _time(wall, step), f"{wall:%b} {wall.day}" if wall.date() != day else "")
            last, day = at, wall.date()


def _time(wall: datetime, step: float) -> str:
    if step >= 60:
        return f"{wall:%H:%M}"
    if step >= 1:
        return f"{wall:%H:%M:%S}"
    return f"{wall:%H:%M:%S.%f}"[: 9 + next(digits for digits in (1, 2, 3) if step * 10**digits >= 0.999)]


def _calendar(begin: float, end: float, rough: float, days: int | None, zone: tzinfo | None) -> Iterator[Moment]:
    """Days, or months."""
    start = _wall(begin, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    months = next((months for months in _MONTHS if months * MONTH_S >= rough), _MONTHS[-1])
    if days is not None and _epoch(start, zone) < begin:
        start += timedelta(days=1)
    wall, year = start if days is not None else start.replace(day=1), None
    if days is None:
        wall = wall.replace(month=(wall.month - 1) // min(months, 12) * min(months, 12) + 1)
    while (at := _epoch(wall, zone)) <= end:
        if at >= begin:
            label = f"{wall:%b}" if days is None else f"{wall:%b} {wall.day}"
            yield Moment(at, label, str(wall.year) if wall.year != year else "")
            year = wall.year
        wall = wall + timedelta(days=days) if days is not None else _later(wall, months)


def _later(wall: datetime, months: int) -> datetime:
    number = wall.year * 12 + wall.month - 1 + months
    return wall.replace(year=number // 12, month=number % 12 + 1)


def _wall(at: float, zone: tzinfo | None) -> datetime:
    """What the clock on the wall shows, without its zone."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None)


def _epoch(wall: datetime, zone: tzinfo | None) -> float:
    return wall.replace(tzinfo=zone).timestamp()
