"""The only place that picks implementations: from a workspace's paths and settings to a working engine."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from researchflow_tmux.adapters import machine_projects, usage_file
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.gpu_choice import Inventory
from researchflow_tmux.adapters.gpu_inventory import inventory
from researchflow_tmux.adapters.leases import FileLeases
from researchflow_tmux.adapters.machine_projects import shared_owners
from researchflow_tmux.adapters.nvml import NvmlProbe
from researchflow_tmux.adapters.planning import bounds, claims_of, history, plan_rules
from researchflow_tmux.adapters.policy_process import PolicyProcess
from researchflow_tmux.adapters.procs import user_name
from researchflow_tmux.adapters.prompt_probe import PromptProbe
from researchflow_tmux.adapters.register import DIRECTORY, FileRegister
from researchflow_tmux.adapters.room_settings import on_this_machine, room_rules, share
from researchflow_tmux.adapters.session_host import TmuxHost
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.adapters.system_ram import SystemRam
from researchflow_tmux.adapters.tmux import Tmux
from researchflow_tmux.adapters.tmux_sessions import TmuxSessions
from researchflow_tmux.adapters.tmux_socket import ready_socket, resolve_socket
from researchflow_tmux.adapters.user_order import UserOrder
from researchflow_tmux.adapters.waiter import EpollWaiter
from researchflow_tmux.adapters.wake import WakeReader
from researchflow_tmux.adapters.workspace_identity import META_WORKSPACE, identify
from researchflow_tmux.domain.attempt import AttemptKey
from researchflow_tmux.domain.names import clean
from researchflow_tmux.domain.plugin import is_plugin
from researchflow_tmux.domain.register import Page
from researchflow_tmux.domain.resources import GpuDevice, GpuReading, Ticket
from researchflow_tmux.domain.units import parse_duration
from researchflow_tmux.domain.usage import Usage
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.commons import Commons
from researchflow_tmux.engine.context import Rules
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.pages import Pages
from researchflow_tmux.engine.planning.choice import META_USAGE, kept_usage
from researchflow_tmux.engine.planning.guest import Guest
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.policies.ordering import is_custom
from researchflow_tmux.policies.planning.orders import Policy
from researchflow_tmux.policies.planning.usage import Kept
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.ports import GpuProbe, GpuRanker
from researchflow_tmux.runner import procfs, tickets

if TYPE_CHECKING:
    from researchflow_tmux.simulation.gpus import ScriptedGpus

__all__ = ["META_SOCKET", "META_WORKSPACE", "Parts", "cpu_places", "on_this_machine", "room_rules", "rules", "share"]

META_SOCKET = "tmux_socket"


def rules(settings: Settings, workspace_id: str) -> Rules:
    """The settings that the engine acts on."""
    return Rules(
        workspace_id=workspace_id,
        prefix=clean(settings.worker_prefix or settings.task_name),
        hostname=socket.gethostname(),
        sweep_s=settings.check_interval,
        stop_grace_s=settings.stop_grace,
        retry_delay_s=settings.retry_delay,
        restart_lost=settings.restart_lost,
        oom_retries=settings.oom_retries,
        stop_on_failure=settings.on_failure == "stop",
        cleanup_on_complete=settings.cleanup_on_complete,
        keep_sessions=settings.keep_sessions,
        gpu_idle_s=None if settings.gpu_idle_after is None else parse_duration(settings.gpu_idle_after),
    )


def cpu_places(settings: Settings) -> int:
    """CPU jobs that may run at a time."""
    return (os.cpu_count() or 1) if settings.max_cpu_jobs == "auto" else settings.max_cpu_jobs


def gpus_now(settings: Settings, environ: Mapping[str, str]) -> tuple[Inventory, list[GpuReading], list[Ticket]]:
    """The GPUs that may be used, one reading of each (none of simulated and logical ones), and all leases on them.

    For a look without a scheduler. Raises ConfigError, or ProbeError when there is a driver that does not answer.
    """
    nvml = NvmlProbe()
    try:
        found = inventory(settings, nvml, environ)
        kinds = {device.kind for device in found.devices}
        probe = amd_probe() if "amd" in kinds else nvml if "nvml" in kinds else None
        readings = [] if probe is None else probe.read()
    finally:
        nvml.close()
    leased = [device.uuid for device in found.devices if device.leased]
    return found, readings, FileLeases().live(leased) if leased else []


def amd_probe() -> GpuProbe:
    """What reads AMD GPUs."""
    from researchflow_tmux.adapters.amd_sysfs import AmdProbe

    return AmdProbe()


class Parts:
    """Everything one process needs to drive a workspace; `close` gives it all back."""

    def __init__(self, paths: WorkspacePaths, settings: Settings, environ: Mapping[str, str]) -> None:
        self.paths = paths
        self.settings = settings
        self.environ = environ
        self.clock = SystemClock()
        self.store = SqliteStore(paths.database, boot_id=self.clock.boot_id)
        meta = self.store.load_meta()
        self.workspace_id = meta[META_WORKSPACE]
        known = meta.get(META_SOCKET)
        self.socket = ready_socket(known) if known else resolve_socket(settings.tmux_socket, environ)
        self.nvml = NvmlProbe()
        self.inventory: Inventory | None = None
        self._simulated: ScriptedGpus | None = None
        self._order: UserOrder | None = None
        self._policy: PolicyProcess | None = None
        self._history: History | None = None
        """How long jobs take; None = nobody asked so far."""
        self.prompt: PromptProbe | None = None
        """What reads real GPUs for the loop and the sampler."""
        self.on_gpu_news: Callable[[], None] = lambda: None
        """Called in another thread when a GPU is in trouble: the loop had better look."""
        self.wake: WakeReader | None = None
        self.waiter: EpollWaiter | None = None
        self.host: TmuxHost | None = None
        self.lease_dir: str | None = None
        """Where leases are taken; None = no GPU of this workspace needs any."""
        self.tmux = Tmux(self.socket)

    def look_at_gpus(self) -> Inventory:
        """Which GPUs may be used. Raises ConfigError or ProbeError."""
        self.inventory = inventory(self.settings, self.nvml, self.environ)
        return self.inventory

    def engine(self, *, listen: bool) -> Engine:
        """A ready engine; hold the workspace lock. `listen` = this is the scheduler: it is woken through the FIFO."""
        identity = identify(self.paths, self.store.load_meta())
        self.workspace_id = identity.workspace_id
        self.wake = WakeReader(self.paths.wake) if listen else None
        self.waiter = EpollWaiter(self.wake)
        self.host, room = self._host_and_room(listen=listen)
        engine = Engine(
            rules=rules(self.settings, self.workspace_id),
            clock=self.clock,
            store=self.store,
            host=self.host,
            room=room,
            waiter=self.waiter,
        )
        if not listen:
            engine.context.usage = lambda key: self._last_measured().get(key)
            engine.context.accounting.claims = claims_of(self.settings, None)
            engine.granting.active = False
        else:
            self._plan(engine)
            self._join(engine)
        self._make_busy(engine)
        engine.remember(identity.news)
        if identity.original is not None:
            engine.disown(f"it runs in {identity.original}; this workspace is a copy of that one")
        return engine

    def _last_measured(self) -> dict[AttemptKey, Usage]:
        """What the last scheduler's sampler knew of each attempt: with none running, ends are recorded with that."""
        watched = usage_file.read(self.paths.usage)
        return {} if watched is None else {job.key: job.usage for job in watched.jobs}

    def retune(self, engine: Engine) -> None:
        """Let a running engine work by the current `settings` and GPUs."""
        self.host, room = self._host_and_room(listen=True)
        self._make_busy(engine)
        engine.retune(rules(self.settings, self.workspace_id), self.host, room)
        self._plan(engine)
        self._join(engine)

    def _plan(self, engine: Engine) -> None:
        """Let the policy of the settings decide what starts next, from what is known of jobs and projects."""
        if self._policy is not None:
            self._policy.close()
            self._policy = None
        chosen = plan_rules(self.settings)
        budgets = any(each.hourly for each in bounds(self.settings).values())
        if self._history is None and (chosen is not None or budgets):
            self._history = history(self.paths, engine.workload.jobs)
        engine.context.accounting.claims = claims_of(self.settings, self._history)
        if chosen is None:
            engine.choice.use(None)
        elif is_plugin(self.settings.policy):
            self._policy = PolicyProcess(self.settings.policy, self.paths.root)
            engine.choice.invite(Guest(self._policy, partial(self._planner, engine, chosen)))
        else:
            engine.choice.use(self._planner(engine, chosen, chosen.policy, None))

    def _join(self, engine: Engine) -> None:
        """Share accounts and GPUs with the other workspaces of this machine: those that its file names."""
        devices = engine.room.devices
        leased = frozenset(device.uuid for device in devices if device.leased)
        register = FileRegister(FileLeases().directory, self.clock.boot_id)
        register.tidy()
        private = not leased and "RFSCHED_LEASE_DIR" not in self.environ
        pages = Pages(
            engine.context,
            self._page(devices),
            shared=frozenset() if private else shared_owners(machine_projects.load(self.environ)),
            leased=leased,
            planner=lambda: engine.choice.planner,
        )
        engine.commons = Commons(engine.context, register, pages, lambda: engine.choice.planner)

    def _page(self, devices: Sequence[GpuDevice]) -> Page:
        """What of this workspace's page in the machine register never changes."""
        pid = os.getpid()
        return Page(
            workspace_id=self.workspace_id,
            path=self.paths.root,
            task_name=self.settings.task_name,
            user=user_name(os.geteuid()),
            uid=os.geteuid(),
            pid=pid,
            start_time=procfs.start_time(pid) or 0,
            boot_id=self.clock.boot_id,
            at=self.clock.now(),
            leased={device.uuid: device.index for device in devices if device.leased},
            simulated=any(device.kind == "simulated" for device in devices),
        )

    def _planner(self, engine: Engine, chosen: PlanRules, policy: Policy, said: Said | None) -> Planner:
        """A planner over the jobs as they are now; what was learned by the one before it goes on."""
        before = engine.choice.planner
        now = self.clock.now()
        kept: Kept | None
        if before is not None:
            kept = before.index.usage.kept(now.timestamp())
        else:
            kept = kept_usage(self.store.load_meta().get(META_USAGE))
        assert self._history is not None
        room = engine.room
        return Planner(
            engine.workload,
            replace(chosen, policy=policy),
            self._history,
            devices=room.devices,
            share=room.share,
            now=now,
            kept=kept,
            said=said,
            claims=engine.context.accounting.claims,
        )

    def _host_and_room(self, *, listen: bool) -> tuple[TmuxHost, RoomReader]:
        devices: list[GpuDevice] = list((self.inventory or self.look_at_gpus()).devices) if listen else []
        leases = FileLeases()
        self.lease_dir = leases.directory if any(device.leased for device in devices) else None
        host = TmuxHost(
            workspace_id=self.workspace_id,
            paths=self.paths,
            settings=self.settings,
            socket_path=self.socket,
            lease_dir=self.lease_dir,
            devices=devices,
            tmux=self.tmux,
        )
        room = RoomReader(
            devices=devices,
            probe=self.probe(devices) if listen else None,
            leases=leases,
            clock=self.clock,
            share=share(self.settings),
            max_cpu_jobs=cpu_places(self.settings) if listen else 0,
            own_tag_prefix=f"{self.workspace_id}/",
            avoid_foreign=self.settings.avoid_foreign,
            rules=on_this_machine(room_rules(self.settings)),
            ram=SystemRam() if listen else None,
            ranker=self._ranker() if listen else None,
        )
        return host, room

    def _ranker(self) -> GpuRanker | None:
        """The user's comparison of GPUs, if the settings name one."""
        if self._order is not None:
            self._order.close()
        self._order = (
            UserOrder(self.settings.gpu_order, self.paths.root) if is_custom(self.settings.gpu_order) else None
        )
        return self._order

    def watch_leases(self, room: RoomReader) -> frozenset[str]:
        """Be woken when anybody takes or gives back a share of our GPUs; return the directories to expect news from."""
        if self.lease_dir is None or self.waiter is None:
            return frozenset()
        watched = set()
        for device in room.devices:
            if device.leased:
                directory = tickets.gpu_dir(self.lease_dir, device.uuid)
                with contextlib.suppress(OSError):  # the sweep looks all the same
                    tickets.make_shared_dir(self.lease_dir)
                    tickets.make_shared_dir(directory)
                if self.waiter.watch_directory(directory):
                    watched.add(directory)
        return frozenset(watched)

    def watch_commons(self) -> frozenset[str]:
        """Be woken when others change their pages, or somebody the machine's file; return where that file is."""
        if self.waiter is None:
            return frozenset()
        register = os.path.join(FileLeases().directory, DIRECTORY)
        places = [register, *machine_projects.directories(self.environ)]
        watched = [place for place in places if os.path.isdir(place) and self.waiter.watch_directory(place)]
        return frozenset(watched) - {register}

    def tmux_sessions(self) -> TmuxSessions:
        """This workspace's sessions on its tmux server."""
        return TmuxSessions(self.tmux, self.workspace_id)

    def probe(self, devices: list[GpuDevice]) -> GpuProbe | None:
        """What reads these devices: the driver, the simulation, or nothing (logical slots)."""
        kinds = {device.kind for device in devices}
        if "simulated" in kinds:
            from researchflow_tmux.simulation.gpus import ScriptedGpus

            self._simulated = ScriptedGpus(devices)
            return self._simulated
        if not kinds & {"amd", "nvml"}:
            return None
        if self.prompt is None:
            inner = amd_probe() if "amd" in kinds else self.nvml
            self.prompt = PromptProbe(inner, monotonic=self.clock.monotonic, on_news=lambda: self.on_gpu_news())
        return self.prompt

    def follow_jobs(self, engine: Engine) -> None:
        """Make simulated GPUs as busy as the jobs on them would; they are read at once, so that it shows."""
        if self._simulated is not None:
            self._make_busy(engine)
            engine.room.read(engine.workload)

    def _make_busy(self, engine: Engine) -> None:
        from researchflow_tmux.simulation.load import uses_of

        workload = engine.workload
        if self._simulated is not None:
            self._simulated.follow(lambda: uses_of(workload.attempts.values(), workload.jobs, self.clock.now()))

    def close(self) -> None:
        """Give back descriptors, threads and children."""
        if self.waiter is not None:
            self.waiter.close()
        if self.wake is not None:
            self.wake.close()
        if self._order is not None:
            self._order.close()
        if self._policy is not None:
            self._policy.close()
        self.tmux.close()
        if self.prompt is not None:
            self.prompt.close()
        self.nvml.close()
        self.store.close()
