"""Changes one value of scheduler_config.yml and not one byte besides."""

from __future__ import annotations

import os
import re
import stat

import msgspec
from msgspec import inspect

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_file import parse_settings, read_bytes
from researchflow_tmux.adapters.config_words import members, type_of
from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar, resolve
from researchflow_tmux.adapters.yaml_tree import Document
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.workspace import Settings

_BOM = b"\xef\xbb\xbf"
_SAFE = re.compile(r"[A-Za-z0-9_./~^+-]([A-Za-z0-9_./~^+@=,; -]*[A-Za-z0-9_./~^+@=,;-])?")
_NOT_PLAIN = ("---", "...", "- ")


def set_value(path: str, key: str, value_text: str) -> tuple[str, str]:
    """Set `key` to `value_text` in the file at `path`; return (old, new) as they stand in the file.

    The old text is empty when the key was not there. The file is replaced atomically and keeps its mode.

    Raises:
        ConfigError: The key is unknown, the value is not valid, or the place cannot be edited safely. The file is
            then as it was.
    """
    data = read_bytes(path)
    changed, old, new = edit(data, path, key, value_text)
    if changed != data:
        real = os.path.realpath(path)
        try:
            write_atomic(real, changed, stat.S_IMODE(os.stat(real).st_mode))
        except OSError as error:
            raise ConfigError([Problem(message=f"cannot be written: {error.strerror}", file=path)]) from error
    return old, new


def edit(data: bytes, path: str, key: str, value_text: str) -> tuple[bytes, str, str]:
    """(the changed file, old text, new text); see `set_value`."""
    _known(path, key)
    document = yaml_tree.parse(yaml_tree.decode(data, path), path)
    text, root = document.text, document.root
    new = _spelling(key, value_text)
    if root is not None and (not isinstance(root, Mapping) or root.flow):
        raise _refused(document, root, "the file is not made of lines of `key: value`: edit it by hand")
    entry = _own_entry(root, key) if root is not None else None
    if entry is None:
        old, result = "", _append(text, root, f"{key}: {new}")
    else:
        start, end = span_of(document, entry)
        old = text[start:end]
        space = " " if start and text[start - 1] == ":" else ""
        result = text[:start] + space + new + text[end:]
    changed = (_BOM if data.startswith(_BOM) else b"") + result.encode()
    _check(data, changed, path, key)
    return changed, old, new


def _known(path: str, key: str) -> None:
    import difflib

    keys = Settings.__struct_fields__
    if key not in keys:
        close = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean `{close[0]}`?" if close else "`rfsched config` lists the keys"
        raise ConfigError([Problem(message=f"there is no key `{key}`", file=path, hint=hint)])


# How the value is spelt -----------------------------------------------------------------------------------------------


def _spelling(key: str, value: str) -> str:
    """The value as YAML: quoted where it is a text that YAML would take for something else."""
    field = next(field for field in msgspec.structs.fields(Settings) if field.name == key)
    kinds = members(type_of(field.type))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _bad_value(f"{key}: the value is not UTF-8") from None
    if all(isinstance(kind, inspect.StrType | inspect.LiteralType) for kind in kinds):
        plain = _SAFE.fullmatch(value) and not value.startswith(_NOT_PLAIN) and isinstance(resolve(value), str)
        return value if plain else quoted(value)
    if not value and any(isinstance(kind, inspect.StrType) for kind in kinds):
        return '""' if not any(isinstance(kind, inspect.NoneType) for kind in kinds) else "null"
    if any(ord(char) < 32 or char in "\x85\u2028\u2029" for char in value):
        raise _bad_value(f"{key}: the value must be one line, such as [a, b] for a list")
    value = value.strip()
    root = yaml_tree.parse(value, f"the value of {key}").root
    if root is None or root.end.offset != len(value):
        raise _bad_value(f"{key}: the value must be given without a comment")
    return value


def _bad_value(message: str) -> ConfigError:
    return ConfigError([Problem(message=message)])


def quoted(value: str) -> str:
    """The text in double quotes, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", _escape, escaped) + '"'


def _escape(match: re.Match[str]) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0], f"\\u{ord(match[0]):04x}")


# Where it goes --------------------------------------------------------------------------------------------------------


def _own_entry(root: Node, key: str) -> Entry | None:
    assert isinstance(root, Mapping)
    return next((entry for entry in root.entries if entry.name == key and not entry.merged), None)


def span_of(document: Document, entry: Entry) -> tuple[int, int]:
    """From where to where the value's text stands. Raises ConfigError where it cannot be replaced safely."""
    node, text = entry.value, document.text
    if not entry.alias and node.anchor:
        raise _refused(document, entry, f"the value carries the anchor &{node.anchor}: edit it by hand")
    start, end = entry.start.offset, entry.end.offset
    if isinstance(node, Scalar) and node.style in ("|", ">") and not entry.alias:
        end = start + len(_block(text[start:end]))
    elif isinstance(node, Scalar):
        end = max(end, start)
    inner = text[start:end]
    if "\n" in inner and re.search(r"(^|\s)#", inner):
        raise _refused(document, entry, "there may be a comment inside the value: edit it by hand")
    gap = text[entry.key.end.offset : start]
    if "\n" in gap:
        if gap.strip() != ":" or "\n" in gap[: gap.index(":")]:
            raise _refused(document, entry, "there is more than the value below its key: edit it by hand")
        start = entry.key.end.offset + gap.index(":") + 1
    return start, end


def _block(text: str) -> str:
    """A block of text without the blank lines and comments that follow it."""
    lines = re.split(r"(?<=\n)", text)
    while len(lines) > 1 and (not lines[-1].strip() or not lines[-1][0].isspace()):
        lines.pop()
    return "".join(lines).rstrip("\r\n")


def _append(text: str, root: Node | None, line: str) -> str:
    indent = " " * (root.start.column - 1) if root is not None else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    if text and not text.endswith(("\n", "\r")):
        # A file without a final newline stays one.
        last = root.entries[-1] if isinstance(root, Mapping) and root.entries else None
        if last and isinstance(last.value, Scalar) and last.value.style in ("|", ">"):
            # A newline behind a block of text would become part of it: the new line goes above its key.
            place = last.key.start.offset - len(indent)
            return text[:place] + indent + line + newline + text[place:]
        return text + newline + indent + line
    return text + indent + line + newline


# Whether it may -------------------------------------------------------------------------------------------------------


def _check(before: bytes, after: bytes, path: str, key: str) -> None:
    """The change must be the one that is meant: no new problem, and no other value moved."""
    known = {problem.message for problem in _problems(before, path)}
    new = [problem for problem in _problems(after, path) if problem.message not in known]
    if new:
        raise ConfigError(new)
    if _others(before, path, key) != _others(after, path, key):
        message = f"setting {key} would change other values too: edit the file by hand"
        raise ConfigError([Problem(message=message, file=path)])


def _problems(data: bytes, path: str) -> tuple[Problem, ...]:
    try:
        parse_settings(data, path)
    except ConfigError as error:
        return error.problems
    return ()


def _others(data: bytes, path: str, key: str) -> list[tuple[str | None, str]]:
    root = yaml_tree.parse(yaml_tree.decode(data, path), path).root
    entries = root.entries if isinstance(root, Mapping) else []
    return [(entry.name, repr(entry.value.value())) for entry in entries if entry.name != key]


def _refused(document: Document, where: Node | Entry, message: str) -> ConfigError:
    return ConfigError([document.problem(where.start, message)])
