"""What would run when and where: the real engine over the workspace's jobs, on a virtual clock, with nothing launched.

Reads the state, writes nothing. How long jobs take is told by the workspace's own history.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.gpu_inventory import inventory
from researchflow_tmux.adapters.nvml import NvmlProbe
from researchflow_tmux.adapters.planning import history, plan_rules
from researchflow_tmux.adapters.policy_process import PolicyProcess
from researchflow_tmux.adapters.room_settings import foreseeable
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.attempt import Attempt, Ended, Running, Stopping, TimedOut
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.gpus import META_CONDITIONS
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.plugin import is_plugin
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.guest import Guest
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.submitting import Submission, Submitted
from researchflow_tmux.policies.planning.estimates import Estimate, certain
from researchflow_tmux.policies.planning.orders import Policy
from researchflow_tmux.policies.prediction.fingerprint import KINDS
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.simulation.clock import VirtualClock
from researchflow_tmux.simulation.drive import MemoryWaiter, drive
from researchflow_tmux.simulation.leases import ScriptedLeases
from researchflow_tmux.simulation.memory_store import MemoryStore
from researchflow_tmux.simulation.script import Script, Scripts
from researchflow_tmux.simulation.session_host import MemoryHost
from researchflow_tmux.wiring import cpu_places, on_this_machine, room_rules, rules, share

ASSUMED_S = 60.0
"""Length of a job of which nothing is known."""
LEAST_S = 0.001
NO_SWEEP_S = 86_400.0
"""Nothing is overlooked in a simulation: sweeps would only cost time."""


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as it would run. Offsets are seconds from now; what runs already starts at 0."""

    job: str
    attempt: int
    gpus: list[int]
    """Physical indices; empty = a CPU job."""
    start_s: float
    end_s: float
    length_from: str
    """Where its length comes from: `job` (the same command), `workspace` (what is most like it), or `assumed`."""
    running: bool = False
    """It runs now."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A job that would not run, and why."""

    job: str
    reason: str


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen."""

    stays: list[Stay]
    """By start."""
    not_started: list[Waiting]
    submitted: Submitted
    """What submitting would say."""
    makespan_s: float
    """Until the last job has ended."""
    utilisation_pct: float | None
    """Booked share of all GPUs until then; None = no GPU is used, or slots are unlimited."""
    gpus: list[int]
    note: str
    """About the GPUs."""


class Lengths:
    """How long jobs take, by what is known of their like, and where that comes from."""

    def __init__(self, known: History) -> None:
        self._known = known

    def of(self, job: Job) -> tuple[float, str]:
        """Seconds without a time limit, and where they come from."""
        found = self._known.predict(job)
        if found is None:
            return ASSUMED_S, "assumed"
        return found.p50_s, "job" if found.kind == KINDS[0] else "workspace"


class _Past(msgspec.Struct):
    """The workspace's state as it stands."""

    jobs: list[Job]
    attempts: list[Attempt]
    known: History
    conditions: str = ""
    """Which GPUs are drained or lost, as it is stored."""


class _ByHistory(Scripts):
    """Every job succeeds after as long as its like took, or is ended by its time limit."""

    def __init__(self, lengths: Lengths) -> None:
        super().__init__()
        self._lengths = lengths
        self.jobs: dict[str, Job] = {}
        """By name."""

    def of(self, name: str, number: int) -> Script:
        """The script of one attempt."""
        return self.remaining(name, 0.0)

    def remaining(self, name: str, elapsed_s: float) -> Script:
        """The script of an attempt that has run for a while."""
        job = self.jobs[name]
        length, _ = self._lengths.of(job)
        limit = job.spec.request.time_limit_s
        if limit is not None and limit < length:
            return Script(duration_s=max(limit - elapsed_s, LEAST_S), outcome=TimedOut(limit_s=limit))
        return Script(duration_s=max(length - elapsed_s, LEAST_S))


def simulate(
    paths: WorkspacePaths, settings: Settings, submission: Submission, environ: Mapping[str, str] | None = None
) -> Simulation:
    """Submit to a copy of the workspace's state and let it run to its end in no time.

    Raises:
        ConfigError: `gpu_count` cannot be had.
        ProbeError: The GPUs cannot be read.
        PolicyError: The policy plug-in does not do its work.
        UsageError: The submission would be refused.
    """
    probe = NvmlProbe()
    try:
        found = inventory(settings, probe, os.environ if environ is None else environ)
    finally:
        probe.close()
    # Who else uses the GPUs by then cannot be foreseen: they count as ours.
    devices = [replace(device, kind="simulated", leased=False) for device in found.devices]
    past = _past(paths)
    world = _World(settings, devices, past, SystemClock().now(), paths.root)
    submitted = world.submit(submission)
    try:
        world.run()
    finally:
        if world.plugin is not None:
            world.plugin.close()
    stays = world.stays()
    makespan_s = max((stay.end_s for stay in stays), default=0.0)
    return Simulation(
        stays=stays,
        not_started=world.waiting(),
        submitted=submitted,
        makespan_s=makespan_s,
        utilisation_pct=_utilisation(stays, share(settings), len(devices), makespan_s),
        gpus=[device.index for device in devices],
        note=found.note,
    )


def _past(paths: WorkspacePaths) -> _Past:
    if not os.path.exists(paths.database):
        return _Past([], [], History())
    with SqliteReader(paths.database) as reader, reader.snapshot():
        jobs, attempts = reader.all_jobs(), reader.live_attempts()
        conditions = reader.meta().get(META_CONDITIONS, "")
    return _Past(jobs, attempts, history(paths, {job.id: job for job in jobs}), conditions)


