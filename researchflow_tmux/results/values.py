"""Values as JSON holds them: what is stored is what will be read back, in this process and in any other."""

from __future__ import annotations

import math
import numbers
import os
from typing import Any

from researchflow_tmux.results.errors import NotStorable

Entry = dict[str, Any]
"""{"uuid": str, "metadata": {…}, "extra_info": {…}, "attachments": {…}}"""


def section(entry: Entry, name: str) -> dict[str, Any]:
    """One of the three dictionaries of an entry; empty where a person's edit left something else."""
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def storable(value: dict[Any, Any], where: str) -> dict[str, Any]:
    """A copy of `value` in JSON's types: tuples become lists, paths and keys text, NumPy numbers plain numbers.

    Raises NotStorable, naming the place below `where`.
    """
    try:
        return {_key(key, where): _value(inner, f"{where}.{key}") for key, inner in value.items()}
    except RecursionError:
        raise NotStorable(f"{where} contains itself", hint="store a copy without the loop") from None


def _value(value: Any, where: str) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return _text(str.__str__(value), where)
        case dict():
            return {_key(key, where): _value(inner, f"{where}.{key}") for key, inner in value.items()}
        case list() | tuple():
            return [_value(inner, f"{where}[{number}]") for number, inner in enumerate(value)]
        case os.PathLike():
            return _path(value, where)
    return _number(value, where)


def _number(value: Any, where: str) -> int | float:
    # By their registered kinds, so that NumPy's numbers are understood without importing it.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        number = float(value)
        # A NaN of our own: Python takes two containers with the very same NaN object for equal.
        return float("nan") if math.isnan(number) else number
    raise NotStorable(
        f"{where} is a {type(value).__name__}, which JSON cannot hold",
        hint="store numbers, text, lists and dictionaries; write anything else to a file and attach its path",
    )


def _path(value: os.PathLike[Any], where: str) -> str:
    path = os.fspath(value)
    if isinstance(path, bytes):
        raise NotStorable(f"{where} is a path of bytes", hint="use text for paths")
    return _text(path, where)


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotStorable(
            f"{where} is not valid Unicode: {value!r}", hint="decode it with the right encoding"
        ) from None
    return value


def _key(key: Any, where: str) -> str:
    """As the JSON of the standard library writes keys."""
    match key:
        case str():
            return _text(str.__str__(key), where)
        case None:
            return "null"
        case bool():
            return "true" if key else "false"
        case int() | float():
            return repr(key)
    raise NotStorable(f"{where} has a {type(key).__name__} as a key", hint="use text as keys")


def copied(value: Any) -> Any:
    """A copy that shares no dictionary and no list with `value` (JSON types only)."""
    if isinstance(value, dict):
        return {key: copied(inner) if isinstance(inner, dict | list) else inner for key, inner in value.items()}
    if isinstance(value, list):
        return [copied(inner) if isinstance(inner, dict | list) else inner for inner in value]
    return value
