"""Moments to come, as exactly as they can be known."""

from __future__ import annotations

from datetime import datetime


def when(at: datetime | None, now: datetime) -> str:
    """Local time, to the minute: `14:32` within a day, else `Thu 14:32`, else `Nov 27`; seconds if it is soon."""
    if at is None:
        return ""
    local = at.astimezone()
    ahead_s = (at - now).total_seconds()
    if ahead_s < 600:
        return f"{local:%H:%M:%S}"
    if local.date() == now.astimezone().date():
        return f"{local:%H:%M}"
    return f"{local:%a %H:%M}" if ahead_s < 6 * 86_400 else f"{local:%b %d}"


def between(low: datetime | None, high: datetime | None, now: datetime) -> str:
    """`(14:20–15:05)`; empty = unknown."""
    if low is None or high is None:
        return ""
    first, last = when(low, now), when(high, now)
    return f"({first}–{last})" if first != last else ""


def ends(at: datetime | None, low: datetime | None, high: datetime | None, now: datetime) -> str:
    """`≈ 14:32 (14:20–15:05)`; empty = unknown."""
    return "" if at is None else f"≈ {when(at, now)} {between(low, high, now)}".rstrip()
