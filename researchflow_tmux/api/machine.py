"""`status --all`: the workspaces of this machine that one may see, and who has which GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.procs import user_name
from researchflow_tmux.adapters.register import DIRECTORY, FileRegister
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.register import Page, Seen
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.runner import tickets


class MachineWorkspace(msgspec.Struct, frozen=True, kw_only=True):
    """One workspace, as its scheduler last said. null = unknown, or none."""

    path: str
    task_name: str
    user: str
    """Whose scheduler it is."""
    mine: bool
    """It is one's own: `rfsched -w PATH …` works."""
    scheduler: bool
    """Its scheduler runs."""
    pid: int | None
    """Of the scheduler; null = none runs."""
    said_at: datetime
    """When its scheduler last said how it stands."""
    running: int
    waiting: int
    """Queued and held."""
    failed: int
    succeeded: int
    gpus: list[int]
    """Physical indices of the GPUs that its jobs are on."""
    simulated: bool
    """Its GPUs do not exist."""
    next_deadline: datetime | None


class GpuTaker(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's job on a GPU, by its lease."""

    holder: str
    """Task name and directory of the workspace."""
    user: str | None
    session: str | None
    """The tmux session of the job."""
    share: float
    """The part of the GPU."""
    memory_mib: int
    """Declared memory; 0 = none."""


class MachineGpu(msgspec.Struct, frozen=True, kw_only=True):
    """One real GPU that any workspace has used."""

    uuid: str
    index: int | None
    """null = no scheduler says which one it is."""
    takers: list[GpuTaker]


class MachineView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `rfsched status --all` shows."""

    register: str
    """The directory in which schedulers say how they stand."""
    workspaces: list[MachineWorkspace]
    gpus: list[MachineGpu]
    unreadable: list[str]
    """Pages and leases that cannot be read, and why."""


def machine_view(environ: Mapping[str, str] | None = None) -> MachineView:
    """Look at the register and the leases. Works outside a workspace, and whoever's they are."""
    environ = os.environ if environ is None else environ
    lease_dir = environ.get("RFSCHED_LEASE_DIR") or tickets.default_dir()
    clock = SystemClock()
    unreadable: list[str] = []
    try:
        seen = FileRegister(lease_dir, clock.boot_id).read(clock.now())
    except OSError as error:
        seen = []
        unreadable.append(f"{os.path.join(lease_dir, DIRECTORY)}: {(error.strerror or str(error)).lower()}")
    unreadable += [f"{each.name}: {each.problem}" for each in seen if each.problem is not None]
    pages = [each for each in seen if each.page is not None and not _is_gone(each.page)]
    found = [_workspace(each, each.page) for each in pages if each.page is not None]
    indices = {uuid: index for each in pages if each.page is not None for uuid, index in each.page.leased.items()}
    return MachineView(
        register=os.path.join(lease_dir, DIRECTORY),
        workspaces=sorted(found, key=lambda one: (not one.mine, one.user, one.path)),
        gpus=_gpus(lease_dir, indices, unreadable),
        unreadable=unreadable,
    )


def _is_gone(page: Page) -> bool:
    """Its directory was removed: whose own it is can tell; of others' one sees nothing."""
    return page.uid == os.geteuid() and not os.path.isdir(page.path)


def _workspace(seen: Seen, page: Page) -> MachineWorkspace:
    mine = page.uid == os.geteuid()
    counts = _counts_now(page) if mine and not seen.alive else dict(page.counts)
    return MachineWorkspace(
        path=page.path,
        task_name=page.task_name,
        user=page.user,
        mine=mine,
        scheduler=seen.alive,
        pid=page.pid if seen.alive else None,
        said_at=page.at,
        running=counts.get("running", 0),
        waiting=counts.get("queued", 0) + counts.get("held", 0),
        failed=counts.get("failed", 0),
        succeeded=counts.get("succeeded", 0),
        gpus=list(page.gpus) if seen.alive or counts.get("running") else [],
        simulated=page.simulated,
        next_deadline=page.next_deadline,
    )


def _counts_now(page: Page) -> dict[str, int]:
    """With no scheduler to say so, what the workspace's own state says."""
    try:
        with SqliteReader(WorkspacePaths(root=page.path, config="").database) as reader:
            return {str(state): number for state, number in reader.counts_by_state().items()}
    except (RfschedError, OSError):
        return dict(page.counts)


def _gpus(lease_dir: str, indices: Mapping[str, int], unreadable: list[str]) -> list[MachineGpu]:
    try:
        with os.scandir(lease_dir) as entries:
            uuids = [entry.name for entry in entries if entry.is_dir() and entry.name != DIRECTORY]
    except OSError:
        return []
    found = []
    for uuid in {*uuids, *indices}:
        try:
            takers = [_taker(raw) for raw in tickets.live(lease_dir, uuid)]
        except (OSError, ValueError) as error:
            unreadable.append(f"leases of {uuid}: {error}")
            continue
        found.append(MachineGpu(uuid=uuid, index=indices.get(uuid), takers=takers))
    return sorted(found, key=lambda gpu: (gpu.index is None, gpu.index or 0, gpu.uuid))


def _taker(raw: Mapping[str, Any]) -> GpuTaker:
    uid = raw.get("uid")
    return GpuTaker(
        holder=str(raw.get("holder") or "somebody"),
        user=user_name(uid) if isinstance(uid, int) and uid >= 0 else None,
        session=str(raw["session"]) if raw.get("session") else None,
        share=float(raw["share"]),
        memory_mib=int(raw["memory_mib"]),
    )
