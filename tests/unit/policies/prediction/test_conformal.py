"""Ranks of residuals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.policies.prediction.conformal import lower, pooled, residual, upper


@pytest.mark.parametrize(
    ("number", "part", "value"), [(9, 0.9, 9.0), (10, 0.9, 10.0), (19, 0.9, 18.0), (3, 0.9, 3.0), (99, 0.5, 50.0)]
)
def test_the_rank_is_that_of_one_more(number: int, part: float, value: float) -> None:
    ordered = [float(each) for each in range(1, number + 1)]
    assert upper(ordered, part) == value
    assert lower(ordered, 1.0 - part) == number + 1 - value


@given(st.lists(st.floats(-5, 5), min_size=1), st.floats(0.01, 0.99))
def test_bounds_are_of_what_was_seen(values: list[float], part: float) -> None:
    ordered = sorted(values)
    assert upper(ordered, part) in ordered
    assert lower(ordered, part) in ordered
    assert lower(ordered, 0.1) <= upper(ordered, 0.9)


def test_of_exchangeable_residuals_four_of_five_lie_within() -> None:
    chance = random.Random(1)
    within = tries = 0
    for _ in range(4000):
        *seen, new = (chance.gauss(0.0, 1.0) for _ in range(41))
        ordered = sorted(seen)
        within += lower(ordered, 0.1) <= new <= upper(ordered, 0.9)
        tries += 1
    assert 0.78 < within / tries < 0.83


def test_few_are_pooled_with_more() -> None:
    few, some, many = [0.0] * 5, [1.0] * 20, [2.0] * 50
    assert pooled(few, some, many) == many
    assert pooled(many, some) == many
    assert pooled(few, some) == some
    assert pooled(few, few) == ()
    assert pooled() == ()


def test_a_residual_of_nothing_is_a_number() -> None:
    assert residual(0.0, 0.0) == 0.0
    assert residual(20.0, 10.0) == pytest.approx(0.6931, abs=1e-4)
