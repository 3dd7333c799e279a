"""The language of `find`: {"model": "bert", "accuracy": {">": 0.9}, "training.lr": {"in": [1e-3, 1e-4]}}.

Each name must hold. A dictionary all of whose keys are operators is a comparison (several must all hold); any other
value means what it means in `read_entries`. Plain queries of `read_entries` know no operators, so that an entry whose
metadata has a key ">" is still found by it; here such a key is written {"=": {">": 1}}.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from researchflow_tmux.results.errors import QueryError
from researchflow_tmux.results.fields import MISSING, lookup
from researchflow_tmux.results.matching import matches_partly
from researchflow_tmux.results.values import Entry

Test = Callable[[Any], bool]
"""Answers for one value, which may be MISSING."""


def compile_query(where: Mapping[str, Any]) -> Callable[[Entry], bool]:
    """A function that says whether an entry has all that `where` asks for. Raises QueryError."""
    tests = [(name, _test(name, wanted)) for name, wanted in where.items()]

    def holds(entry: Entry) -> bool:
        return all(test(lookup(entry, name)) for name, test in tests)

    return holds


def sorted_by(entries: list[Entry], names: str | Sequence[str] | None) -> list[Entry]:
    """`entries` in the order of the values that `names` mean; "-accuracy" = largest first. Missing ones come last.

    Numbers come before text, text before lists and dictionaries. Equal ones keep their order.
    """
    for name in reversed([names] if isinstance(names, str) else list(names or ())):
        descending, plain = name.startswith("-"), name.removeprefix("-")
        ranked = [(_rank(lookup(entry, plain)), entry) for entry in entries]
        there = [pair for pair in ranked if pair[0] is not None]
        there.sort(key=_by_rank, reverse=descending)
        entries = [entry for _, entry in there] + [entry for rank, entry in ranked if rank is None]
    return entries


def _by_rank(pair: tuple[Any, Entry]) -> Any:
    return pair[0]


def _rank(value: Any) -> tuple[int, Any] | None:
    if value is MISSING or value is None or value != value:  # only NaN differs from itself
        return None
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, repr(value))


def _test(name: str, wanted: Any) -> Test:
    if not isinstance(name, str) or not name:
        raise QueryError(f"a name in a query is text, not {name!r}", hint='for example {"training.lr": 0.1}')
    if isinstance(wanted, dict) and wanted:
        known = [key for key in wanted if key in _OPERATORS]
        if len(known) == len(wanted):
            tests = [_OPERATORS[key](name, inner) for key, inner in wanted.items()]
            return lambda value: all(test(value) for test in tests)
        if known or any(_looks_like_operator(key) for key in wanted):
            raise _unknown_operator(name, next(key for key in wanted if key not in _OPERATORS))
    return lambda value: matches_partly(None if value is MISSING else value, wanted)


def _looks_like_operator(key: Any) -> bool:
    return isinstance(key, str) and key != "" and not any(letter.isalnum() or letter in "_ " for letter in key)


def _unknown_operator(name: str, key: Any) -> QueryError:
    near = difflib.get_close_matches(str(key), _OPERATORS, n=1, cutoff=0.3)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return QueryError(
        f"{name}: {key!r} is not an operator", hint=f"{guess}there are {' '.join(_OPERATORS)}; keys go after {{'=': …}}"
    )


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[str, Any], Test]:
    def build(name: str, wanted: Any) -> Test:
        if not (_is_number(wanted) or isinstance(wanted, str)):
            raise QueryError(f"{name}: cannot compare with {wanted!r}", hint="compare with a number or text")
        if isinstance(wanted, str):
            return lambda value: isinstance(value, str) and compare(value, wanted)
        return lambda value: _is_number(value) and compare(value, wanted)

    return build


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(_: str, wanted: Any) -> Test:
    return lambda value: value is not MISSING and bool(value == wanted)


def _unequal(_: str, wanted: Any) -> Test:
    return lambda value: value is MISSING or bool(value != wanted)


def _one_of(name: str, wanted: Any) -> Test:
    choices = _choices(name, wanted)
    return lambda value: value is not MISSING and value in choices


def _none_of(name: str, wanted: Any) -> Test:
    choices = _choices(name, wanted)
    return lambda value: value is MISSING or value not in choices


def _choices(name: str, wanted: Any) -> list[Any]:
    if not isinstance(wanted, list | tuple | set | frozenset | range):
        raise QueryError(f"{name}: 'in' needs a list, not {wanted!r}", hint=f'{{"{name}": {{"in": [1, 2]}}}}')
    return list(wanted)


def _contains(_: str, wanted: Any) -> Test:
    def test(value: Any) -> bool:
        if isinstance(value, str):
            return isinstance(wanted, str) and wanted in value
        return isinstance(value, list | dict) and wanted in value

    return test


def _exists(name: str, wanted: Any) -> Test:
    if not isinstance(wanted, bool):
        raise QueryError(f"{name}: 'exists' is True or False, not {wanted!r}", hint=f'{{"{name}": {{"exists": True}}}}')
    return lambda value: (value is not MISSING) is wanted


def _resembles(name: str, wanted: Any) -> Test:
    try:
        pattern = re.compile(wanted)
    except (re.error, TypeError) as error:
        raise QueryError(f"{name}: {wanted!r} is not a regular expression: {error}", hint="see Python's re") from error
    return lambda value: isinstance(value, str) and pattern.search(value) is not None


_OPERATORS: dict[str, Callable[[str, Any], Test]] = {
    ">": _comparison(operator.gt),
    ">=": _comparison(operator.ge),
    "<": _comparison(operator.lt),
    "<=": _comparison(operator.le),
    "=": _equal,
    "!=": _unequal,
    "in": _one_of,
    "not in": _none_of,
    "contains": _contains,
    "exists": _exists,
    "~": _resembles,
}
