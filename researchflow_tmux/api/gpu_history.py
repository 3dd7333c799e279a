"""How the GPUs were used over time: what the scheduler sampled, as it is still kept."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sample_store import GpuSeries, series
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import StoreError, UsageError


class GpuHistory(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """Everything `rfsched gpus --since` prints."""

    schema_name: str = "rfsched.gpu-history/1"
    since: datetime
    until: datetime
    workspace: str
    span_s: int
    """Seconds that one entry stands for: 0 = each is one reading (the last hour), 60 (a week), 600 (a year)."""
    gpus: list[GpuSeries]
    """GPUs of which there is anything; while no job runs or waits, nothing is sampled."""


def history(workspace: Workspace, since: datetime) -> GpuHistory:
    """What was sampled from then on, at the finest that is kept for so long.

    Raises UsageError when `since` lies ahead, StoreError when the file cannot be read.
    """
    now = SystemClock().now()
    if since >= now:
        raise UsageError(f"{since.astimezone():%Y-%m-%d %H:%M} lies ahead", hint="give a time ago such as `2h`")
    try:
        span_s, gpus = series(workspace.paths.samples, since, now)
    except sqlite3.Error as error:
        path = workspace.paths.samples
        raise StoreError(f"{path} cannot be read: {error}", hint="it may be deleted: it only holds samples") from error
    return GpuHistory(since=since, until=now, workspace=workspace.paths.root, span_s=span_s, gpus=gpus)


def busy_pct(gpu: GpuSeries) -> float | None:
    """Its mean utilisation over all that was sampled; None = nothing is known."""
    known = [value for value in gpu.util_pct if value is not None]
    return sum(known) / len(known) if known else None


def columns(gpu: GpuSeries, since: datetime, until: datetime, count: int) -> list[float | None]:
    """Its utilisation in `count` equal parts of the time; None = nothing was sampled in a part."""
    length_s = max((until - since).total_seconds(), 1.0) / count
    parts: list[list[float]] = [[] for _ in range(count)]
    for at, value in zip(gpu.at, gpu.util_pct, strict=True):
        place = int((at - since).total_seconds() / length_s)
        if value is not None and 0 <= place < count:
            parts[place].append(value)
    return [sum(part) / len(part) if part else None for part in parts]
