"""Reads the `hooks:` of a workspace: for each event a command, a URL, or a list of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from researchflow_tmux.adapters.config_fields import Check, Reader, show
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar, Sequence
from researchflow_tmux.domain.hooks import HOOK_EVENTS, Hook
from researchflow_tmux.domain.units import DURATION_WORDS, parse_duration

_URL = re.compile(r"https?://", re.IGNORECASE)
_EXAMPLE = 'such as `failure: notify-send "$RFSCHED_HOOK_TEXT"`, a URL, or a list of both'
MAX_RETRIES = 20


class _Written(msgspec.Struct, frozen=True, kw_only=True):
    """A hook in its long form, as it is written."""

    command: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    timeout: str | float = 30.0
    retries: int = 5


def _check_timeout(value: str | float) -> str | None:
    try:
        return None if 0 < parse_duration(value) <= 3600 else "expected a time between 0 and an hour"
    except ValueError:
        return f"expected {DURATION_WORDS}, got {show(value)}"


def _check_retries(value: int) -> str | None:
    return None if 0 <= value <= MAX_RETRIES else f"expected 0 to {MAX_RETRIES}"


_CHECKS: dict[str, Check] = {"timeout": _check_timeout, "retries": _check_retries}


def read_hooks(reader: Reader, entry: Entry, key: str) -> dict[str, tuple[Hook, ...]]:
    """The hooks by event; problems go to the reader."""
    node = entry.value
    if isinstance(node, Scalar) and node.is_null:
        return {}
    if not isinstance(node, Mapping):
        reader.fail(entry, f"{key}: expected lines of `EVENT: command or URL`", _EXAMPLE)
        return {}
    found: dict[str, tuple[Hook, ...]] = {}
    for each in node.entries:
        name = each.name
        if name not in HOOK_EVENTS:
            reader.fail(each.key, f"{key}: there is no event {name!r}", f"there is {', '.join(HOOK_EVENTS)}")
        elif name in found:
            reader.fail(each.key, f"{key}.{name} is there twice", "make it one list")
        else:
            found[name] = tuple(_hooks(reader, each.value, f"{key}.{name}"))
    return {name: hooks for name, hooks in found.items() if hooks}


def _hooks(reader: Reader, node: Node, key: str) -> Iterator[Hook]:
    items = node.items if isinstance(node, Sequence) else [node]
    for item in items:
        if isinstance(item, Scalar) and item.is_null:
            continue
        if isinstance(item, Scalar):
            hook = Hook(url=item.text) if _URL.match(item.text) else Hook(command=item.text)
            yield from _good(reader, item, hook, key)
        elif isinstance(item, Mapping):
            yield from _long(reader, item, key)
        else:
            reader.fail(item, f"{key}: expected a command, a URL, or a mapping with one of them", _EXAMPLE)


def _long(reader: Reader, node: Mapping, key: str) -> Iterator[Hook]:
    known = len(reader.problems)
    values: dict[str, Any] = {
        name: value for name, (value, _) in reader.fields(node, _Written, _CHECKS, f"{key}.").items()
    }
    if len(reader.problems) > known:
        return
    written = _Written(**values)
    if (written.command is None) == (written.url is None):
        reader.fail(node, f"{key}: give either `command` or `url`")
        return
    if written.headers and written.url is None:
        reader.fail(node, f"{key}: `headers` belong to a `url`")
        return
    hook = Hook(
        command=written.command,
        url=written.url,
        headers=written.headers,
        timeout_s=parse_duration(written.timeout),
        retries=written.retries,
    )
    yield from _good(reader, node, hook, key)


def _good(reader: Reader, node: Node, hook: Hook, key: str) -> Iterator[Hook]:
    problem = _problem(hook)
    if problem is None:
        yield hook
    else:
        reader.fail(node, f"{key}: {problem}")


def _problem(hook: Hook) -> str | None:
    if hook.command is not None:
        return None if hook.command.strip() else "expected a command, got nothing"
    url = hook.url or ""
    if url.startswith("${"):
        return None  # the whole of it is in a variable
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is no URL that can be read"
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc:
        return "expected a URL that begins with http:// or https://"
    return "a URL has no blanks" if any(char.isspace() for char in url) else None


def hooks_schema() -> dict[str, Any]:
    """JSON Schema of `hooks`, for editors."""
    text = {"type": "string"}
    long = {
        "type": "object",
        "properties": {
            "command": text,
            "url": text,
            "headers": {"type": "object", "additionalProperties": text},
            "timeout": {"type": ["string", "number"]},
            "retries": {"type": "integer", "minimum": 0, "maximum": MAX_RETRIES},
        },
        "additionalProperties": False,
    }
    one = {"anyOf": [text, long]}
    some = {"anyOf": [text, long, {"type": "array", "items": one}, {"type": "null"}]}
    return {
        "type": ["object", "null"],
        "properties": dict.fromkeys(HOOK_EVENTS, some),
        "additionalProperties": False,
        "default": {},
    }
