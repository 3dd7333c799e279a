"""Words on pictures: times, lengths and counts."""

from __future__ import annotations

from datetime import datetime, tzinfo

from researchflow_tmux.domain.units import counted

__all__ = ["brief", "counted", "lasted", "moment", "stretch"]


def lasted(seconds: float) -> str:
    """`0.4 s`, `7 s`, `3:05 min`, `2:10 h`, `4 d 3 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02} h"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def brief(seconds: float) -> str:
    """As short as can be: `7 s`, `47 min`, `1.2 h`, `3.5 d`."""
    for unit, size, limit in (("s", 1.0, 99.5), ("min", 60.0, 99.5), ("h", 3600.0, 47.95)):
        if seconds / size < limit:
            digits = 1 if unit != "min" and seconds / size < 9.95 else 0
            return f"{max(seconds, 0.0) / size:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def moment(at: datetime, zone: tzinfo | None, *, seconds: bool = False) -> str:
    """`2026-11-24 10:39` on the clock of the zone; None = of this machine."""
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")


def stretch(since: datetime, until: datetime, zone: tzinfo | None) -> str:
    """`2026-11-24 10:39 to 12:10`: the date of the end only if it is another one."""
    seconds = (until - since).total_seconds() < 600
    end = moment(until, zone, seconds=seconds)
    first = moment(since, zone, seconds=seconds)
    return f"{first} to {end[11:] if first[:10] == end[:10] else end}"
