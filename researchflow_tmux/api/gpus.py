"""GPUs as people look at them and steer them: what is on each, whose it is, and what was decided about it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.adapters import available_gpus, live_file, procs, usage_file
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.api import asking
from researchflow_tmux.api.usage import state_of, usages_of
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Running, Stopping
from researchflow_tmux.domain.errors import ConfigError, UsageError
from researchflow_tmux.domain.gpus import META_CONDITIONS, Conditions, decode_conditions
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import GpuDevice, GpuReading
from researchflow_tmux.domain.usage import GpuUse, Watched
from researchflow_tmux.engine.steering import Steered

EVERY = "all"
STALE = timedelta(seconds=60)
"""A mean over the last minute that is older than this is none."""


class JobOnGpu(msgspec.Struct, kw_only=True):
    """A job of this workspace on a GPU. null = unknown."""

    id: int
    name: str
    attempt: int
    used_mib: int | None
    """MiB that its processes hold on this GPU."""
    util_pct: float | None
    """What its processes keep busy of it."""


class OtherProcess(msgspec.Struct, kw_only=True):
    """A process on a GPU that is no job of this workspace. null = hidden from us."""

    pid: int
    user: str | None
    command: str | None
    used_mib: int | None


class GpuDetail(msgspec.Struct, kw_only=True):
    """One GPU that the workspace may use. null = unknown."""

    index: int
    uuid: str
    name: str
    kind: str
    state: str
    """`ok`, `blocked` (nothing starts there now), `draining` (drained, with jobs on it), `drained`, or `lost`."""
    reason: str | None
    """Why nothing starts there."""
    reason_code: str | None
    slots: int | None
    """Jobs at a time; null = unlimited."""
    used_mib: int | None
    total_mib: int | None
    util_pct: int | None
    util_mean_pct: float | None
    """Over the last minute."""
    temperature_c: int | None
    power_w: float | None
    read_at: datetime | None
    """When these figures were read."""
    error: str | None
    """Why it could not be read."""
    jobs: list[JobOnGpu]
    leases: list[str]
    """Other workspaces that hold a part of it."""
    others: list[OtherProcess] | None
    """Processes that are no jobs of this workspace; null = the driver does not say."""
    compute_capability: str | None = None
    """CUDA's, such as `8.0`."""
    links: dict[int, str] | None = None
    """How it is connected to other GPUs, by their index: `NV4` (NVLinks), `PIX`, `PXB`, `PHB`, `NODE`, `SYS`."""


