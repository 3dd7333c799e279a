"""What every command says alike: JSON for programs, times and counts in words for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from researchflow_tmux.domain.units import counted

count = counted

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
        from researchflow_tmux.adapters.clock import SystemClock

        data = {"schema": f"rfsched.{what}/1", "at": SystemClock().now(), **data}
    # Through the text layer: names that are no UTF-8 must not end the command.
    sys.stdout.write(msgspec.json.encode(data).decode() + "\n")
    sys.stdout.flush()


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


def moment(at: datetime | None, now: datetime) -> str:
    """Local time: `10:39:05` today, `Nov 21 10:39` before; empty for unknown."""
    if at is None:
        return ""
    local = at.astimezone()
    if local.date() == now.astimezone().date():
        return f"{local:%H:%M:%S}"
    return f"{local:%b %d %H:%M}" if local.year == now.astimezone().year else f"{local:%Y-%m-%d %H:%M}"


def names(found: Sequence[str], most: int = 8) -> str:
    """`a, b, c and 4 more`."""
    shown = ", ".join(found[:most])
    return f"{shown} and {len(found) - most} more" if len(found) > most else shown
