"""Marks at round values, with the digits they need."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from researchflow_tmux.drawing.ticks import axis, label, linear_ticks, log_ticks

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.1, 2.4, ["0.5", "1.0", "1.5", "2.0"]),
        (0, 3000, ["0", "500", "1000", "1500", "2000", "2500", "3000"]),
        (0, 100_000, ["0", "20k", "40k", "60k", "80k", "100k"]),
        (0, 3e6, ["0", "500k", "1.0M", "1.5M", "2.0M", "2.5M", "3.0M"]),
        (-1, 1, ["-1.0", "-0.5", "0", "0.5", "1.0"]),
        (0.001, 0.0015, ["0.0010", "0.0011", "0.0012", "0.0013", "0.0014", "0.0015"]),
        (1e-5, 2e-5, ["1.0e-05", "1.2e-05", "1.4e-05", "1.6e-05", "1.8e-05", "2.0e-05"]),
    ],
)
def test_marks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert [tick.label for tick in linear_ticks(low, high, 6)] == labels


def test_steps_are_whole_where_they_are_counted() -> None:
    assert [tick.label for tick in linear_ticks(0, 3, 8, 1.0)] == ["0", "1", "2", "3"]


def test_powers_of_ten() -> None:
    assert [tick.label for tick in log_ticks(1e-5, 2, 7)] == ["1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1e0"]
    assert len(log_ticks(1e-300, 1e300, 7)) <= 8
    assert [tick.label for tick in log_ticks(2, 8, 5)] == ["2", "4", "6", "8"]


@pytest.mark.parametrize(("value", "step", "text"), [(0.1 + 0.2, 0.1, "0.3"), (7.5, 2.5, "7.5"), (1e20, 1e20, "1e20")])
def test_numbers_are_as_short_as_they_may_be(value: float, step: float, text: str) -> None:
    assert label(value, step) == text


@given(st.lists(finite, min_size=1, max_size=20))
@example([5e-324])
@example([0.0, 5e-324])
def test_any_numbers_find_their_place(values: list[float]) -> None:
    made = axis(values, 0.0, 100.0, margin=0.05)
    ticks = made.ticks(7)
    assert 1 <= len(ticks) <= 80
    for value in values:
        assert math.isfinite(made.place(value))
        assert -1e-6 <= made.place(value) <= 100 + 1e-6


@given(st.lists(st.floats(min_value=1e-300, max_value=1e300), min_size=1, max_size=20))
def test_any_positive_numbers_find_their_place_on_a_logarithmic_axis(values: list[float]) -> None:
    made = axis(values, 100.0, 0.0, log=True)
    assert made.ticks(7)
    for value in values:
        assert -1e-6 <= made.place(value) <= 100 + 1e-6
