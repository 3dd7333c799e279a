"""Lays values over a base config: its text stays as it is, but for the values at the variables' paths."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_edit import quoted, span_of
from researchflow_tmux.adapters.yaml_nodes import Entry, Node, Scalar, resolve
from researchflow_tmux.adapters.yaml_nodes import Mapping as MappingNode
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.sweeps.expansion import canonical

_SAFE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS_OF_OLD_YAML = frozenset({"y", "n", "yes", "no", "on", "off"})


class Overlay:
    """A base config with places for values. Raises ConfigError where a value cannot be put in."""

    def __init__(self, text: str, path: str, names: Sequence[str]) -> None:
        self.path = path
        self.added = [name for name in names if _entry(yaml_tree.parse(text, path).root, name) is None]
        """Paths that the base does not have."""
        for name in self.added:
            text = self._make_place(text, name)
        document = yaml_tree.parse(text, path)
        self.text = text
        self.places: dict[str, tuple[int, int]] = {}
        for name in names:
            entry = _entry(document.root, name)
            if entry is None:
                raise self._problem(f"{name} cannot be set here: write it into the file yourself")
            self.places[name] = span_of(document, entry)
        self._checked = False

    def lay(self, values: Mapping[str, Any]) -> str:
        """The config with these values; there is one for every name, and more are no matter."""
        text = self.text
        for name, (start, end) in sorted(self.places.items(), key=lambda item: item[1], reverse=True):
            space = " " if start and text[start - 1] == ":" else ""
            text = text[:start] + space + spelling(values[name]) + text[end:]
        if not self._checked:
            self._check(text, values)
        return text

    def _check(self, text: str, values: Mapping[str, Any]) -> None:
        """What was written must be read as what was meant."""
        root = yaml_tree.parse(text, self.path).root
        for name in self.places:
            entry = _entry(root, name)
            if entry is None or canonical(entry.value.value()) != canonical(values[name]):
                raise self._problem(f"{name} cannot be set here: write its place in a plainer way")
        self._checked = True

    def _make_place(self, text: str, name: str) -> str:
        """The text with `name: null` where nothing of that name was."""
        document = yaml_tree.parse(text, self.path)
        node, parts = _nearest(document.root, name.split("."))
        line = ": {".join(parts) + ": null" + "}" * (len(parts) - 1)
        if document.root is None:
            return f"{text}\n{line}\n"
        if isinstance(node, Entry) and isinstance(node.value, Scalar) and node.value.is_null and not node.alias:
            start, end = span_of(document, node)
            return f"{text[:start]} {{{line}}}{text[end:]}"
        where = node.value if isinstance(node, Entry) else node
        if not isinstance(where, MappingNode) or (isinstance(node, Entry) and (node.alias or node.merged)):
            assert node is not None
            problem = document.problem(node.start, f"there is no place for {name}: this is no mapping of its own")
            raise ConfigError([problem])
        if where.flow:
            at = where.end.offset - 1
            return f"{text[:at]}{', ' if where.entries else ''}{line}{text[at:]}"
        own = [entry.key.start for entry in where.entries if not entry.merged]
        first = min(own) if own else where.start
        return text[: first.offset] + line + "\n" + " " * (first.column - 1) + text[first.offset :]

    def _problem(self, message: str) -> ConfigError:
        return ConfigError([Problem(message=message, file=self.path)])


def keys_of(node: Node | None, prefix: str = "") -> list[str]:
    """The paths of all values in a config."""
    if not isinstance(node, MappingNode):
        return []
    found = []
    for entry in node.entries:
        if entry.name is not None:
            found += [prefix + entry.name, *keys_of(entry.value, f"{prefix}{entry.name}.")]
    return found


def spelling(value: Any) -> str:
    """A value as every YAML reader reads it, those of YAML 1.1 included."""
    match value:
        case str():
            plain = _SAFE.fullmatch(value) and isinstance(resolve(value), str)
            return value if plain and value.lower() not in _WORDS_OF_OLD_YAML else quoted(value)
        case float():
            text = repr(value)
            # Without a point 1e-05 is a text to YAML 1.1.
            return text.replace("e", ".0e") if "e" in text and "." not in text else text
        case list():
            return f"[{', '.join(map(spelling, value))}]"
        case dict():
            return "{" + ", ".join(f"{spelling(key)}: {spelling(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _entry(root: Node | None, name: str) -> Entry | None:
    """The entry of a path, if it is the config's own."""
    if isinstance(root, MappingNode) and (whole := root.get(name)) is not None and not whole.merged:
        return whole  # `optimizer.lr: 0.1` as one key
    node, rest = _nearest(root, name.split("."))
    return node if isinstance(node, Entry) and not rest and not node.merged else None


def _nearest(root: Node | None, parts: list[str]) -> tuple[Entry | Node | None, list[str]]:
    """The deepest entry on the way, and what is left of the way."""
    found: Entry | Node | None = root
    node = root
    for at, part in enumerate(parts):
        entry = node.get(part) if isinstance(node, MappingNode) else None
        if entry is None or (entry.merged and at == len(parts) - 1):
            return found, parts[at:]
        if (entry.alias or entry.merged) and at < len(parts) - 1:
            return entry, parts[at + 1 :]
        found, node = entry, entry.value
    return found, []
