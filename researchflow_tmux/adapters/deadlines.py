"""Deadlines, as people write them."""

from __future__ import annotations

from datetime import datetime

from researchflow_tmux.adapters.config_fields import show

DEADLINE_WORDS = "a date or a moment such as `2026-12-01` or `2026-12-01 18:00`"


def parse_deadline(text: str) -> datetime:
    """A moment; without a time zone it is local, a date alone is its end. Raises ValueError saying what is expected."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"expected {DEADLINE_WORDS}, got {show(text)}") from None
    if len(text.strip()) <= len("2026-12-01"):
        found = found.replace(hour=23, minute=59, second=59)
    return found if found.tzinfo is not None else found.astimezone()


def check_deadline(value: str | None) -> str | None:
    """Something that can be a deadline."""
    try:
        parse_deadline(value or "2026-12-01")
    except ValueError as error:
        return str(error)
    return None
