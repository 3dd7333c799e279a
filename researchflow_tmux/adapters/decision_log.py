"""The decisions of a workspace's scheduler, a JSON line each, in two files that together keep within a size."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from researchflow_tmux.adapters.log_files import SizedLog
from researchflow_tmux.domain.decisions import SCHEMA, Decision
from researchflow_tmux.domain.units import parse_size

USUAL_MIB = 8.0
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Decision).decode


def most_bytes(setting: str) -> int | None:
    """How much of them is kept; None = nothing."""
    if setting == "off":
        return None
    mib = USUAL_MIB if setting == "on" else parse_size(setting)
    return round(mib * 1024 * 1024)


class DecisionLog:
    """Adds lines. A file that cannot be written costs lines, and stops nobody."""

    def __init__(self, path: str, most: int) -> None:
        """Open `path`; it and the file before it take `most` bytes at most. Raises OSError."""
        self._file = SizedLog(path, most_bytes=max(most // 2, 1), backups=1)

    def write(self, decisions: Sequence[Decision]) -> None:
        """Add them."""
        for decision in decisions:  # one by one: a file is changed between two of them
            self._file.write([_encode(decision).decode()], decision.at.date())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: str) -> Iterator[Decision]:
    """All that are kept, oldest first. Lines that are cut off or of another version are left out."""
    for each in (f"{path}.1", path):
        try:
            with open(each, "rb") as file:
                for line in file:
                    decision = _understood(line)
                    if decision is not None:
                        yield decision
        except OSError:
            continue


def about(decisions: Iterable[Decision], job_id: int, most: int) -> tuple[list[Decision], int]:
    """The last ones that looked at the job, and how many later ones did not get as far as to it."""
    found: deque[Decision] = deque(maxlen=most)
    since = 0
    for decision in decisions:
        if any(one.id == job_id for one in decision.considered):
            found.append(decision)
            since = 0
        else:
            since += 1
    return list(found), since


def _understood(line: bytes) -> Decision | None:
    try:
        decision = _decode(line)
    except msgspec.MsgspecError:
        return None
    return decision if decision.schema == SCHEMA else None


def size(path: str) -> int:
    """Bytes that they take."""
    return sum(os.path.getsize(each) for each in (path, f"{path}.1") if os.path.exists(each))
