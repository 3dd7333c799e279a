"""Graphs of jobs: circles, order, and who pairs up with whom."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.pipelines import Instances, circles, in_order


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ({}, []),
        ({"a": [], "b": ["a"]}, []),
        ({"a": ["a"]}, ["aa"]),
        ({"a": ["b"], "b": ["a"]}, ["aba"]),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ["abca"]),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, ["aba", "cdc"]),
    ],
)
def test_circles(needs: dict[str, list[str]], found: list[str]) -> None:
    assert sorted("".join(circle) for circle in circles(needs)) == found


GRAPHS = st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=3), max_size=8)


@given(graph=GRAPHS)
def test_each_circle_is_one_and_all_are_told(graph: dict[int, list[int]]) -> None:
    needs = {node: [need for need in below if need in graph] for node, below in graph.items()}
    found = circles(needs)
    for circle in found:
        assert circle[0] == circle[-1]
        assert all(after in needs[before] for before, after in pairwise(circle))
    broken = {(circle[0], circle[1]) for circle in found}
    left = {node: [need for need in below if (node, need) not in broken] for node, below in needs.items()}
    order = in_order(left)
    assert sorted(order) == sorted(needs)
    assert all(order.index(need) < order.index(node) for node, below in left.items() for need in below)


def test_order_is_that_of_the_file_where_nothing_else_says_otherwise() -> None:
    assert in_order({"c": ["a"], "b": [], "a": []}) == ["b", "a", "c"]
    assert in_order({"a": [], "b": ["a"], "c": ["b"], "d": []}) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ({"model": "x", "seed": 1}, [1]),
        ({"model": "y", "seed": 1.0}, [3]),
        ({"model": "y"}, [2, 3]),
        ({"seed": 0, "other": 7}, [0, 2]),
        ({"other": 7}, [0, 1, 2, 3]),
        ({}, [0, 1, 2, 3]),
        ({"model": "z"}, []),
    ],
)
def test_partners(values: dict[str, Any], places: list[int]) -> None:
    train = Instances([{"model": model, "seed": seed} for model in "xy" for seed in (0, 1)])
    assert train.partners(values) == places
