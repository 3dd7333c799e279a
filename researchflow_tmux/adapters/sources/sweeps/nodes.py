"""Small steps of reading a sweep file; each notes its problems in the reader and goes on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from researchflow_tmux.adapters.config_fields import Reader, show
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar, Sequence

MAX_NUMBER = 1e300
"""Beyond that, what is computed from numbers is infinite."""


MOST_COMPARED = 500
"""Words among which a similar one is looked for."""


def suggestion(word: str, known: Iterable[str]) -> str | None:
    """`did you mean …?`, or what there is to choose from."""
    import difflib

    known = list(itertools.islice(known, MOST_COMPARED))
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return f"there is {', '.join(known[:8])}" + (" …" if len(known) > 8 else "") if known else None


def entries(reader: Reader, mapping: Mapping, known: Iterable[str] | None = None, what: str = "") -> dict[str, Entry]:
    """The entries by name, each once; `known` = the names that may be."""
    found: dict[str, Entry] = {}
    for entry in mapping.entries:
        name = entry.name
        if name is None or not isinstance(entry.key, Scalar):
            reader.fail(entry.key, "a key must be a simple word")
        elif name in found:
            line = found[name].key.start.line
            reader.fail(entry.key, f"{what}{name} is there twice; first in line {line}", "keep one of the two")
        elif known is not None and name not in known:
            reader.fail(entry.key, f"unknown key `{what}{name}`", suggestion(name, known))
        elif usable(reader, entry.key):
            found[name] = entry
    return found


def mapping_of(reader: Reader, entry: Entry, what: str, example: str) -> Mapping | None:
    """The entry's value as a mapping."""
    if isinstance(entry.value, Mapping):
        return entry.value
    reader.fail(entry, f"{what}: expected lines of `key: value` under it", f"such as `{example}`")
    return None


def items_of(reader: Reader, node: Node, what: str, example: str) -> list[Node] | None:
    """The items of a list that has some."""
    if not isinstance(node, Sequence):
        reader.fail(node, f"{what}: expected a list", f"such as `{example}`")
        return None
    if not node.items:
        reader.fail(node, f"{what}: the list is empty", f"such as `{example}`")
        return None
    return node.items


def usable(reader: Reader, node: Node) -> bool:
    """Whether all in the node can stand on a command line and in a name."""
    match node:
        case Scalar():
            problem = _unusable(node)
            if problem:
                reader.fail(node, problem)
            return problem is None
        case Sequence(items=items):
            return not [item for item in items if not usable(reader, item)]
        case Mapping():
            parts = [item for entry in node.entries for item in (entry.key, entry.value)]
            return not [item for item in parts if not usable(reader, item)]
    return True


def _unusable(node: Scalar) -> str | None:
    if node.foreign_tag:
        return f"the tag {node.foreign_tag} means nothing here"
    if "\0" in node.text or any("\ud800" <= char <= "\udfff" for char in node.text):
        return "holds a character that no command line can carry"
    value = node.value()
    if isinstance(value, float) and not math.isfinite(value):
        return "expected a number that is finite"
    return None


def number(reader: Reader, node: Node, what: str) -> int | float | None:
    """A number that can be computed with."""
    value = node.value() if isinstance(node, Scalar) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER:
        return value
    reader.fail(node, f"{what}: expected a number, got {_shown(node)}")
    return None


def count(reader: Reader, node: Node, what: str, most: int) -> int | None:
    """A number of values."""
    value = node.value() if isinstance(node, Scalar) else None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
        return value
    reader.fail(node, f"{what}: expected a whole number from 1 to {most}, got {_shown(node)}")
    return None


def _shown(node: Node) -> str:
    if isinstance(node, Scalar):
        return show(node.value())
    return "a list" if isinstance(node, Sequence) else "a mapping"
