"""YAML: what values mean, where they stand, and that no text brings down the reader."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.yaml_nodes import Mapping, Scalar, resolve
from researchflow_tmux.domain.errors import ConfigError, Problem


def value_of(text: str) -> Any:
    root = yaml_tree.parse(text, "f.yml").root
    return root.value() if root is not None else None


def problem_of(text: str) -> Problem:
    with pytest.raises(ConfigError) as caught:
        yaml_tree.parse(text, "f.yml")
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("-7", -7),
        ("0", 0),
        ("0x1F", 31),
        ("0o17", 15),
        ("012", "012"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        (".inf", math.inf),
        ("2026-11-22", "2026-11-22"),
        ("9" * 5000, "9" * 5000),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert value_of(f"a: {text}") == {"a": value}


def test_nan_is_a_number() -> None:
    assert math.isnan(resolve(".nan"))


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_places_count_lines_and_characters_from_one(newline: str) -> None:
    text = newline.join(["é: 1", "# comment", "list:", "  - 😀x", "  - b # c", ""])
    root = yaml_tree.parse(text, "f.yml").root
    assert isinstance(root, Mapping)
    entry = root.get("list")
    assert entry is not None
    first = entry.value.items[0]  # type: ignore[attr-defined]
    assert (first.start.line, first.start.column) == (4, 5)
    assert text[first.start.offset : first.end.offset] == "😀x"
    assert text[: entry.end.offset].endswith("- b")


def test_an_alias_keeps_its_own_place() -> None:
    root = yaml_tree.parse("a: &x 1\nb: *x\n", "f.yml").root
    assert isinstance(root, Mapping)
    entry = root.get("b")
    assert entry is not None
    assert entry.alias
    assert entry.start.line == 2
    assert isinstance(entry.value, Scalar)
    assert entry.value.value() == 1


def test_merge_keys_give_what_is_not_said() -> None:
    assert value_of("d: &d {a: 1, b: 2}\nx:\n  <<: *d\n  b: 3\n") == {"d": {"a": 1, "b": 2}, "x": {"b": 3, "a": 1}}
    assert value_of("d: &d {a: 1}\ne: &e {a: 9, c: 2}\nx: {<<: [*d, *e]}")["x"] == {"a": 1, "c": 2}


def test_duplicate_keys_are_found() -> None:
    root = yaml_tree.parse("a: 1\nb: 2\na: 3\n", "f.yml").root
    assert isinstance(root, Mapping)
    assert [(first.key.start.line, again.key.start.line) for first, again in root.duplicates()] == [(1, 3)]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a:\n\tb: 1\n", 2, 1, "tab"),
        ("a: 1\n b: 2\n", 2, 3, "indented"),
        ("a: 'x\n", 2, 1, "not closed"),
        ("a: [1,\nb: 2", 3, 1, "bracket"),
        ("a: @x", 1, 4, "quote"),
        ("a: *nope", 1, 4, "anchor"),
        ("a: &x [*x]", 1, 8, "inside its own anchor"),
        ("a: \x00", 1, 4, "U+0000"),
        ("[" * 100_000, 1, 65, "levels deep"),
        ("- " * 5000, 1, 129, "levels deep"),
    ],
)
def test_a_syntax_error_says_where_and_what_to_do(text: str, line: int, column: int, words: str) -> None:
    problem = problem_of(text)
    assert (problem.file, problem.line, problem.column) == ("f.yml", line, column)
    assert words in f"{problem.message} {problem.hint}"


def test_the_source_line_stands_above_the_caret() -> None:
    shown = str(problem_of("ok: 1\nname: @lice\n")).splitlines()
    assert shown[1].index("@") == shown[2].index("^")


def test_several_documents() -> None:
    assert "several documents" in problem_of("a: 1\n---\nb: 2\n").message
    document = yaml_tree.parse("a: 1\n---\nb: 2\n", "f.yml", first_document_only=True)
    assert document.root is not None
    assert document.root.value() == {"a": 1}


def test_a_few_lines_that_stand_for_billions_of_values_are_refused() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]" for i in range(10)]
    assert "stands for more than" in problem_of("\n".join(lines)).message


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a: 1\nb: \xff\n", ":2:4: byte 0xff is not UTF-8"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        (b"a" * (yaml_tree.MAX_BYTES + 1), "longer than"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        yaml_tree.decode(data, "f.yml")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert yaml_tree.decode(b"\xef\xbb\xbfa: 1", "f.yml") == "a: 1"


YAML_ISH = st.text(alphabet=st.sampled_from(list("ab:-?[]{},&*!|>'\"%@` #\n\t\r01.~<=\x00é\u2028\ufeff")), max_size=60)


@given(YAML_ISH | st.text())
@example("? a\n: b")
@example("<<: *a")
@example("<<: [1]\n<<: {a: 1}")
@example("%TAG ! x\n--- !foo a")
def test_no_text_raises_anything_but_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        document = yaml_tree.parse(text, "f.yml")
        if document.root is not None:
            document.root.value()


@given(st.binary())
def test_no_bytes_raise_anything_but_a_config_error(data: bytes) -> None:
    with suppress(ConfigError):
        yaml_tree.parse(yaml_tree.decode(data, "f.yml"), "f.yml")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_is_read_as_what_it_is(value: object) -> None:
    assert value_of(json.dumps(value)) == value
