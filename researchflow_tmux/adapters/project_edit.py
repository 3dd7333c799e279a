"""Changes values of one project or user in a YAML file, and not one byte besides."""

from __future__ import annotations

import re
from collections.abc import Mapping as Texts
from typing import Any

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_edit import quoted, span_of
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar, resolve
from researchflow_tmux.adapters.yaml_tree import Document
from researchflow_tmux.domain.errors import ConfigError, Problem

_BOM = b"\xef\xbb\xbf"
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]*[A-Za-z0-9_]")


def edit(data: bytes, path: str, section: str, name: str, values: Texts[str, str]) -> bytes:
    """The file with these values, as texts, of `section` → `name`; both are made where they are not there.

    Raises ConfigError where the place cannot be edited safely. Whether the values are right is not looked at here.
    """
    text = yaml_tree.decode(data, path)
    changed = text
    for key, value in values.items():
        changed = _one(changed, path, section, name, key, spelling(value))
    _nothing_else(text, changed, path, section, name)
    return (_BOM if data.startswith(_BOM) else b"") + changed.encode()


def spelling(value: str) -> str:
    """A value as it can stand anywhere in YAML: what is a number there stays one, a text is quoted where it must be."""
    if value == "null" or (isinstance(resolve(value), int | float) and not isinstance(resolve(value), bool)):
        return value
    return value if _PLAIN.fullmatch(value) and isinstance(resolve(value), str) else quoted(value)


def _one(text: str, path: str, section: str, name: str, key: str, value: str) -> str:
    document = yaml_tree.parse(text, path)
    root = document.root
    if root is not None and (not isinstance(root, Mapping) or root.flow):
        raise _refused(document, root, "the file is not made of lines of `key: value`")
    owner, pair = _name(name), f"{key}: {value}"
    at = None if root is None else _own(document, root, section)
    if at is None:
        return _appended(text, f"{section}:", f"  {owner}: {{{pair}}}")
    if _empty(at.value):
        return _filled(document, at, f"{owner}: {{{pair}}}")
    entry = _own(document, at.value, name)
    if entry is None:
        return _added(document, at.value, f"{owner}: {{{pair}}}")
    if _empty(entry.value):
        return _filled(document, entry, pair)
    found = _own(document, entry.value, key)
    if found is None:
        return _added(document, entry.value, pair)
    start, end = span_of(document, found)
    return text[:start] + (" " if text[start - 1] == ":" else "") + value + text[end:]


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and isinstance(resolve(name), str) else quoted(name)


def _own(document: Document, node: Node, name: str) -> Entry | None:
    """The entry of `name`. Raises ConfigError where it is not this node's own."""
    if not isinstance(node, Mapping):
        raise _refused(document, node, f"there is something else where `{name}` belongs")
    entry = next((each for each in node.entries if each.name == name), None)
    if entry is not None and (entry.alias or entry.merged or entry.value.anchor):
        raise _refused(document, entry, f"`{name}` is shared by an anchor or an alias")
    return entry


def _empty(node: Node) -> bool:
    return (isinstance(node, Scalar) and node.is_null) or (isinstance(node, Mapping) and not node.entries)


def _filled(document: Document, entry: Entry, pair: str) -> str:
    """An entry without anything in it gets its first: `{pair}`, behind its colon."""
    text = document.text
    colon = text.index(":", entry.key.end.offset) + 1
    end = max(entry.end.offset, colon)
    between = text[colon : entry.start.offset] if end > colon else ""
    if "\n" in between or "#" in between:
        raise _refused(document, entry, f"there is more than the value behind `{entry.name}`")
    return text[:colon] + f" {{{pair}}}" + text[end:]


def _added(document: Document, mapping: Node, pair: str) -> str:
    """One more entry at the end of a mapping."""
    assert isinstance(mapping, Mapping)
    text = document.text
    if mapping.flow:
        last = mapping.last_place().offset
        return text[:last] + f", {pair}" + text[last:]
    first = next(entry for entry in mapping.entries if not entry.merged)
    newline = "\r\n" if "\r\n" in text else "\n"
    place = _end_of_line(document, mapping)
    before = "" if place == 0 or text[place - 1] == "\n" else newline
    after = newline if not before else ""
    return text[:place] + before + " " * (first.key.start.column - 1) + pair + after + text[place:]


def _end_of_line(document: Document, mapping: Mapping) -> int:
    """Behind the line on which the last entry of a block ends, the comment behind it included."""
    text = document.text
    own = [entry for entry in mapping.entries if not entry.merged]
    end = max(max(entry.end.offset, entry.key.end.offset) for entry in own)
    if end and text[end - 1] == "\n":
        return end
    found = text.find("\n", end)
    return len(text) if found < 0 else found + 1


def _appended(text: str, *lines: str) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    body = newline.join(lines)
    return text + newline + body if text and not text.endswith("\n") else text + body + newline


def _nothing_else(before: str, after: str, path: str, section: str, name: str) -> None:
    """Every other value must be what it was."""
    if _others(before, path, section, name) != _others(after, path, section, name):
        message = f"setting {section}.{name} would change other values too: edit the file by hand"
        raise ConfigError([Problem(message=message, file=path)])


def _others(text: str, path: str, section: str, name: str) -> Any:
    root = yaml_tree.parse(text, path).root
    found = root.value() if root is not None else {}
    if isinstance(found, dict):
        inner = found.pop(section, None) or {}
        rest = {key: value for key, value in inner.items() if key != name} if isinstance(inner, dict) else inner
        return repr((found, rest))
    return repr(found)


def _refused(document: Document, where: Node | Entry, message: str) -> ConfigError:
    return ConfigError([document.problem(where.start, f"{message}: edit it by hand")])
