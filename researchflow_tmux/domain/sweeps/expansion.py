"""Sweeps: variables with their values, and every combination of them in a fixed order. Pure.

Combinations come in the order of declaration, the last variable changing fastest. So jobs that share the first
variables stand together.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Pattern = Mapping[int, frozenset[int]]
"""Part of a combination: variable → which of its choices, both by place. It holds where all of it holds."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a variable."""

    value: Any
    text: str
    """As it stands on a command line."""
    nick: str
    """As it stands in names and folders."""


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """What is varied, and what it may be."""

    name: str
    choices: tuple[Choice, ...]

    def places(self) -> dict[str, int]:
        """Where a choice stands, by its nickname, its text and its value (in this order of weight)."""
        found: dict[str, int] = {}
        for word in (lambda choice: choice.nick, lambda choice: choice.text, lambda choice: canonical(choice.value)):
            for place, choice in enumerate(self.choices):
                found.setdefault(word(choice), place)
        return found


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """Variables, and which of their combinations are wanted."""

    variables: tuple[Variable, ...]
    zipped: tuple[tuple[int, ...], ...] = ()
    """Groups of variables (by place) that go through their choices side by side."""
    include: tuple[Pattern, ...] = ()
    """If there are any: only what matches one of them."""
    exclude: tuple[Pattern, ...] = ()
    """Not what matches one of them."""

    def size(self) -> int:
        """Combinations before `include` and `exclude`."""
        return math.prod(len(self.variables[axis[0]].choices) for axis in self._axes())

    def expand(self) -> Iterator[tuple[Choice, ...]]:
        """Every combination that is wanted: one choice per variable, in their order."""
        axes = self._axes()
        order = [place for axis in axes for place in axis]
        for at in itertools.product(*(range(len(self.variables[axis[0]].choices)) for axis in axes)):
            spread = [number for axis, number in zip(axes, at, strict=True) for _ in axis]
            where = dict(zip(order, spread, strict=True))
            if self._wanted(where):
                yield tuple(variable.choices[where[place]] for place, variable in enumerate(self.variables))

    def _axes(self) -> list[tuple[int, ...]]:
        """What goes on together; a group stands where its first variable was declared."""
        group_of = {place: tuple(sorted(group)) for group in self.zipped for place in group}
        return list(dict.fromkeys(group_of.get(place, (place,)) for place in range(len(self.variables))))

    def _wanted(self, where: Mapping[int, int]) -> bool:
        if any(_holds(pattern, where) for pattern in self.exclude):
            return False
        return not self.include or any(_holds(pattern, where) for pattern in self.include)


def _holds(pattern: Pattern, where: Mapping[int, int]) -> bool:
    return all(where[place] in choices for place, choices in pattern.items())


def exception(parent: int, choice: int, child: int, allowed: frozenset[int], of: int) -> Pattern:
    """What is left out where, under one choice of `parent`, only these of the child's `of` choices are allowed."""
    return {parent: frozenset((choice,)), child: frozenset(range(of)) - allowed}


def canonical(value: Any) -> str:
    """The one way to write a value: equal values, equal texts. 1 and 1.0 are equal."""
    return json.dumps(_whole(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return {str(key): _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def text_of(value: Any) -> str:
    """A value on a command line: text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
