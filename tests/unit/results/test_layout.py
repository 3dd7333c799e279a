"""The bytes of index.json."""

from __future__ import annotations

import contextlib
import gc
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.results import layout

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
INDEXES = st.dictionaries(st.text(), st.dictionaries(st.text(), VALUES, max_size=3), max_size=4)


@given(INDEXES)
def test_what_is_written_is_read_by_us_and_by_anybody(entries: dict[str, Any]) -> None:
    content = layout.encode_index(entries)
    assert layout.decode_index(content) == entries == json.loads(content)
    assert layout.can_grow(content)
    assert layout.count_lines(content) == len(entries) == content.count(b"\n") - 2


@given(INDEXES, st.text(), st.dictionaries(st.text(), VALUES, max_size=3))
def test_a_line_more(entries: dict[str, Any], uuid: str, entry: dict[str, Any]) -> None:
    before = layout.encode_index(entries)
    addition = layout.addition(layout.encode_line(uuid, entry), first=not entries)
    after = before[: -len(layout.TAIL)] + addition
    assert json.loads(after) == entries | {uuid: entry} == layout.decode_index(after)
    assert layout.decode_addition(addition) == {uuid: entry}
    assert layout.count_lines(after) == len(entries) + 1


@given(INDEXES.filter(bool), st.integers(1, 10_000))
def test_a_cut_end_loses_one_line_at_most(entries: dict[str, Any], cut: int) -> None:
    content = layout.encode_index(entries)
    last = len(content) - content.rindex(b"\n", 0, -3)
    found = layout.without_torn_end(content[: len(content) - cut % last])
    assert found is not None
    assert found[1] in (entries, dict(list(entries.items())[:-1]))
    assert layout.decode_index(found[0]) == found[1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 2**100, -(2**64), 1e300, "\u2028", "\ud800"])
def test_values_that_json_libraries_disagree_on(value: Any) -> None:
    content = layout.encode_index({"a": {"value": value}})
    for found in (layout.decode_index(content), json.loads(content)):
        assert repr(found["a"]["value"]) == repr(value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "a JSON list instead of an object"),
        (b'"x"', "a JSON str"),
        (b'{"a": [1]}', "entry 'a' is a list"),
        (b'{"a": {}', "Expecting"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfe\xfa", "decode"),
    ],
)
def test_what_is_no_index(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layout.decode_index(content)
    assert layout.without_torn_end(content) is None
    assert layout.without_torn_end(b"x\nx\nx\nx\nx") is None


@pytest.mark.parametrize("on", [True, False])
def test_the_garbage_collector_is_as_it_was(on: bool) -> None:
    if not on:
        gc.disable()
    try:
        for content in (b"{}", b"{"):
            with contextlib.suppress(ValueError):
                layout.decode_index(content)
            assert gc.isenabled() is on
    finally:
        gc.enable()


def test_an_addition_without_an_end() -> None:
    with pytest.raises(ValueError, match="closing brace"):
        layout.decode_addition(b'\n,"a": {}')
