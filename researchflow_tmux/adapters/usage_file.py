"""The file `.rfsched/usage.json`: what the sampler last measured of GPUs and jobs.

A view like live.json, written every few seconds without waiting for the disk; but it stays when the scheduler ends, so
that the next one, or whoever records an end without one, knows the peaks so far.
"""

from __future__ import annotations

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.domain.usage import SCHEMA, Watched


def write(path: str, watched: Watched) -> None:
    """Replace the file. Raises OSError."""
    write_atomic(path, msgspec.json.encode(watched), durable=False)


def read(path: str) -> Watched | None:
    """What was last written; None = nothing, or nothing this version understands."""
    try:
        with open(path, "rb") as file:
            watched = msgspec.json.decode(file.read(), type=Watched)
    except (OSError, msgspec.MsgspecError):
        return None
    return watched if watched.schema == SCHEMA else None