class GpusView(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """Everything `rfsched gpus` shows."""

    schema_name: str = "rfsched.gpus/1"
    at: datetime
    workspace: str
    task_name: str
    scheduler: bool
    """Whether a scheduler runs."""
    note: str | None
    """Where the list of GPUs comes from."""
    gpus: list[GpuDetail]
    problems: list[str]
    """Why the GPUs cannot be read; what makes no sense in `available_gpus_file`, which then changes nothing."""


class _Seen(msgspec.Struct, kw_only=True):
    """What is known of one GPU, put together from where it is known best."""

    device: GpuDevice
    slots: int | None = None
    reading: GpuReading | None = None
    read_at: datetime | None = None
    blocked: Reason | None = None
    leases: tuple[str, ...] = ()
    util_mean_pct: float | None = None
    uses: dict[AttemptKey, GpuUse] = {}
    """What the attempts on it use of it."""


def view(workspace: Workspace) -> GpusView:
    """The GPUs as the scheduler last saw them; with none running, as the driver says now.

    Raises ConfigError or ProbeError when there is no scheduler and the GPUs cannot be had.
    """
    running = asking.scheduler(workspace.paths) is not None
    live = live_file.read(workspace.paths.live) if running else None
    note, seen = _as_written(live) if live is not None else _as_read(workspace)
    watched = usage_file.read(workspace.paths.usage) if running else None
    _add_watched(seen, watched)
    conditions, attempts, names = _state(workspace)
    indices = {each.device.uuid: each.device.index for each in seen}
    return GpusView(
        at=SystemClock().now(),
        workspace=workspace.paths.root,
        task_name=workspace.usable_settings.task_name,
        scheduler=running,
        note=note,
        gpus=[_detail(each, conditions, attempts, names, indices) for each in seen],
        problems=[*_unreadable(watched), *_problems(workspace)],
    )


def steer(workspace: Workspace, action: str, tokens: Sequence[str], *, requeue: bool = False) -> Steered:
    """`drain`, `enable` or `kill` the GPUs that are named (index, UUID or its beginning, `all`).

    Raises UsageError naming every GPU that is not there; then nothing was changed.
    """
    gpus = chosen(workspace, tokens)
    return msgspec.convert(workspace.ask("gpus", {"action": action, "gpus": gpus, "requeue": requeue}), Steered)


def jobs_there(workspace: Workspace, tokens: Sequence[str]) -> list[str]:
    """Names of the jobs of this workspace on the GPUs that are named. Raises UsageError."""
    wanted = chosen(workspace, tokens).keys()
    _, attempts, names = _state(workspace)
    here = [attempt for attempt in attempts if wanted & {gpu.uuid for gpu in attempt.allocation.gpus}]
    return sorted({names.get(attempt.job_id, f"job {attempt.job_id}") for attempt in here})


def chosen(workspace: Workspace, tokens: Sequence[str]) -> dict[str, int]:
    """Index by UUID of the GPUs that are named. A drained one that is not there any more can still be named."""
    live = live_file.read(workspace.paths.live) if asking.scheduler(workspace.paths) is not None else None
    seen = _as_written(live)[1] if live is not None else _as_read(workspace)[1]
    known = {each.device.uuid: each.device.index for each in seen}
    return named(tokens, {gpu.uuid: gpu.index for gpu in _state(workspace)[0].values()} | known, known)


def named(tokens: Sequence[str], known: Mapping[str, int], present: Mapping[str, int]) -> dict[str, int]:
    """Those of `known` (index by UUID) that are named; indices and `all` mean those that are `present`."""
    found: dict[str, int] = {}
    problems = []
    for token in (part for word in tokens for part in word.replace(",", " ").split()):
        matches = _matching(token, known, present)
        if not matches:
            problems.append(f"there is no GPU {token!r}")
        elif len(matches) > 1 and token != EVERY:
            problems.append(f"{token!r} is the beginning of several UUIDs: {', '.join(sorted(matches))}")
        found |= matches
    if problems:
        have = ", ".join(str(index) for index in sorted(present.values())) or "none"
        raise UsageError("\n".join(problems), hint=f"this workspace has GPU {have}; `rfsched gpus` shows them")
    return found


def _matching(token: str, known: Mapping[str, int], present: Mapping[str, int]) -> dict[str, int]:
    if token == EVERY:
        return dict(present)
    if token.isdecimal():
        return {uuid: index for uuid, index in present.items() if index == int(token)}
    exact = {uuid: index for uuid, index in known.items() if uuid == token}
    return exact or {uuid: index for uuid, index in known.items() if uuid.startswith(token) and len(token) > 4}


def _unreadable(watched: Watched | None) -> list[str]:
    if watched is None or watched.error is None or SystemClock().now() - watched.at >= STALE:
        return []
    return [f"the GPUs cannot be read: {watched.error}"]


def _problems(workspace: Workspace) -> list[str]:
    try:
        available_gpus.read(available_gpus.place_of(workspace.usable_settings, workspace.paths.root))
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


# -- where it is known from


def _as_written(live: live_file.Live) -> tuple[str | None, list[_Seen]]:
    return live.note, [
        _Seen(
            device=gpu.device,
            slots=gpu.slots,
            reading=gpu.reading,
            read_at=live.at,
            blocked=gpu.blocked,
            leases=tuple(ticket.holder for ticket in gpu.tickets),
        )
        for gpu in live.gpus
    ]


def _as_read(workspace: Workspace) -> tuple[str | None, list[_Seen]]:
    """Nobody watches them: look at the machine here and now."""
    from researchflow_tmux.wiring import gpus_now

    found, readings, tickets = gpus_now(workspace.settings, os.environ)
    by_uuid = {reading.uuid: reading for reading in readings}
    most = workspace.settings.max_jobs_per_gpu
    return found.note, [
        _Seen(
            device=device,
            slots=None if most == "unlimited" else most,
            reading=by_uuid.get(device.uuid),
            read_at=SystemClock().now(),
            leases=tuple(ticket.holder for ticket in tickets if ticket.uuid == device.uuid),
        )
        for device in found.devices
    ]


def _add_watched(seen: Sequence[_Seen], watched: Watched | None) -> None:
    """The sampler's figures: younger readings, means over the last minute, and whose part is how large."""
    if watched is None:
        return
    gpus = {gpu.reading.uuid: gpu for gpu in watched.gpus}
    for each in seen:
        gpu = gpus.get(each.device.uuid)
        if gpu is not None and (each.read_at is None or watched.at > each.read_at):
            each.reading, each.read_at = gpu.reading, watched.at
        if gpu is not None and SystemClock().now() - watched.at < STALE:
            each.util_mean_pct = gpu.util_mean_pct
        for key, usage in usages_of(watched).items():
            if each.device.uuid in usage.now.gpus:
                each.uses[key] = usage.now.gpus[each.device.uuid]


def _state(workspace: Workspace) -> tuple[Conditions, list[Attempt], dict[int, str]]:
    """What is decided about GPUs, the live attempts, and the names of their jobs."""
    if not os.path.exists(workspace.paths.database):
        return {}, [], {}
    with workspace.reader() as reader, reader.snapshot():
        conditions = decode_conditions(reader.meta().get(META_CONDITIONS))
        attempts = reader.live_attempts()
        jobs = reader.jobs(ids=[attempt.job_id for attempt in attempts])
    return {gpu.uuid: gpu for gpu in conditions}, attempts, {job.id: job.name for job in jobs}


# -- one GPU


def _detail(
    seen: _Seen,
    conditions: Conditions,
    attempts: Sequence[Attempt],
    names: Mapping[int, str],
    indices: Mapping[str, int],
) -> GpuDetail:
    device, reading = seen.device, seen.reading
    here = [attempt for attempt in attempts if device.uuid in {gpu.uuid for gpu in attempt.allocation.gpus}]
    decided = conditions.get(device.uuid)
    reason = (decided.reason if decided is not None else None) or seen.blocked
    if reading is None:
        reading = GpuReading(uuid=device.uuid, index=device.index, name=device.name)
    return GpuDetail(
        index=device.index,
        uuid=device.uuid,
        name=device.name,
        kind=device.kind,
        compute_capability=None if device.capability is None else "{}.{}".format(*device.capability),
        links=_links(device, indices),
        state=state_of(reason, busy=bool(here)),
        reason=None if reason is None else str(reason),
        reason_code=None if reason is None else str(reason.code),
        slots=seen.slots,
        used_mib=reading.used_mib,
        total_mib=device.total_mib if reading.total_mib is None else reading.total_mib,
        util_pct=reading.util_pct,
        util_mean_pct=seen.util_mean_pct,
        temperature_c=reading.temperature_c,
        power_w=reading.power_w,
        read_at=seen.read_at,
        error=reading.error,
        jobs=[_job(attempt, names, seen.uses.get(attempt.key)) for attempt in here],
        leases=list(seen.leases),
        others=_others(reading, here),
    )


def _links(device: GpuDevice, indices: Mapping[str, int]) -> dict[int, str] | None:
    """To the GPUs that this workspace may use; None = nothing is known."""
    found = {indices[link.uuid]: str(link) for link in device.links if link.uuid in indices}
    return dict(sorted(found.items())) or None


def _job(attempt: Attempt, names: Mapping[int, str], use: GpuUse | None) -> JobOnGpu:
    return JobOnGpu(
        id=attempt.job_id,
        name=names.get(attempt.job_id, f"job {attempt.job_id}"),
        attempt=attempt.number,
        used_mib=None if use is None else use.used_mib,
        util_pct=None if use is None else use.util_pct,
    )


def _others(reading: GpuReading, here: Sequence[Attempt]) -> list[OtherProcess] | None:
    if reading.processes is None:
        return None
    runners = [
        attempt.phase.runner_pid
        for attempt in here
        if isinstance(attempt.phase, Running | Stopping) and attempt.phase.runner_pid is not None
    ]
    ours = procs.runners_above([process.pid for process in reading.processes], runners)
    found = []
    for process in reading.processes:
        if process.pid not in ours:
            user, command = procs.user_and_command(process.pid)
            found.append(OtherProcess(pid=process.pid, user=user, command=command, used_mib=process.used_mib))
    return sorted(found, key=lambda each: -(each.used_mib or 0))
