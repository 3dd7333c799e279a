"""What can be stored, and what it is then."""

from __future__ import annotations

import enum
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.results.errors import NotStorable
from researchflow_tmux.results.values import copied, section, storable


class Kind(enum.StrEnum):
    BERT = "bert"


class Level(enum.IntEnum):
    LOW = 1


class Number(float):
    """Stands for NumPy's."""


def test_types_become_those_of_json() -> None:
    given = {
        "path": Path("a/b"),
        "tuple": (1, (2.5, None)),
        "kind": Kind.BERT,
        "number": Number(0.5),
        "flag": True,
        "level": Level.LOW,
        1: {None: 1, True: 2, 0.5: 3, "x": []},
    }
    assert storable(given, "metadata") == {
        "path": "a/b",
        "tuple": [1, [2.5, None]],
        "kind": "bert",
        "number": 0.5,
        "flag": True,
        "level": 1,
        "1": {"null": 1, "true": 2, "0.5": 3, "x": []},
    }
    assert [type(value) for value in storable(given, "m").values()] == [str, list, str, float, bool, int, dict]


def test_every_nan_is_one_of_its_own() -> None:
    first, second = (storable({"x": math.nan}, "metadata") for _ in range(2))
    assert math.isnan(first["x"])
    assert first != second


class BytePath:
    def __fspath__(self) -> bytes:
        return b"x"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"f": print}, r"^metadata\.a\.f is a builtin_function_or_method"),
        ([1, {2}], r"^metadata\.a\[1\] is a set"),
        (Fraction(1, 3), r"is a Fraction"),
        (b"x", r"is a bytes"),
        ("\ud800", r"not valid Unicode"),
        (BytePath(), r"path of bytes"),
        (Path("\udcff"), r"not valid Unicode"),
        ({(1, 2): 3}, r"^metadata\.a has a tuple as a key"),
        ({"\ud800": 3}, r"not valid Unicode"),
    ],
)
def test_what_json_cannot_hold(value: Any, message: str) -> None:
    with pytest.raises(NotStorable, match=message):
        storable({"a": value}, "metadata")


def test_a_loop() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(NotStorable, match="metadata contains itself"):
        storable(loop, "metadata")


def test_copies_share_nothing() -> None:
    value = {"a": [{"b": [1]}], "c": 1}
    copy = copied(value)
    assert copy == value
    copy["a"][0]["b"].append(2)
    assert value == {"a": [{"b": [1]}], "c": 1}
    assert copied(3) == 3


def test_a_section_that_a_person_broke() -> None:
    assert section({"metadata": 3}, "metadata") == {}
    assert section({}, "metadata") == {}
