"""The rules by which a plain dictionary finds entries. `find` has a language of its own: see `query`."""

from __future__ import annotations

from typing import Any


def matches_partly(value: Any, query: Any) -> bool:
    """True if `value`, as stored, has all that `query` names.

    Dictionaries recurse and may have more keys; lists are equal as a whole; None finds null and missing keys;
    `typing.Any` finds all but those; anything else is compared with `==` (so 1, 1.0 and True are one).
    """
    if isinstance(query, dict):
        if not isinstance(value, dict):
            return False
        return all(matches_partly(value.get(key), inner) for key, inner in query.items())
    if isinstance(query, list):
        return isinstance(value, list) and value == query
    if query is None:
        return value is None
    if query is Any:
        return value is not None
    return bool(value == query)


def matches_exactly(value: Any, query: Any) -> bool:
    """True if both are equal as Python compares dictionaries: any order of keys, no key more or less."""
    return bool(value == query)
