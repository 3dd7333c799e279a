"""Tables in JSON: values change in the text as it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.tables.grid import Unreadable
from researchflow_tmux.adapters.sources.tables.json_grid import read_json


def test_values_keep_their_types_and_numbers_their_writing() -> None:
    grid = read_json(b'[{"lr": 1e-3, "n": 64, "f": 64.0, "b": true, "s": "x", "none": null, "l": [1, 2], "e": ""}]')
    cells = dict(zip(grid.header, grid.records[0], strict=True))
    assert {name: (cell.text, cell.value) if cell else None for name, cell in cells.items()} == {
        "lr": ("1e-3", 0.001),
        "n": ("64", 64),
        "f": ("64.0", 64.0),
        "b": ("True", True),
        "s": ("x", "x"),
        "none": None,
        "l": ("[1, 2]", "[1, 2]"),
        "e": None,
    }


def test_missing_and_not_a_number_are_blank() -> None:
    grid = read_json(b'[{"a": 1}, {"b": NaN}]')
    assert grid.header == ["a", "b"]
    assert [[cell is None for cell in record] for record in grid.records] == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('[{"run_num": 0}]', '[{"run_num": 1}]'),
        ('[{"a": 1}]', '[{"a": 1, "run_num": 1}]'),
        ('[{"a":1,"b":2}]', '[{"a":1,"b":2,"run_num":1}]'),
        ("[{}]", '[{"run_num": 1}]'),
        ('[\n  {\n    "a": 1\n  }\n]\n', '[\n  {\n    "a": 1,\n    "run_num": 1\n  }\n]\n'),
        ('[{"a" : 1 ,\n"b" : 2 }, 3]'.replace(", 3", ""), '[{"a" : 1 ,\n"b" : 2 ,\n"run_num": 1 }]'),
    ],
)
def test_what_is_added_looks_like_the_rest(before: str, after: str) -> None:
    grid = read_json(before.encode())
    if "run_num" in grid.header:
        assert grid.patched({(0, grid.header.index("run_num")): 1}).content() == after.encode()
    else:
        assert grid.patched({(0, len(grid.header)): 1}, ["run_num"]).content() == after.encode()


def test_changes_one_after_the_other_find_their_places() -> None:
    grid = read_json(b'\xef\xbb\xbf[ {"run_num": 9, "x": "\\u00e4"},\r\n {"run_num": 0 } ]')
    again = grid.patched({(0, 0): 10}).patched({(1, 0): 1}).patched({(0, 0): 11})
    assert again.content() == b'\xef\xbb\xbf[ {"run_num": 11, "x": "\\u00e4"},\r\n {"run_num": 1 } ]'
    assert [record[0].value for record in again.records] == [11, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ('{"a": 1}', "no list of objects"),
        ("[1]", "no object"),
        ('[{"a": 1}', "is no JSON"),
        ('[{"a": }]', "is no JSON"),
        ('[{"a": 1}] x', "is no JSON"),
        ('[{"a": 1,}]', "is no JSON"),
        ('[{"a" 1}]', "is no JSON"),
        ('[{"a": ' + "[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(text: str, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_json(text.encode())


def test_a_problem_has_line_and_column_of_the_value() -> None:
    grid = read_json(b'[{"a": 1},\n {"a": 2, "run_num": "x"}]')
    problem = grid.problem("t.json", 1, 1, "bad", None)
    assert (problem.line, problem.column) == (2, 22)


def test_a_key_that_is_there_twice_spoils_its_row_alone() -> None:
    text = b'[{"a": 1, "b": 0, "a": 2}, {"a": 3}]'
    grid = read_json(text)
    assert grid.fault(0) == (0, "has the key 'a' twice", "keep one")
    assert (grid.fault(1), grid.fault(None)) == (None, None)
    patched = grid.patched({(1, 2): 1}, ["run_num"])
    assert patched.content() == b'[{"a": 1, "b": 0, "a": 2}, {"a": 3, "run_num": 1}]'
    assert patched.fault(0) is not None


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.integers())


@given(
    st.lists(st.dictionaries(st.text(), values), min_size=1, max_size=5),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.data(),
)
def test_only_the_changed_value_changes(
    objects: list[dict[str, Any]], indent: int | None, plain: bool, data: st.DataObject
) -> None:
    grid = read_json(json.dumps(objects, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass"))
    record = data.draw(st.integers(0, len(objects) - 1))
    column = data.draw(st.integers(0, len(grid.header)))
    name = grid.header[column] if column < len(grid.header) else "run_num_new"
    added = [] if column < len(grid.header) else [name]
    expected = [dict(item) for item in objects]
    expected[record][name] = 7
    assert json.loads(grid.patched({(record, column): 7}, added).content()) == expected


@given(st.text(alphabet='[]{}":,0a \n', max_size=40))
def test_any_text_is_a_table_or_is_said_to_be_none(text: str) -> None:
    try:
        grid = read_json(text.encode())
    except Unreadable:
        return
    assert isinstance(json.loads(text), list)
    assert grid.patched({}).content() == text.encode()
