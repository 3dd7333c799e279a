"""The rolling window of utilisation: weighed by time, and unknown until it has seen all of its span."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.policies.window import UtilisationWindow


def window(*readings: tuple[float, float | None], span_s: float = 60.0, max_gap_s: float = 15.0) -> UtilisationWindow:
    found = UtilisationWindow(span_s, max_gap_s)
    for at_s, util_pct in readings:
        found.add(at_s, util_pct)
    return found


def every(step_s: float, first_s: float, last_s: float, util_pct: float) -> list[tuple[float, float | None]]:
    count = round((last_s - first_s) / step_s)
    return [(first_s + step_s * number, util_pct) for number in range(count + 1)]


def test_six_seconds_are_no_minute() -> None:
    idle = window(*every(1, 0, 6, 0.0))
    assert idle.mean_pct(6) is None
    assert idle.covered_at(6) == 60


def test_it_is_known_once_a_whole_minute_was_seen() -> None:
    busy = window(*every(10, 0, 60, 30.0))
    assert busy.mean_pct(59.9) is None
    assert busy.mean_pct(60) == pytest.approx(30)


def test_a_pause_between_two_epochs_is_no_free_gpu() -> None:
    readings = every(5, 0, 50, 100.0) + every(5, 55, 60, 0.0)
    assert window(*readings).mean_pct(60) == pytest.approx(100 * 50 / 60)


def test_many_readings_of_one_moment_weigh_no_more_than_one() -> None:
    readings = every(10, 0, 50, 10.0) + every(0.1, 50.1, 51, 100.0) + every(9, 60, 60, 10.0)
    assert window(*readings).mean_pct(60) == pytest.approx(10 + 90 / 60)


def test_what_is_older_than_the_window_does_not_count() -> None:
    readings = every(10, 0, 100, 100.0) + every(10, 110, 160, 0.0)
    seen = window(*readings)
    assert seen.mean_pct(160) == pytest.approx(0)


def test_a_reading_that_began_before_the_window_counts_for_its_part_in_it() -> None:
    seen = window((0, 0.0), (10, 100.0), *every(10, 20, 60, 0.0), (65, 0.0))
    assert seen.mean_pct(65) == pytest.approx(100 * 5 / 60)


@pytest.mark.parametrize(
    "hole",
    [
        pytest.param([(30.0, None)], id="a reading that failed"),
        pytest.param([], id="nobody looked for longer than a reading speaks for"),
    ],
)
def test_a_hole_is_unknown_until_it_has_left_the_window(hole: list[tuple[float, float | None]]) -> None:
    seen = window(*every(5, 0, 20, 0.0), *hole, *every(5, 40, 70, 0.0))
    assert seen.mean_pct(70) is None
    assert seen.covered_at(70) == 100
    for at_s, util_pct in every(5, 75, 100, 0.0):
        seen.add(at_s, util_pct)
    assert seen.mean_pct(100) == pytest.approx(0)


def test_nothing_is_known_without_readings_or_with_old_ones() -> None:
    assert window().mean_pct(0) is None
    assert window().covered_at(0) is None
    old = window(*every(10, 0, 60, 0.0))
    assert old.mean_pct(75) == pytest.approx(0)
    assert old.mean_pct(76) is None
    assert old.covered_at(76) is None


def test_a_reading_out_of_turn_is_left_out() -> None:
    seen = window(*every(10, 0, 60, 20.0), (60, 100.0), (30, 100.0))
    assert seen.mean_pct(60) == pytest.approx(20)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 40), st.one_of(st.none(), st.floats(0, 100))),
        max_size=60,
    ),
    st.floats(0, 30),
)
def test_it_is_never_known_with_a_hole_in_it_and_never_beyond_what_was_read(
    steps: list[tuple[float, float | None]], later_s: float
) -> None:
    seen, at_s, readings = UtilisationWindow(), 0.0, []
    for step_s, util_pct in steps:
        at_s += step_s
        seen.add(at_s, util_pct)
        readings.append((at_s, util_pct))
    now_s = at_s + later_s
    mean = seen.mean_pct(now_s)
    inside = [index for index, (at, _) in enumerate(readings) if at > now_s - 60]
    bounds = [at for at, _ in readings if at <= now_s - 60][-1:] + [readings[index][0] for index in inside] + [now_s]
    figures = [readings[index][1] for index in inside]
    whole = bounds[0] <= now_s - 60 and all(b - a <= 15 for a, b in pairwise(bounds))
    if mean is None:
        before = readings[inside[0] - 1][1] if inside and inside[0] > 0 else None
        assert not whole or None in figures or before is None
    else:
        known = [figure for figure in figures if figure is not None]
        assert None not in figures
        assert min(known) - 1e-6 <= mean <= max(known) + 1e-6
