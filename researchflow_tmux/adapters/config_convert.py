"""Takes over the config of a bash scheduler: what is valid stays byte for byte, unknown keys become comments."""

from __future__ import annotations

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_file import parse_settings
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import Settings

_BOM = b"\xef\xbb\xbf"


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """The config in a form that loads, or as near to it as can be had without guessing."""

    data: bytes
    notes: tuple[str, ...]


def convert(data: bytes, path: str) -> Converted:
    """Turn the lines of unknown keys into comments. Everything else stays; what is wrong with it is in the notes."""
    try:
        loaded = parse_settings(data, path)
    except ConfigError:
        pass
    else:
        return Converted(data=data, notes=loaded.warnings)
    notes: list[str] = []
    try:
        data = _comment_unknown(data, path, notes)
        notes += parse_settings(data, path).warnings
    except ConfigError as error:
        notes += [f"to be corrected by hand: {problem}" for problem in error.problems]
    return Converted(data=data, notes=tuple(notes))


def _comment_unknown(data: bytes, path: str, notes: list[str]) -> bytes:
    document = yaml_tree.parse(yaml_tree.decode(data, path), path)
    root = document.root
    if not isinstance(root, Mapping) or root.flow:
        return data
    if any(char in document.text for char in "\x85\u2028\u2029"):
        return data  # YAML counts lines there, and no editor does
    body = data.removeprefix(_BOM)
    lines = body.splitlines(keepends=True)
    ending = b"\r\n" if b"\r\n" in body else b"\n"
    for entry in reversed([entry for entry in root.entries if _unknown(entry)]):
        first, last = entry.key.start.line - 1, entry.end.line - 1
        if last > first and entry.end.column == 1:
            last -= 1  # a block of text ends at the beginning of the line below it
        note = b"# rfsched has no key `%s`:" % (entry.name or "").encode() + ending
        lines[first : last + 1] = [note, *(b"# " + line for line in lines[first : last + 1])]
        notes.insert(0, f"line {first + 1}: `{entry.name}` means nothing here and became a comment{_guess(entry)}")
    return (_BOM if data.startswith(_BOM) else b"") + b"".join(lines)


def _unknown(entry: Entry) -> bool:
    return entry.name is not None and not entry.merged and entry.name not in Settings.__struct_fields__


def _guess(entry: Entry) -> str:
    import difflib

    close = difflib.get_close_matches(entry.name or "", Settings.__struct_fields__, n=1, cutoff=0.75)
    return f"; did you mean `{close[0]}`?" if close else ""
