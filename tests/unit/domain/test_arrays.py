"""What `--array` may say."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.arrays import Array, Indices, parse_indices


@pytest.mark.parametrize(
    ("text", "values", "at_most"),
    [
        ("0-3", (0, 1, 2, 3), None),
        ("0-99%8", tuple(range(100)), 8),
        ("0-10:2", (0, 2, 4, 6, 8, 10), None),
        ("0-9:4", (0, 4, 8), None),
        ("1,3,5-7", (1, 3, 5, 6, 7), None),
        ("7,1", (7, 1), None),
        ("5", (5,), None),
        ("5-5", (5,), None),
        (" 1 - 3 , 9 % 2 ", (1, 2, 3, 9), 2),
        ("007-009", (7, 8, 9), None),
    ],
)
def test_what_is_understood(text: str, values: tuple[int, ...], at_most: int | None) -> None:
    assert parse_indices(text) == Indices(values, at_most)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write 0-99"),
        ("a-b", "'a-b' in 'a-b' is no index"),
        ("1-", "is no index"),
        ("-3", "is no index"),
        ("1-3:", "is no index"),
        ("1-3:0", "the step is 0"),
        ("9-1", "it runs from 9 to 1"),
        ("1,2,1", "the index 1 twice"),
        ("0-5,3", "the index 3 twice"),
        ("0-9%0", "%0 is no number"),
        ("0-9%", "% is no number"),
        ("0-9%x", "%x is no number"),
        ("0-9%2%3", "%2%3 is no number"),
        ("0-100000", "more than 100000 jobs"),
        ("0-99999,200000", "more than 100000 jobs"),
        ("0-999999999999", "more than 100000 jobs"),
        ("0-9999999999999", "is no index"),
        ("٣", "is no index"),
    ],
)
def test_what_is_refused_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_indices(text)


@given(st.text(alphabet="0123456789-:,% x", max_size=20))
def test_nothing_else_than_an_error_in_words(text: str) -> None:
    with contextlib.suppress(ValueError):
        found = parse_indices(text)
        assert found.values
        assert len(set(found.values)) == len(found.values)


def test_what_an_array_knows_of_itself() -> None:
    array = parse_indices("7,1,9-12%3").array("ab12", "seeds")
    assert array == Array(id="ab12", name="seeds", count=6, first=1, last=12, at_most=3)
