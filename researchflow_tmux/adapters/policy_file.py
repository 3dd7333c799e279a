"""The file `.rfsched/policy.json`: what the policy plug-in of the running scheduler last said of the jobs that wait.

A view like live.json, for `status` and `why`: written without waiting for the disk, and only believed while a scheduler
with that policy runs.
"""

from __future__ import annotations

import msgspec

from researchflow_tmux.adapters.files import write_atomic

SCHEMA = "rfsched.policy/1"


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """What it said, by job id."""

    schema: str = SCHEMA
    name: str
    """As the settings have it."""
    orders: bool
    """Whether it gives the keys."""
    spoken: list[int] = []
    """The jobs that it spoke about so far."""
    keys: dict[int, tuple[float, ...]] = {}
    refused: dict[int, str] = {}


def write(path: str, state: PolicyState) -> None:
    """Replace the file. Raises OSError."""
    write_atomic(path, msgspec.json.encode(state), durable=False)


def read(path: str) -> PolicyState | None:
    """What was last written; None = nothing, or nothing this version understands."""
    try:
        with open(path, "rb") as file:
            state = msgspec.json.decode(file.read(), type=PolicyState)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if state.schema == SCHEMA else None
