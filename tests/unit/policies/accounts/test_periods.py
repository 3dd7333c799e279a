"""Periods by a calendar: their names, their ends, and what of a time falls into which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.accounts import Hours, Rate
from researchflow_tmux.policies.accounts.periods import PERIODS, Part, parts, pruned, span_at, spread

BERLIN = ZoneInfo("Europe/Berlin")
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("period", "key", "ends", "length_s"),
    [
        ("day", "day 2026-03-29", datetime(2026, 3, 29, 22, tzinfo=UTC), 23 * 3600.0),
        ("week", "week 2026-03-23", datetime(2026, 3, 29, 22, tzinfo=UTC), 7 * DAY_S - 3600.0),
        ("month", "month 2026-03-01", datetime(2026, 3, 31, 22, tzinfo=UTC), 31 * DAY_S - 3600.0),
        ("total", "total", None, float("inf")),
    ],
)
def test_periods_go_by_the_calendar_also_where_summer_time_begins(
    period: str, key: str, ends: datetime | None, length_s: float
) -> None:
    noon = datetime(2026, 3, 29, 12, tzinfo=BERLIN)
    assert period in PERIODS
    span = span_at(period, noon, BERLIN)
    assert (span.key, span.ends, span.length_s) == (key, ends, length_s)


def test_a_day_with_an_hour_twice_is_one_day_of_25_hours() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0)
    second = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    assert span_at("day", first, BERLIN) == span_at("day", second, BERLIN)
    assert span_at("day", first, BERLIN).length_s == 25 * 3600.0


def test_the_calendar_of_the_machine_is_used_where_none_is_given() -> None:
    at = datetime(2026, 6, 15, 12, tzinfo=UTC)
    assert span_at("month", at, None).key == f"month {at.astimezone():%Y-%m}-01"


def test_a_time_across_boundaries_is_divided_among_the_periods() -> None:
    begins = datetime(2026, 10, 24, 23, tzinfo=BERLIN)
    found = list(parts("day", begins, 30 * 3600.0, BERLIN))
    assert [(part.span.key, part.seconds / 3600) for part in found] == [
        ("day 2026-10-24", 1.0),
        ("day 2026-10-25", 25.0),
        ("day 2026-10-26", 4.0),
    ]
    assert list(parts("total", begins, 5.0, BERLIN)) == [Part(span_at("total", begins, BERLIN), 5.0)]


@given(
    after_h=st.floats(0.0, 90_000.0),
    seconds=st.floats(0.001, 90 * DAY_S),
)
def test_nothing_is_lost_or_counted_twice(after_h: float, seconds: float) -> None:
    begins = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=after_h)
    for period in PERIODS:
        found = list(parts(period, begins, seconds, BERLIN))
        assert sum(part.seconds for part in found) == pytest.approx(seconds)
        assert len({part.span.key for part in found}) == len(found)
        assert all(part.seconds >= 0 for part in found)


def test_use_is_told_by_period_of_every_kind() -> None:
    begins = datetime(2026, 1, 31, 23, tzinfo=UTC)  # a Saturday
    found = spread(Rate(gpus=2, cpus=4, memory_mib=512), begins, 2 * 3600.0, UTC)
    half, whole = Hours(gpu=2.0, cpu=4.0, memory=0.5), Hours(gpu=4.0, cpu=8.0, memory=1.0)
    assert found == {
        "day 2026-01-31": half,
        "day 2026-02-01": half,
        "week 2026-01-26": whole,
        "month 2026-01-01": half,
        "month 2026-02-01": half,
        "total": whole,
    }
    assert spread(Rate(gpus=1), begins, 0.0, UTC) == {}


def test_old_periods_are_forgotten_and_the_sum_of_all_never() -> None:
    hours = {"total": Hours(gpu=9.0)}
    for day in range(60):
        hours[f"day {datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day):%Y-%m-%d}"] = Hours(gpu=1.0)
    kept = pruned(hours)
    assert kept["total"] == Hours(gpu=9.0)
    assert sorted(kept)[:1] == ["day 2026-01-21"]
    assert len(kept) == 41
