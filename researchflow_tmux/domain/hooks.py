"""Hooks: what a user wants to be told, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

HookEvent = Literal["start", "success", "failure", "oom", "queue_empty", "gpu_idle"]
"""What a hook can be for. `failure` = a job failed for good; `oom` = an attempt ran out of memory, also if the job is
tried again."""
HOOK_EVENTS: tuple[HookEvent, ...] = get_args(HookEvent)


class Hook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way of telling: exactly one of `command` and `url` is given."""

    command: str | None = None
    """A POSIX shell line."""
    url: str | None = None
    """Gets a POST with JSON. `${NAME}` in it and in `headers` is a variable of the scheduler's environment."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    timeout_s: float = 30.0
    """For one try."""
    retries: int = 5
    """Further tries after a failure, with growing pauses."""


Hooks = Mapping[str, tuple[Hook, ...]]
"""By HookEvent."""