class _Expected:
    """What a policy is told of durations: what the simulation lets them be."""

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths

    def of(self, job: Job) -> Estimate:
        """As long as its like took."""
        return certain(self._lengths.of(job)[0], job.spec.request.time_limit_s)

    def learn(self, job: Job, took_s: float) -> None:
        """Nothing: it happens as was expected."""


class _World:
    """A machine in memory with the workspace's jobs on it."""

    def __init__(self, settings: Settings, devices: list[GpuDevice], past: _Past, now: datetime, root: str) -> None:
        self.clock = VirtualClock(now)
        self.begin = now
        self.lengths = Lengths(past.known)
        self.scripts = _ByHistory(self.lengths)
        self.host = MemoryHost(self.clock, "sim", self.scripts)
        self.store = MemoryStore(workspace_id="sim")
        self.running = [attempt for attempt in past.attempts if not isinstance(attempt.phase, Ended)]
        self._remember(past.jobs)
        names = {job.id: job.name for job in past.jobs}
        for attempt in self.running:
            elapsed_s = (now - _started(attempt)).total_seconds()
            self.host.adopt(attempt, self.scripts.remaining(names[attempt.job_id], elapsed_s))
        self.store.commit([], past.jobs, past.attempts, at=now, meta={META_CONDITIONS: past.conditions})
        waiter = MemoryWaiter(self.host)
        room = RoomReader(
            devices=devices,
            probe=None,
            leases=ScriptedLeases(),
            clock=self.clock,
            share=share(settings),
            max_cpu_jobs=cpu_places(settings),
            own_tag_prefix="sim/",
            rules=foreseeable(on_this_machine(room_rules(settings))),
        )
        self.engine = Engine(
            rules=replace(rules(settings, "sim"), sweep_s=NO_SWEEP_S),
            clock=self.clock,
            store=self.store,
            host=self.host,
            room=room,
            waiter=waiter,
        )
        self.waiter = waiter
        chosen = plan_rules(settings)
        self.plugin: PolicyProcess | None = None
        if chosen is None:
            return
        lengths = _Expected(self.lengths)
        workload = self.engine.workload

        def planner(policy: Policy, said: Said | None) -> Planner:
            by = replace(chosen, policy=policy)
            now = self.clock.now()
            return Planner(workload, by, lengths, devices=devices, share=share(settings), now=now, said=said)

        if is_plugin(settings.policy):
            self.plugin = PolicyProcess(settings.policy, root, patient=True)
            self.engine.choice.invite(Guest(self.plugin, planner, strict=True))
        else:
            self.engine.choice.use(planner(chosen.policy, None))

    def submit(self, submission: Submission) -> Submitted:
        submitted = self.engine.submit(submission)
        if submitted.problems:
            raise UsageError("\n".join(submitted.problems), hint="nothing would be queued")
        self._remember(self.engine.workload.jobs.values())
        return submitted

    def _remember(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self.store.save_environment(job.spec.env_digest, {})
            self.scripts.jobs[job.name] = job

    def run(self) -> None:
        """Until nothing runs and nothing more can start."""
        jobs = self.engine.workload.jobs.values()
        attempts = sum(1 + job.spec.retries for job in jobs)
        drive(self.engine, self.clock, self.host, self.waiter, self._done, most_ticks=100 + 10 * attempts)

    def _done(self) -> bool:
        workload = self.engine.workload
        return not self.host.runners() and workload.next_backoff_end(self.clock.now()) is None and not workload.changed

    def stays(self) -> list[Stay]:
        names = {job.id: job.name for job in self.engine.workload.jobs.values()}
        ran = {attempt.key for attempt in self.running}
        stays = []
        for key in self.host.starts:
            attempt = next(a for a in self.store.attempts_of(key[0]) if a.number == key[1])
            if isinstance(attempt.phase, Ended):
                name = names[attempt.job_id]
                stays.append(
                    Stay(
                        job=name,
                        attempt=attempt.number,
                        gpus=list(attempt.allocation.indices),
                        start_s=self._offset(attempt.phase.started_at or self.begin),
                        end_s=self._offset(attempt.phase.ended_at),
                        length_from=self.lengths.of(self.scripts.jobs[name])[1],
                        running=attempt.key in ran,
                    )
                )
        return sorted(stays, key=lambda stay: (stay.start_s, stay.end_s))

    def waiting(self) -> list[Waiting]:
        """The jobs that are still not at their end."""
        workload = self.engine.workload
        reasons = self.engine.choice.explain(self.engine.look(), self.clock.now())
        open_jobs = [job for job in workload.jobs.values() if job.state in (JobState.QUEUED, JobState.HELD)]
        return [Waiting(job=job.name, reason=str(reasons.get(job.id) or job.reason or job.state)) for job in open_jobs]

    def _offset(self, when: datetime) -> float:
        return round(max((when - self.begin).total_seconds(), 0.0), 3)


def _started(attempt: Attempt) -> datetime:
    phase = attempt.phase
    started = phase.started_at if isinstance(phase, Running | Stopping) else None
    return started or attempt.planned_at


def _utilisation(stays: Sequence[Stay], part: float, gpus: int, makespan_s: float) -> float | None:
    if not (part and gpus and makespan_s):
        return None
    used = sum((stay.end_s - stay.start_s) * len(stay.gpus) * part for stay in stays)
    return round(100 * used / (gpus * makespan_s), 1)
