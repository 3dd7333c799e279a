"""Walks a YAML mapping against the fields of a Struct: every problem at once, each at its place."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from researchflow_tmux.adapters.config_words import Field, default_of, expected, members, type_of, usual_spelling
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar, Sequence, resolve
from researchflow_tmux.adapters.yaml_tree import Document
from researchflow_tmux.domain.errors import Problem

MAX_INT = 2**53
"""Larger whole numbers do not survive JSON."""

Check = Callable[[Any], str | None]
"""Looks at a value of the right type; returns what is wrong with it."""
Special = Callable[["Reader", Entry, str], Any]
"""Reads the value of a key that has a form of its own; its problems go to the reader."""

_BOOL_WORDS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class _RefusedError(Exception):
    """The value cannot be taken; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


@functools.cache
def _fields_of(struct: type[msgspec.Struct]) -> dict[str, Field]:
    """By name. To look them up takes half a millisecond, and there may be thousands of files and lines."""
    return {field.name: field for field in msgspec.structs.fields(struct)}


class Reader:
    """Reads mappings of one document; `problems` grows in the order of the text."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def fail(self, node: Node | Entry, message: str, hint: str | None = None) -> None:
        """Note a problem at a node or at the value of an entry."""
        self.problems.append(self.document.problem(node.start, message, hint))

    def fields(
        self,
        mapping: Mapping,
        struct: type[msgspec.Struct],
        checks: dict[str, Check],
        prefix: str = "",
        special: dict[str, Special] | None = None,
    ) -> dict[str, tuple[Any, Entry]]:
        """The given values by key, with their entries. Keys that are empty and may be are left out.

        Args:
            mapping: What is there.
            struct: What may be there.
            checks: Further conditions by key.
            prefix: Put before the key in messages (`rfsched.`).
            special: Keys with a form of their own, and what reads each.
        """
        known = _fields_of(struct)
        for first, again in mapping.duplicates():
            message = f"{prefix}{again.name} is there twice; it was set in line {first.key.start.line} already"
            self.fail(again.key, message, "keep one of the two lines")
        found: dict[str, tuple[Any, Entry]] = {}
        for entry in mapping.entries:
            name = entry.name
            if name is None or name not in known:
                self._unknown(entry, list(known), prefix)
                continue
            if special and name in special:
                found[name] = (special[name](self, entry, prefix + name), entry)
                continue
            try:
                value = self._field(known[name], entry, prefix + name, checks.get(name))
            except _RefusedError as refused:
                self.problems.append(refused.problem)
                continue
            if value is not msgspec.UNSET:
                found[name] = (value, entry)
        return found

    def _unknown(self, entry: Entry, known: list[str], prefix: str) -> None:
        import difflib

        if entry.name is None:
            self.fail(entry.key, "a key must be a simple word")
            return
        close = difflib.get_close_matches(entry.name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
        hint = f"did you mean `{close[0]}`?" if close else "delete the line, or make it a comment with `#`"
        self.fail(entry.key, f"unknown key `{prefix}{entry.name}`", hint)

    def _field(self, field: Field, entry: Entry, key: str, check: Check | None) -> Any:
        info = type_of(field.type)
        node = entry.value
        if isinstance(node, Scalar) and node.is_null:
            return self._empty(field, info, entry, key)
        value = usual_spelling(info, self._plain(info, entry, key))
        try:
            value = msgspec.convert(value, type=field.type)
        except msgspec.ValidationError:
            raise self._wrong(entry, key, expected(info), value) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(entry, key, f"{expected(info)} that is finite", value)
        if isinstance(value, int) and abs(value) > MAX_INT:
            raise self._wrong(entry, key, f"{expected(info)} that is not astronomical", value)
        complaint = check(value) if check else None
        if complaint:
            raise self._refused(entry, f"{key}: {complaint}")
        return value

    def _empty(self, field: Field, info: inspect.Type, entry: Entry, key: str) -> Any:
        default = default_of(field)
        kinds = members(info)
        if default is not msgspec.NODEFAULT and any(
            isinstance(kind, inspect.StrType | inspect.ListType | inspect.DictType | inspect.NoneType) for kind in kinds
        ):
            # For `T | None` an empty value says None even where the default is something else.
            return None if any(isinstance(kind, inspect.NoneType) for kind in kinds) else msgspec.UNSET
        hint = None if default is msgspec.NODEFAULT else f"delete the line to get the default, {show(default)}"
        raise self._refused(entry, f"{key}: expected {expected(info)}, got nothing", hint)

    # -- nodes to plain data

    def _plain(self, info: inspect.Type, entry: Entry, key: str) -> Any:
        """The node as the data that the type asks for: a text takes a plain scalar as it was written."""
        node = entry.value
        kinds = members(info)
        if isinstance(node, Sequence) and any(isinstance(kind, inspect.ListType) for kind in kinds):
            texts = all(
                isinstance(kind.item_type, inspect.StrType) for kind in kinds if isinstance(kind, inspect.ListType)
            )
            return [self._item(item, key, texts) for item in node.items]
        if isinstance(node, Mapping) and any(isinstance(kind, inspect.DictType) for kind in kinds):
            return self._texts(node, key)
        if not isinstance(node, Scalar):
            raise self._wrong(entry, key, expected(info), "a list" if isinstance(node, Sequence) else "a mapping")
        self._clean(node, key)
        if all(isinstance(kind, inspect.StrType | inspect.NoneType) for kind in kinds):
            return node.text
        value = node.value()
        if isinstance(value, str) and node.style and _accepts_numbers(kinds):
            # "2" in quotes is the 2 that bash schedulers read.
            quoted = resolve(value)
            return value if isinstance(quoted, bool) or quoted is None else quoted
        return value

    def _item(self, node: Node, key: str, as_text: bool) -> Any:
        if not isinstance(node, Scalar) or node.is_null:
            raise self._refused(node, f"{key}: every item of the list must be a simple value")
        self._clean(node, key)
        return node.text if as_text else node.value()

    def _texts(self, node: Mapping, key: str) -> dict[str, str]:
        for first, again in node.duplicates():
            self.fail(again.key, f"{key}.{again.name} is there twice; first in line {first.key.start.line}")
        texts: dict[str, str] = {}
        for entry in node.entries:
            name, value = entry.name, entry.value
            if not name or "=" in name or "\0" in name:
                self.fail(entry.key, f"{key}: expected the name of a variable, got {name!r}")
            elif not isinstance(value, Scalar):
                self.fail(entry, f"{key}.{name}: expected a simple value", "quote it to make it a text")
            else:
                self._clean(value, key)
                texts[name] = "" if value.is_null else value.text
        return texts

    def _clean(self, node: Scalar, key: str) -> None:
        if node.foreign_tag:
            raise self._refused(node, f"{key}: the tag {node.foreign_tag} means nothing here")
        if "\0" in node.text or not _encodable(node.text):
            raise self._refused(node, f"{key}: holds a character that no command line can carry")

    # -- words

    def _refused(self, node: Node | Entry, message: str, hint: str | None = None) -> _RefusedError:
        return _RefusedError(self.document.problem(node.start, message, hint))

    def _wrong(self, entry: Entry, key: str, wanted: str, got: Any) -> _RefusedError:
        node = entry.value
        shown = show(got) if isinstance(node, Scalar) else "a list" if isinstance(node, Sequence) else "a mapping"
        hint = None
        if wanted.startswith("`true`") and isinstance(got, str) and got.lower() in _BOOL_WORDS:
            hint = f"write {_BOOL_WORDS[got.lower()]}"
        elif wanted.startswith("a list") and isinstance(node, Scalar):
            hint = f"write it as a list: [{node.text if node.text.isalnum() else show(node.text)}]"
        return self._refused(entry, f"{key}: expected {wanted}, got {shown}", hint)


def _accepts_numbers(kinds: tuple[inspect.Type, ...]) -> bool:
    return any(isinstance(kind, inspect.IntType | inspect.FloatType) for kind in kinds)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def show(value: Any) -> str:
    """A value as a person would write it, not too long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
