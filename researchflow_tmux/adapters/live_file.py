"""The file `.rfsched/live.json`: what the running scheduler last saw of the GPUs and of itself.

It is a view, not state: written without waiting for the disk, removed at a clean end, and only believed while the
workspace lock is held.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.limits import NO_RULES, RamReading, RoomRules
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, GpuDevice, GpuReading, Ticket
from researchflow_tmux.engine.capacity import NOTHING_SEEN, Seen
from researchflow_tmux.policies.grace import Touched
from researchflow_tmux.policies.load import GpuLoad

SCHEMA = "rfsched.live/1"


class LiveGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU that the workspace may use."""

    device: GpuDevice
    slots: int | None
    """Jobs of this workspace that fit on it; None = any number."""
    reading: GpuReading | None = None
    """None = not read (yet, or there is nothing to read)."""
    blocked: Reason | None = None
    """Why nothing is started on it now."""
    tickets: tuple[Ticket, ...] = ()
    """Leases that other workspaces hold on it."""
    load: GpuLoad | None = None
    """What the reading means; None = nothing reads it."""
    touched: Touched | None = None
    """The last start or end of a job of ours on it."""


class LiveSources(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of the job sources brought since the scheduler started."""

    looks: int = 0
    """Looks that were asked for and are carried out."""
    queued: int = 0
    done_before: int = 0
    withdrawn: int = 0
    again: int = 0
    problems: tuple[str, ...] = ()
    """Why something in the files is not queued: all there are now."""
    unwritten: tuple[str, ...] = ()
    """Why the state of jobs does not stand in their files: all there are now."""
    warnings: tuple[str, ...] = ()


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheduler tells about itself."""

    schema: str = SCHEMA
    pid: int
    session: str
    started_at: datetime
    at: datetime
    """The heartbeat: when this was true."""
    gpus: tuple[LiveGpu, ...] = ()
    share: float
    """Part of a GPU that one job takes; 0 = unlimited."""
    cpu_places: int
    rules: RoomRules = NO_RULES
    """What else there is to room."""
    ram: RamReading | None = None
    """The machine's memory; None = unknown."""
    note: str = ""
    """Where the list of GPUs comes from."""
    halt: Reason | None = None
    """Why nothing at all is started now."""
    warnings: tuple[str, ...] = ()
    error: str | None = None
    """The last thing that went wrong and still stands."""
    sources: LiveSources = LiveSources()
    policy_trouble: str | None = None
    """Why another policy decides than the settings say; None = it does not."""


def snapshot(
    *,
    now: datetime,
    started_at: datetime,
    session: str,
    devices: Sequence[GpuDevice],
    readings: Sequence[GpuReading],
    blocked: Mapping[str, Reason],
    tickets: Sequence[Ticket],
    share: float,
    cpu_places: int,
    rules: RoomRules = NO_RULES,
    seen: Seen = NOTHING_SEEN,
    touched: Mapping[str, Touched] | None = None,
    note: str = "",
    halt: Reason | None = None,
    warnings: Sequence[str] = (),
    error: str | None = None,
    sources: LiveSources | None = None,
    policy_trouble: str | None = None,
) -> Live:
    """Put together what this process knows; `blocked` is by UUID."""
    by_uuid = {reading.uuid: reading for reading in readings}
    slots = None if share <= 0 else math.floor(1 / share + SHARE_TOLERANCE)
    gpus = tuple(
        LiveGpu(
            device=device,
            slots=slots,
            reading=by_uuid.get(device.uuid),
            blocked=blocked.get(device.uuid),
            tickets=tuple(ticket for ticket in tickets if ticket.uuid == device.uuid),
            load=seen.loads.get(device.uuid),
            touched=(touched or {}).get(device.uuid),
        )
        for device in devices
    )
    return Live(
        pid=os.getpid(),
        session=session,
        started_at=started_at,
        at=now,
        gpus=gpus,
        share=share,
        cpu_places=cpu_places,
        rules=rules,
        ram=seen.ram,
        note=note,
        halt=halt,
        warnings=tuple(warnings),
        error=error,
        sources=sources or LiveSources(),
        policy_trouble=policy_trouble,
    )


_published: dict[str, Live] = {}
"""What this process last wrote, by path: a tick in which nothing changed writes nothing."""


def publish(path: str, live: Live, *, every_s: float = 10.0) -> bool:
    """Write the file if anything but the time changed, or if it is `every_s` seconds old; True = written.

    Raises StoreError when it cannot be written: then it is merely old.
    """
    last = _published.get(path)
    young = last is not None and abs(live.at - last.at) < timedelta(seconds=every_s)
    if last is not None and young and msgspec.structs.replace(live, at=last.at) == last:
        return False
    try:
        write_atomic(path, msgspec.json.encode(live), durable=False)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", hint="status will show an older view of the GPUs") from error
    _published[path] = live
    return True


def read(path: str) -> Live | None:
    """What the last scheduler wrote; None = nothing, or nothing this version understands."""
    try:
        with open(path, "rb") as file:
            live = msgspec.json.decode(file.read(), type=Live)
    except (OSError, msgspec.MsgspecError):
        return None
    return live if live.schema == SCHEMA else None


def remove(path: str) -> None:
    """The scheduler ends: nothing is live any more."""
    _published.pop(path, None)
    with contextlib.suppress(OSError):
        os.unlink(path)
