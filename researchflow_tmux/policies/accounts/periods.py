"""Days, weeks, months by a calendar: when a budget begins anew, and which part of a time falls into which period.

A period goes by the name of its first day, and not by an instant: where summer time begins or ends, or the machine
moves to another time zone, it stays the same period. Its first and last moments are those of the calendar, so a day may
have 23 or 25 hours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple, get_args

from researchflow_tmux.domain.accounts import NO_HOURS, Hours, Rate, hours_of
from researchflow_tmux.domain.projects import Period

PERIODS: tuple[Period, ...] = get_args(Period)
TOTAL = "total"
REMEMBERED = {"day": 40, "week": 14, "month": 14}
"""Periods of each kind whose use is kept: a clock that is set back by less finds its old period as it left it."""


class Span(NamedTuple):
    """One period."""

    key: str
    """`day 2026-11-24`, `week 2026-11-23`, `month 2026-11-01` or `total`."""
    ends: datetime | None
    """When the next one begins; None = never."""
    length_s: float
    """`inf` for `total`."""


FOR_EVER = Span(TOTAL, None, float("inf"))


class Part(NamedTuple):
    """What of a stretch of time falls into one period."""

    span: Span
    seconds: float


def span_at(period: Period, at: datetime, zone: tzinfo | None) -> Span:
    """The period of that kind in which `at` (aware) lies; `zone` None = the calendar of the machine."""
    return FOR_EVER if period == "total" else _span(period, at.astimezone(zone).date(), zone)


@lru_cache(maxsize=1024)
def _span(period: Period, day: date, zone: tzinfo | None) -> Span:
    first, after = _bounds(period, day)
    begins, ends = _midnight(first, zone), _midnight(after, zone)
    return Span(f"{period} {first.isoformat()}", ends, (ends - begins).total_seconds())


def parts(period: Period, begins: datetime, seconds: float, zone: tzinfo | None) -> Iterator[Part]:
    """The `seconds` from `begins` on, period by period."""
    at, left_s = begins, seconds
    while True:
        span = span_at(period, at, zone)
        until_s = float("inf") if span.ends is None else (span.ends - at).total_seconds()
        if span.ends is None or left_s <= until_s:
            yield Part(span, left_s)
            return
        yield Part(span, until_s)
        at, left_s = span.ends, left_s - until_s


@lru_cache(maxsize=8192)
def spread(
    rate: Rate, begins: datetime, seconds: float, zone: tzinfo | None, kind: Period | None = None
) -> dict[str, Hours]:
    """What `rate` uses in that time, by period of one kind, or of every. Do not change what it returns: it is kept."""
    found: dict[str, Hours] = {}
    if seconds <= 0:
        return found
    for period in PERIODS if kind is None else (kind,):
        for span, part_s in parts(period, begins, seconds, zone):
            found[span.key] = found.get(span.key, NO_HOURS).plus(hours_of(rate, part_s))
    return found


def pruned(hours: Mapping[str, Hours]) -> dict[str, Hours]:
    """Without periods that are long over."""
    kept: dict[str, Hours] = {}
    for period in PERIODS:
        own = sorted(key for key in hours if key.partition(" ")[0] == period)
        kept |= {key: hours[key] for key in own[-REMEMBERED.get(period, 1) :]}
    return kept


def _bounds(period: Period, day: date) -> tuple[date, date]:
    match period:
        case "week":
            first = day - timedelta(days=day.weekday())
            return first, first + timedelta(days=7)
        case "month":
            first = day.replace(day=1)
            return first, (first + timedelta(days=32)).replace(day=1)
        case _:
            return day, day + timedelta(days=1)


def _midnight(day: date, zone: tzinfo | None) -> datetime:
    """The first moment of a day. Where the clock jumps over midnight it is the moment of the jump."""
    naive = datetime.combine(day, time())
    return (naive if zone is None else naive.replace(tzinfo=zone)).astimezone(UTC)
