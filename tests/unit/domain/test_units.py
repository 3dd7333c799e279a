"""Times and sizes: what people write, and that nothing else gets through."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("12h", 43200),
        ("2d", 172800),
        ("1w", 604800),
        ("1h30m", 5400),
        ("1 h 30 min", 5400),
        ("1.5h", 5400),
        ("45", 45),
        (45, 45),
        (0.5, 0.5),
        (" 10 Seconds ", 10),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1:30", "soon", "-5m", "1h1h", "5 parsecs", "h", "1e3", "٣m", "1" * 400, math.inf, -1]
)
def test_what_is_no_duration_says_what_one_looks_like(text: str | float) -> None:
    with pytest.raises(ValueError, match="`90m`"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("1GiB", 1024),
        ("500MiB", 500),
        ("1g", 1024),
        ("512 k", 0.5),
        ("1048576B", 1),
        ("2", 2),
        (3, 3),
        ("1.5T", 1572864),
    ],
)
def test_sizes(text: str | float, mib: float) -> None:
    assert parse_size(text) == mib


def test_decimal_sizes_are_decimal() -> None:
    assert parse_size("1MB") == pytest.approx(1e6 / 2**20)


@pytest.mark.parametrize("text", ["", "1 apple", "-1", "GiB", "1 GiB GiB", math.nan])
def test_what_is_no_size_says_what_one_looks_like(text: str | float) -> None:
    with pytest.raises(ValueError, match="`1GiB`"):
        parse_size(text)


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with suppress(ValueError):
            assert parse(text) >= 0
