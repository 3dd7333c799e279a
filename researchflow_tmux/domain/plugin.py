"""What a policy plug-in is told and what it answers: plain data, so that it may live in another process.

The fields of `PluginJob`, `PluginGpu`, `PluginRun`, `PluginFacts` and `PluginEvent` are what a plug-in's author sees,
under the same names. Times (`…_s` that are moments) are seconds since 1970, spans are seconds; None = not known.
"""

from __future__ import annotations

import re

import msgspec

DEFAULT_POLICY = "balanced"
"""Decides whenever a plug-in cannot."""
HOOKS = ("order", "admit", "on_event")
_NAME = re.compile(r"(?:[A-Za-z_][\w.]*|[^\s:]+\.py):[A-Za-z_]\w*")


def is_plugin(policy: str) -> bool:
    """Whether a `policy` names an object of the user's."""
    return _NAME.fullmatch(policy) is not None


class PluginJob(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A job that waits and could start."""

    id: int
    name: str
    project: str
    """Empty = of no project."""
    user: str
    group: str
    labels: dict[str, str]
    array: str
    """Name of its array; empty = none."""
    source: str
    priority: int
    gpus: int
    share: float
    """Of each of them."""
    gpu_memory_mib: int | None
    cpus: int | None
    memory_mib: int | None
    expected_s: float
    """How long it should take: the median of its like."""
    p80_s: float
    """Four of five take no longer."""
    time_limit_s: float | None
    deadline_s: float | None
    """Moment at which it should have ended; what waits for it may leave it an earlier one."""
    queued_s: float
    """Moment since which it is queued."""
    ready_s: float
    """Moment since which all that it comes after has ended."""
    attempts: int
    failed_before: bool
    """It waits for another try after a failure."""


class PluginGpu(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One GPU that the workspace may use."""

    index: int
    name: str
    free: float
    """Part of it that is not taken; 0 while nothing may start there."""
    total_mib: float | None
    in_use_mib: float | None


class PluginRun(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A job that runs, or is just being started."""

    id: int
    name: str
    project: str
    user: str
    priority: int
    gpus: int
    started_s: float
    ends_s: float
    """When it should have ended, by what is known."""


class PluginFacts(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The machine at the moment of a decision."""

    now_s: float
    gpus: list[PluginGpu]
    running: list[PluginRun]
    waiting: int
    """Jobs in the queue."""
    used: dict[str, float]
    """GPU-hours by project, the less the longer ago."""
    weights: dict[str, float]
    """Of the projects in the settings; any other weighs 1."""


class PluginEvent(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Something happened."""

    kind: str
    """`queued`, `changed`, `started`, `ended`, or the job's new state: `succeeded`, `failed`, `cancelled`, …"""
    at_s: float
    job: int
    name: str
    project: str
    user: str
    gpus: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a plug-in must know before the next decision."""

    facts: PluginFacts
    jobs: list[PluginJob] = []
    """New ones, and those of which something changed."""
    gone: list[int] = []
    """They wait no longer."""
    events: list[PluginEvent] = []
    """Since the last question."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What it said; only what is different from the last time."""

    keys: dict[int, tuple[float, ...]] = {}
    """The smallest first; by job."""
    refused: dict[int, str | None] = {}
    """Why a job may not start; None = it may now."""


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What a plug-in has: the number of arguments of each hook, 0 = it has none of that name."""

    order: int = 0
    admit: int = 0
    on_event: int = 0

    @property
    def by_facts(self) -> bool:
        """Whether what it says of a job may change with the facts: then it is asked anew before each start."""
        return self.order > 1 or self.admit > 1
