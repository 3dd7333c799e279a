"""The nodes of a YAML tree, and what a plain scalar means in YAML 1.2's core schema."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_MAX_NUMBER = 300
"""Longer runs of digits are text: no setting is such a number, and Python refuses to read some of them."""


def resolve(text: str) -> Any:
    """The value of a plain scalar: null, bool, int, float, else the text itself. `012` stays text."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if len(text) <= _MAX_NUMBER:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
    return text


class Place(NamedTuple):
    """A position in the text: `offset` counts characters from 0, `line` and `column` from 1."""

    offset: int
    line: int
    column: int


@dataclass(kw_only=True, eq=False)
class Node:
    """What all nodes have. `end` is exclusive, and never includes what follows the value (comments, blank lines)."""

    start: Place
    end: Place
    tag: str | None = None
    anchor: str | None = None
    size: int = 1
    """Nodes it stands for, aliases counted each time."""

    def value(self) -> Any:
        """The node as plain Python data."""
        raise NotImplementedError

    @property
    def foreign_tag(self) -> str | None:
        """A tag that YAML's core schema does not have (`!Foo`), else None."""
        if self.tag is None or self.tag == "!" or self.tag.startswith(_TAG):
            return None
        return self.tag


@dataclass(kw_only=True, eq=False)
class Scalar(Node):
    """A single value; `style` is its quote or block sign, empty for a plain one."""

    text: str
    style: str = ""

    @property
    def is_text(self) -> bool:
        """True when quotes, a block sign or a tag make it text, whatever it looks like."""
        return bool(self.style) if self.tag is None else self.tag in ("!", f"{_TAG}str")

    def value(self) -> Any:
        """Null, bool, int, float or text."""
        return self.text if self.is_text else resolve(self.text)

    @property
    def is_null(self) -> bool:
        """True for an empty value, `~` and `null`."""
        return not self.is_text and resolve(self.text) is None


@dataclass(kw_only=True, eq=False)
class Sequence(Node):
    """A list."""

    flow: bool
    items: list[Node] = field(default_factory=list)
    last: Place | None = None

    def value(self) -> list[Any]:
        """The items' values."""
        return [item.value() for item in self.items]

    def last_place(self) -> Place:
        """Where its last item ends."""
        return self.last or self.end


class Entry(NamedTuple):
    """One `key: value`; start and end are those of the value as it stands here, which for an alias is the alias."""

    key: Node
    value: Node
    start: Place
    end: Place
    alias: bool = False
    merged: bool = False

    @property
    def name(self) -> str | None:
        """The key's text; None when the key is a collection."""
        return self.key.text if isinstance(self.key, Scalar) else None


@dataclass(kw_only=True, eq=False)
class Mapping(Node):
    """A mapping in the order of the text. Entries that `<<` brought in come last, with `merged` set."""

    flow: bool
    entries: list[Entry] = field(default_factory=list)

    def value(self) -> dict[str, Any]:
        """The entries by the text of their keys; the last of equal keys counts."""
        return {name: entry.value.value() for entry in self.entries if (name := entry.name) is not None}

    def get(self, name: str) -> Entry | None:
        """The entry of a key."""
        return next((entry for entry in self.entries if entry.name == name), None)

    def duplicates(self) -> list[tuple[Entry, Entry]]:
        """(first, again) for every key that is there more than once."""
        first: dict[str, Entry] = {}
        found = []
        for entry in self.entries:
            if entry.name is None or entry.merged:
                continue
            if entry.name in first:
                found.append((first[entry.name], entry))
            first.setdefault(entry.name, entry)
        return found

    def last_place(self) -> Place:
        """Where its last value ends."""
        return self.entries[-1].end if self.entries else self.end

    def merge(self) -> None:
        """Take in what `<<: *defaults` names, as YAML files in the wild expect."""
        plain = [entry for entry in self.entries if not _is_merge(entry)]
        names = {entry.name for entry in plain}
        for entry in self.entries:
            if not _is_merge(entry):
                continue
            for source in entry.value.items if isinstance(entry.value, Sequence) else [entry.value]:
                if not isinstance(source, Mapping):
                    plain.append(entry)
                    continue
                for item in source.entries:
                    if item.name not in names:
                        names.add(item.name)
                        plain.append(item._replace(merged=True))
        self.entries = plain


def _is_merge(entry: Entry) -> bool:
    return isinstance(entry.key, Scalar) and entry.key.text == "<<" and not entry.key.is_text
