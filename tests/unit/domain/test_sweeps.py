"""Sweeps: how many combinations, in which order, and which are left out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.sweeps import Choice, Sweep, Variable, VariableSet, spread
from researchflow_tmux.domain.sweeps.expansion import canonical, exception


def variable(name: str, *values: Any) -> Variable:
    return Variable(name=name, choices=tuple(Choice(value=v, text=str(v), nick=f"<{v}>") for v in values))


def values(sweep: Sweep) -> list[tuple[Any, ...]]:
    return [tuple(choice.value for choice in found) for found in sweep.expand()]


A, B, C = variable("a", 1, 2), variable("b", "x", "y", "z"), variable("c", 7, 8)


def test_the_last_variable_is_the_fastest() -> None:
    assert values(Sweep(variables=(A, B))) == [(1, "x"), (1, "y"), (1, "z"), (2, "x"), (2, "y"), (2, "z")]


def test_a_zipped_group_stands_where_its_first_variable_is() -> None:
    sweep = Sweep(variables=(A, B, C), zipped=((2, 0),))
    assert sweep.size() == 6
    assert values(sweep) == [(a, b, c) for a, c in ((1, 7), (2, 8)) for b in "xyz"]


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({"exclude": ({0: frozenset({0}), 1: frozenset({1, 2})},)}, [(1, "x"), (2, "x"), (2, "y"), (2, "z")]),
        ({"include": ({1: frozenset({2})}, {0: frozenset({1}), 1: frozenset({0})})}, [(1, "z"), (2, "x"), (2, "z")]),
        ({"include": ({0: frozenset({0})},), "exclude": ({1: frozenset({0})},)}, [(1, "y"), (1, "z")]),
        ({"exclude": (exception(0, 1, 1, frozenset({1}), 3),)}, [(1, "x"), (1, "y"), (1, "z"), (2, "y")]),
        ({"exclude": (exception(0, 1, 1, frozenset({0, 1, 2}), 3),)}, [(a, b) for a in (1, 2) for b in "xyz"]),
        ({"exclude": (exception(0, 1, 1, frozenset(), 3),)}, [(1, "x"), (1, "y"), (1, "z")]),
    ],
)
def test_what_is_left_out(rules: dict[str, Any], left: list[tuple[Any, ...]]) -> None:
    assert values(Sweep(variables=(A, B), **rules)) == left


COUNTS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def counted(counts: list[int]) -> tuple[Variable, ...]:
    return tuple(variable(f"v{place}", *range(count)) for place, count in enumerate(counts))


@given(COUNTS)
def test_without_rules_it_is_the_product_in_its_order(counts: list[int]) -> None:
    sweep = Sweep(variables=counted(counts))
    assert sweep.size() == math.prod(counts)
    assert values(sweep) == list(itertools.product(*map(range, counts)))


@given(COUNTS, st.data())
def test_excluding_takes_away_what_matches_and_no_more(counts: list[int], data: st.DataObject) -> None:
    pattern = {
        place: frozenset(data.draw(st.sets(st.integers(0, counts[place] - 1))))
        for place in data.draw(st.sets(st.integers(0, len(counts) - 1)))
    }
    everything = values(Sweep(variables=counted(counts)))
    left = values(Sweep(variables=counted(counts), exclude=(pattern,)))
    taken = values(Sweep(variables=counted(counts), include=(pattern,)))
    assert sorted(left + taken) == everything
    assert all(all(found[place] in wanted for place, wanted in pattern.items()) for found in taken)


@given(st.integers(1, 5), COUNTS)
def test_zipped_variables_count_once(same: int, counts: list[int]) -> None:
    sweep = Sweep(variables=counted([same, *counts, same]), zipped=((0, len(counts) + 1),))
    found = values(sweep)
    assert len(found) == sweep.size() == same * math.prod(counts)
    assert all(each[0] == each[-1] for each in found)


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "step", "found"),
    [
        (0, 9, 3, [0, 3, 6, 9]),
        (0, 1, 0.1, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (0, 1, 0.3, [0.0, 0.3, 0.6, 0.9]),
        (3, 1, -1, [3, 2, 1]),
        (3, 3, 1, [3]),
        (3, 1, 1, []),
        (1, 3, -1, []),
    ],
)
def test_steps(first: float, last: float, step: float, found: list[float]) -> None:
    assert spread.steps(first, last, step) == found
    assert spread.count_of_steps(first, last, step) == len(found)


@pytest.mark.parametrize(
    ("made", "found"),
    [
        (spread.linear(0, 1, 5), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (spread.linear(0, 8, 3), [0, 4, 8]),
        (spread.linear(2, 8, 1), [2]),
        (spread.logarithmic(1e-5, 1e-1, 5), [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (spread.logarithmic(16, 256, 5), [16, 32, 64, 128, 256]),
    ],
)
def test_spread_values_have_no_noise(made: list[float], found: list[float]) -> None:
    assert [(value, type(value)) for value in made] == [(value, type(value)) for value in found]


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e6), st.integers(1, 20), st.text(max_size=5))
def test_more_samples_begin_with_the_same(low: float, width: float, count: int, dice: str) -> None:
    found = spread.uniform(low, low + width, count, dice)
    assert spread.uniform(low, low + width, count + 5, dice)[:count] == found
    assert all(low - 1e-5 <= value <= low + width + 1e-5 for value in found)


def test_other_dice_fall_otherwise_and_the_same_fall_the_same() -> None:
    assert spread.loguniform(1e-5, 1, 3, "0:lr") == spread.loguniform(1e-5, 1, 3, "0:lr")
    assert spread.loguniform(1e-5, 1, 3, "0:lr") != spread.loguniform(1e-5, 1, 3, "1:lr")


@given(st.lists(st.text(max_size=3), unique=True, min_size=2), st.integers(1, 10))
def test_a_choice_of_more_keeps_those_that_were_chosen(items: list[str], count: int) -> None:
    fewer = spread.chosen(items, min(count, len(items) - 1), "0")
    more = spread.chosen(items, min(count, len(items) - 1) + 1, "0")
    assert set(fewer) < set(more)
    assert more == sorted(more)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), ([1.0, {"a": 2}], [1, {"a": 2.0}]), ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
)
def test_equal_values_are_written_alike(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)


def test_a_text_is_not_a_number() -> None:
    assert len({canonical(value) for value in ("1", 1, "true", True, None, "null", [1], "[1]")}) == 8


# VariableSet ----------------------------------------------------------------------------------------------------------


def example() -> VariableSet:
    found = VariableSet()
    found.add_variable("model", ["gpt2", "google-bert/bert-base-uncased"], nicknames=["GPT2", "BERT"])
    found.add_variable("dataset", ["HappyGoLucky", "FinalEmotions"], interaction="cartesian")
    found.add_variable("test_set", ["dev", "test"], exceptions={"HappyGoLucky": ["test"]})
    found.add_variable("seed", list(range(0, 9999, 1111)), nicknames=list(range(9)))
    return found


def test_a_variable_set_makes_the_same_expansion() -> None:
    found = list(example())
    assert len(found) == 2 * (1 + 2) * 9 == len(list(example().sweep().expand()))
    first, last = found[0], found[-1]
    assert [first[name].value for name in first] == ["gpt2", "HappyGoLucky", "test", 0]
    assert [last[name].nick for name in last] == ["BERT", "FinalEmotions", "test", "8"]


def test_a_variable_goes_along_with_the_one_above() -> None:
    found = VariableSet()
    found.add_variable("seed", [0, 1])
    found.add_variable("size", [16, 32])
    found.add_variable("rate", [0.1, 0.2], interaction="zip")
    assert values(found.sweep()) == [(0, 16, 0.1), (0, 32, 0.2), (1, 16, 0.1), (1, 32, 0.2)]


def test_an_exception_is_of_the_nearest_variable_with_the_value() -> None:
    found = VariableSet()
    found.add_variable("a", [1, 2])
    found.add_variable("b", [1, 3], nicknames=["one", "three"])
    found.add_variable("c", ["x", "y"], exceptions={1: ["x"], "three": ["y"]})
    assert values(found.sweep()) == [(1, 1, "x"), (1, 3, "y"), (2, 1, "x"), (2, 3, "y")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "b", "values": []}, "b has no values"),
        ({"name": "b", "values": [1, 1.0]}, "a value twice"),
        ({"name": "b", "values": [1, 2], "nicknames": ["x"]}, "2 values and 1 nicknames"),
        ({"name": "a", "values": [1]}, "there already"),
        ({"name": "b", "values": [1], "interaction": "zip"}, "b has 1 values, a above has 2"),
        ({"name": "b", "values": [1], "exceptions": {5: [1]}}, "no variable above has the value 5"),
        ({"name": "b", "values": [1], "exceptions": {1: [7]}}, "b has no value 7"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(arguments: dict[str, Any], message: str) -> None:
    found = VariableSet()
    found.add_variable("a", [1, 2])
    with pytest.raises(ValueError, match=message):
        found.add_variable(**arguments)
    assert values(found.sweep()) == [(1,), (2,)]


def test_the_first_variable_has_none_to_go_along_with() -> None:
    with pytest.raises(ValueError, match="first variable"):
        VariableSet().add_variable("a", [1], interaction="zip")
