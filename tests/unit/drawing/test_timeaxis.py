"""Marks on the axis of time: round, in order, not too many, with the date where it changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.drawing.timeaxis import TimeAxis, time_marks

BERLIN = ZoneInfo("Europe/Berlin")
BEGIN = datetime(2026, 11, 24, 10, 7, 31, tzinfo=UTC).timestamp()


@given(st.floats(0, 4e9), st.floats(0.05, 4e8), st.integers(1, 15))
def test_marks_are_inside_in_order_and_few(begin: float, span: float, most: int) -> None:
    marks = time_marks(begin, begin + span, most, BERLIN)
    moments = [mark.at for mark in marks]
    assert all(begin <= at <= begin + span for at in moments)
    assert moments == sorted(set(moments))
    assert len(moments) <= most + 2
    assert all(mark.label for mark in marks)


@pytest.mark.parametrize(
    ("span_s", "labels", "contexts"),
    [
        (1, ["10:07:31.0", "10:07:31.5", "10:07:32.0"], ["Nov 24"]),
        (60, ["10:07:45", "10:08:00", "10:08:15", "10:08:30"], ["Nov 24"]),
        (3 * 3600, ["11:00", "12:00", "13:00"], ["Nov 24"]),
        (2 * 86_400, ["12:00", "00:00", "12:00", "00:00"], ["Nov 24", "Nov 25", "Nov 26"]),
        (20 * 86_400, ["Nov 25", "Dec 2", "Dec 9"], ["2026"]),
        (90 * 86_400, ["Dec", "Jan", "Feb"], ["2026", "2027"]),
    ],
)
def test_marks_are_round_and_say_the_date_where_it_changes(
    span_s: float, labels: list[str], contexts: list[str]
) -> None:
    marks = time_marks(BEGIN, BEGIN + span_s, 4, UTC)
    assert [mark.label for mark in marks][-len(labels) :] == labels
    assert [mark.context for mark in marks if mark.context] == contexts


def test_days_are_those_of_the_wall_clock_also_when_it_is_changed() -> None:
    begin = datetime(2026, 10, 23, 12, tzinfo=BERLIN).timestamp()
    marks = time_marks(begin, begin + 5 * 86_400, 6, BERLIN)
    clocks = [datetime.fromtimestamp(mark.at, BERLIN) for mark in marks]
    assert {clock.hour for clock in clocks} == {0}
    assert [clock.day for clock in clocks] == [24, 25, 26, 27, 28]


def test_a_night_in_which_the_clock_is_set_back_has_each_mark_once() -> None:
    begin = datetime(2026, 10, 25, 0, tzinfo=BERLIN).timestamp()
    marks = time_marks(begin, begin + 6 * 3600, 8, BERLIN)
    assert [mark.at for mark in marks] == sorted({mark.at for mark in marks})


def test_no_time_at_all_has_no_marks_and_one_place() -> None:
    axis = TimeAxis(5.0, 5.0, 10.0, 20.0, UTC)
    assert axis.marks() == []
    assert axis.place(5.0) == 10.0


def test_what_lies_outside_is_put_on_the_edge() -> None:
    axis = TimeAxis(0.0, 10.0, 100.0, 200.0, UTC)
    assert [axis.place(at) for at in (-5.0, 0.0, 5.0, 10.0, 99.0)] == [100.0, 100.0, 150.0, 200.0, 200.0]


def test_the_zone_of_the_machine_is_used_without_another() -> None:
    marks = time_marks(BEGIN, BEGIN + 3 * 3600, 4)
    local = [datetime.fromtimestamp(mark.at).astimezone() for mark in marks]
    assert [mark.label for mark in marks] == [f"{at:%H:%M}" for at in local]
    assert timedelta(0) < local[1] - local[0]
