"""How far a job is: the file it reports in, else what it prints, read little by little."""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

import msgspec

from researchflow_tmux.policies.prediction.log_lines import Printed
from researchflow_tmux.policies.prediction.progress import Track

MOST_BYTES = 1 << 14
"""What is read of a log in one look: of what was written since, the end."""
LAST_LINES = 40
"""Of what was written since the last look, so many lines are enough, and those before that begin an epoch."""
LARGEST_REPORT = 4096
_LINES = re.compile(rb"[\r\n]+")


class Followed(msgspec.Struct, kw_only=True):
    """How far one attempt is, and where reading goes on. Kept from one scheduler to the next."""

    track: Track
    printed: Printed
    offset: int = 0
    """In the log."""
    report_ns: int = 0
    """When the report that was read last was written."""


def begun() -> Followed:
    """An attempt of which nothing was read so far."""
    return Followed(track=Track(source="log"), printed=Printed())


def look(followed: Followed, report: str, log: str | None) -> bool:
    """Read what is new: the file `report`, else `log`; whether there was anything. Never raises."""
    if _report(followed, report):
        return True
    return followed.track.source == "log" and log is not None and _log(followed, log)


def _report(followed: Followed, path: str) -> bool:
    """What it reports takes the place of what it prints from the first report on."""
    try:
        written_ns = os.stat(path).st_mtime_ns
        if written_ns == followed.report_ns:
            return False
        with open(path, "rb") as file:
            fraction = fraction_of(file.read(LARGEST_REPORT))
    except OSError:
        return False
    followed.report_ns = written_ns
    if fraction is None:
        return False
    if followed.track.source == "log":
        followed.track = Track(source="progress")
    return followed.track.see(fraction, written_ns / 1e9)


def fraction_of(report: bytes) -> float | None:
    """`{"fraction": 0.4}`, `{"done": 4, "total": 10}` or `0.4`; None = neither."""
    try:
        said = json.loads(report)
    except (ValueError, RecursionError):
        return None
    if isinstance(said, dict):
        whole = _number(said.get("total"))
        done = _number(said.get("done"))
        said = said.get("fraction")
        if said is None and done is not None and whole:
            said = done / whole
    fraction = _number(said)
    return fraction if fraction is not None and 0.0 <= fraction <= 1.0 else None


def _number(said: Any) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    try:
        number = float(said)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _log(followed: Followed, path: str) -> bool:
    try:
        with open(path, "rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_size < followed.offset:  # another file under the same name
                followed.offset = 0
            if facts.st_size == followed.offset:
                return False
            begin = max(followed.offset, facts.st_size - MOST_BYTES)
            file.seek(begin)
            data = file.read(MOST_BYTES)
    except OSError:
        return False
    # The last line may go on: it is read again, unless it is one that never ends.
    ends = [found.end() for found in _LINES.finditer(data)]
    upto = ends[-1] if ends else (len(data) if len(data) == MOST_BYTES else 0)
    followed.offset = begin + upto
    lines = [line for line in _LINES.split(data[:upto]) if b"/" in line or b"%" in line or b" of " in line]
    for number, line in enumerate(lines, LAST_LINES - len(lines)):
        if number >= 0 or b"poch" in line:
            followed.printed.line(line.decode(errors="replace"))
    fraction = followed.printed.fraction
    return fraction is not None and followed.track.see(fraction, facts.st_mtime_ns / 1e9)
