"""Printing: tables for people, JSON for programs. The only module that knows how a list looks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """`--json`: the same facts for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(what: str, value: Any) -> None:
    """One object on one line, with its schema; null = unknown."""
    import msgspec

    data = msgspec.to_builtins(value)
    if isinstance(data, list):
        data = {what: data}
    if "schema" not in data:
        data = {"schema": f"rfsched.{what}/1", "at": datetime.now(UTC), **data}
    sys.stdout.write(msgspec.json.encode(data).decode() + "\n")


def duration(seconds: float | None) -> str:
    """`7 s`, `3:05 min`, `2:10 h`, `4 d 3 h`; empty for unknown."""
    if seconds is None:
        return ""
    whole = int(max(seconds, 0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
