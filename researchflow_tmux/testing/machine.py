"""A machine in memory with the real engine on it: time that is told to go, scripted GPUs and jobs, restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Condition, Job, JobSpec, JobState
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.resources import GpuDevice, ResourceRequest
from researchflow_tmux.domain.simulated_gpus import simulated_gpus
from researchflow_tmux.engine.context import Rules
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.submitting import Draft, Submission
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.ports import GpuRanker, SessionHost, Store, Wakeup
from researchflow_tmux.simulation.clock import VirtualClock
from researchflow_tmux.simulation.drive import MemoryWaiter
from researchflow_tmux.simulation.gpus import ScriptedGpus
from researchflow_tmux.simulation.leases import ScriptedLeases
from researchflow_tmux.simulation.load import Use
from researchflow_tmux.simulation.memory_store import MemoryStore
from researchflow_tmux.simulation.ram import ScriptedRam
from researchflow_tmux.simulation.run import Run
from researchflow_tmux.simulation.script import Script, Scripts
from researchflow_tmux.simulation.session_host import MemoryHost

WORKSPACE = "ws000001"
IDLE_TICKS = 25
"""Ticks in a row without a pause or a change after which a scheduler counts as spinning."""
ENVIRONMENT = "env"


class WallClock:
    """The scheduler's clock: wall-clock time may jump, the machine's own time goes on."""

    def __init__(self, virtual: VirtualClock) -> None:
        self._virtual = virtual
        self.boot_id = virtual.boot_id
        self.offset = timedelta()

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return self._virtual.now() + self.offset

    def monotonic(self) -> float:
        """Seconds since the machine began; they never jump."""
        return self._virtual.monotonic()


class Machine:
    """One workspace on one machine. Drive it with `step`, `run`, `run_until`, `finish`."""

    def __init__(
        self,
        scripts: Mapping[str, Script | Sequence[Script]] | None = None,
        *,
        gpus: int = 2,
        sizes_mib: Sequence[int] = (),
        kinds: str = "",
        jobs_per_gpu: int = 1,
        cpu_places: int = 2,
        leased: bool = False,
        deaf: bool = False,
        room: RoomRules | None = None,
        ranker: GpuRanker | None = None,
        accounts: Mapping[Owner, Bounds] | None = None,
        known_s: Callable[[Job], float | None] = lambda _job: None,
        **rules: Any,
    ) -> None:
        """Scripts by job name; `sizes_mib` = the GPUs, by size; `rules` change Rules.

        `accounts` = caps and budgets of projects and users, by the calendar of UTC; `known_s` = how long a job takes,
        as far as these are concerned.
        `kinds` = the GPUs by type, such as `2xA100,2xT4`: as `gpu_count: simulated:…` has them.
        `deaf` = no runner's end is noticed but by sweeps.
        """
        self.virtual = VirtualClock()
        self.clock = WallClock(self.virtual)
        self.scripts = Scripts(scripts, default=Script(duration_s=30.0))
        self.host = MemoryHost(self.virtual, WORKSPACE, self.scripts)
        self.store = MemoryStore(workspace_id=WORKSPACE)
        self.store.save_environment(ENVIRONMENT, {"env": {}})
        self.devices = [
            GpuDevice(
                uuid=f"gpu-{i}",
                index=i,
                name="GPU",
                kind="nvml" if leased else "simulated",
                leased=leased,
                total_mib=sizes_mib[i] if sizes_mib else None,
            )
            for i in range(len(sizes_mib) or gpus)
        ]
        if kinds:
            real = {"kind": "nvml", "leased": True} if leased else {}
            self.devices = [replace(device, **real) for device in simulated_gpus(kinds)]
        self.probe = ScriptedGpus(self.devices)
        self.probe.follow(self._uses)
        self.ram = ScriptedRam(64 * 1024, self._ram_used)
        self.room = room or RoomRules()
        self.ranker = ranker
        self.leases = ScriptedLeases()
        self.accounts = dict(accounts or {})
        """May be changed; `limit` does, and lets the scheduler know."""
        self.known_s = known_s
        self.share = 1.0 / jobs_per_gpu if jobs_per_gpu else 0.0
        self.cpu_places = cpu_places
        self.deaf = deaf
        self.rules = Rules(
            **{
                "workspace_id": WORKSPACE,
                "prefix": "t",
                "hostname": "here",
                "sweep_s": 5.0,
                "stop_grace_s": 2.0,
                "retry_delay_s": 4.0,
                "keep_sessions": 4,
                **rules,
            }
        )
        self.stop_s = self.rules.stop_grace_s * 1.5 + 1.0
        """How long it takes at most to stop a job: to save itself, to end, to be killed."""
        self.host.stop_s = self.stop_s
        self.agenda: list[tuple[float, Callable[[], object]]] = []
        self._idle = 0
        self._woken: Wakeup | None = None
        self.engine = self.new_engine()

    # -- the scheduler's life

    def new_engine(self) -> Engine:
        """A scheduler over what is durable."""
        self.waiter = MemoryWaiter(self.host)
        room = RoomReader(
            devices=self.devices,
            probe=self.probe,
            leases=self.leases,
            clock=self.clock,
            share=self.share,
            max_cpu_jobs=self.cpu_places,
            own_tag_prefix=f"{WORKSPACE}/",
            rules=self.room,
            ram=self.ram,
            ranker=self.ranker,
        )
        store, host = self.ports()
        engine = Engine(rules=self.rules, clock=self.clock, store=store, host=host, room=room, waiter=self.waiter)
        engine.context.accounting.zone = UTC
        engine.context.accounting.claims = self.claims()
        self.prepare(engine)
        engine.adopt_sessions()
        self._woken = None
        self._idle = 0
        return engine

    def claims(self) -> Claims:
        """What jobs ask of the accounts."""
        return Claims(self.accounts, stop_s=self.stop_s, known_s=self.known_s)

    def limit(self, owner: Owner, bounds: Bounds) -> None:
        """Change the account of a project or user, as a changed setting would."""
        self.accounts[owner] = bounds
        self.engine.context.accounting.claims = self.claims()
        self.prepare(self.engine)
        self._woken = Wakeup(poked=True)

    def ports(self) -> tuple[Store, SessionHost]:
        """What the engine gets for them: a chance to put something in between."""
        return self.store, self.host

    def prepare(self, engine: Engine) -> None:
        """Set up a new engine before it does anything: its policy, for instance."""

    def check(self) -> None:
        """Called after every tick: what must always hold."""

    def restart(self) -> None:
        """A new scheduler over what is durable, as after kill -9."""
        self.engine = self.new_engine()

    def reboot(self) -> None:
        """The machine goes down with everything on it, and comes back with a new scheduler."""
        self.host.reboot()
        self.clock.boot_id += "+"
        self.store.boot_id = self.clock.boot_id
        self.restart()

    # -- what running jobs do to the machine

    def _running(self) -> Iterator[tuple[Attempt, Run, float]]:
        """The attempts that really run, whatever the scheduler knows of it, and for how long."""
        known = {attempt.key: attempt for attempt in self.engine.workload.attempts.values()}
        for key in self.host.runners():
            run = self.host.run_of(key)
            if key in known and run.claims_at is not None:
                yield known[key], run, (self.virtual.now() - run.claims_at).total_seconds()

    def _uses(self) -> dict[str, list[Use]]:
        found: dict[str, list[Use]] = {}
        for attempt, run, age_s in self._running():
            for gpu in attempt.allocation.gpus:
                load = run.script.load
                found.setdefault(gpu.uuid, []).append(Use(run.pid, load.memory_at(age_s), load.util_pct))
        return found

    def _ram_used(self) -> dict[int, int]:
        return {run.pid: run.script.ram_mib for _, run, age_s in self._running() if age_s >= 0}

    # -- time

    def at(self, seconds: float, what: Callable[[], object]) -> None:
        """Do something when that much time has gone by since the beginning."""
        self.agenda.append((seconds, what))
        self.agenda.sort(key=lambda entry: entry[0])

    def tick(self, wakeup: Wakeup | None = None) -> None:
        """One tick of the engine, and the checks after it."""
        self.engine.tick(wakeup)
        self.check()

    def step(self) -> None:
        """One tick and the wait after it."""
        self._keep_agenda()
        before = self._progress()
        self.tick(self._woken)
        self._wait(self.engine.wait_s())
        self._notice_spinning(before)

    def _progress(self) -> tuple[float, int, int]:
        return self.virtual.monotonic(), self.store.commits, len(self.host.starts)

    def _notice_spinning(self, before: tuple[float, int, int]) -> None:
        self._idle = self._idle + 1 if before == self._progress() else 0
        assert self._idle < IDLE_TICKS, "the scheduler spins: it neither waits nor gets anything done"

    def _wait(self, timeout_s: float) -> None:
        assert timeout_s <= self.rules.sweep_s + 1e-6, f"a wait of {timeout_s} s would skip a sweep"
        now = self.virtual.now()
        least_s = 1e-6 if timeout_s > 0 else 0.0  # the clock has no smaller step
        until = now + timedelta(seconds=max(timeout_s, least_s))
        ends = self.host.next_end()
        watched = self.waiter.watches(self.host.runners())  # an end wakes only who watches
        if ends is not None and watched and not self.deaf:
            until = min(until, max(ends, now))
        if self.agenda:
            until = min(until, now + timedelta(seconds=max(self.agenda[0][0] - self.virtual.monotonic(), 0.0)))
        self.virtual.advance_to(until)
        self._woken = Wakeup() if self.deaf else self.waiter.wait(0.0)

    def _keep_agenda(self) -> None:
        while self.agenda and self.agenda[0][0] <= self.virtual.monotonic() + 1e-9:
            self.agenda.pop(0)[1]()
            self._woken = Wakeup(poked=True)

    def run(self, seconds: float) -> None:
        """Let time go by."""
        until = self.virtual.monotonic() + seconds
        self.at(until, lambda: None)
        while self.virtual.monotonic() < until - 1e-9:
            self.step()

    def run_until(self, done: Callable[[], bool], *, limit_s: float = 3600.0) -> None:
        """Step until `done`; AssertionError after `limit_s` seconds of the machine's time."""
        until = self.virtual.monotonic() + limit_s
        while not done():
            assert self.virtual.monotonic() <= until, f"not within {limit_s} s: {self.summary()}"
            self.step()

    def finish(self, *, limit_s: float = 3600.0) -> None:
        """Run until every job has ended and nothing is left to happen."""
        self.run_until(self.idle, limit_s=limit_s)

    def idle(self) -> bool:
        """All ended, nothing planned."""
        quiet = not self.agenda and not self.store.requests() and not self.engine.workload.changed
        return quiet and not self.engine.workload.attempts and all(job.state.ended for job in self.jobs())

    # -- what people do

    def add(
        self,
        *names: str,
        after: Sequence[str] = (),
        gpus: int = 1,
        pinned: tuple[int, ...] = (),
        retries: int = 0,
        priority: int = 0,
        held: bool = False,
        when: Condition = "success",
        needs: Mapping[str, Any] | None = None,
        project: str | None = None,
        deadline: datetime | None = None,
        spec: Mapping[str, Any] | None = None,
        **submission: Any,
    ) -> int:
        """Submit jobs through the inbox; the id of the request. `needs`, `spec` = further fields of those."""
        drafts = tuple(
            Draft(
                spec=JobSpec(
                    source="command",
                    key=name,
                    name=name,
                    argv=("true",),
                    workdir="/",
                    env_digest=ENVIRONMENT,
                    request=ResourceRequest(gpus=gpus, pinned=pinned, **(needs or {})),
                    retries=retries,
                    priority=priority,
                    when=when,
                    project=project,
                    deadline=deadline,
                    **(spec or {}),
                ),
                after_names=tuple(after),
                held=held,
            )
            for name in names
        )
        return self.ask("submit", msgspec.to_builtins(Submission(drafts=drafts, **submission)))

    def ask(self, kind: str, body: Any) -> int:
        """Leave a request in the inbox and poke."""
        self._woken = Wakeup(poked=True)
        return self.store.put(kind, body)

    def tell(self, kind: str, *names: str) -> int:
        """Let `kind` (cancel, requeue, hold or release) be done to these jobs."""
        return self.ask(kind, {"ids": [self.job(name).id for name in names]})

    # -- what tests look at

    def jobs(self) -> list[Job]:
        """All jobs."""
        return list(self.engine.workload.jobs.values())

    def job(self, name: str) -> Job:
        """The job of that name."""
        return next(job for job in self.jobs() if job.name == name)

    def state(self, name: str) -> JobState:
        """Where it stands."""
        return self.job(name).state

    def states(self) -> dict[str, str]:
        """Where each job stands, by name."""
        return {job.name: str(job.state) for job in self.jobs()}

    def starts(self, name: str) -> int:
        """How many attempts of a job really started."""
        return sum(key[0] == self.job(name).id for key in self.host.starts)

    def outcomes(self, name: str) -> list[str]:
        """How its attempts ended, by the names of the outcomes."""
        attempts = self.store.attempts_of(self.job(name).id)
        return [type(getattr(attempt.phase, "outcome", attempt.phase)).__name__ for attempt in attempts]

    def notices(self) -> list[str]:
        """The texts of all notices so far."""
        return [text for event in self.store.events() if (text := getattr(event.payload, "text", None))]

    def summary(self) -> str:
        """Where everything stands, in a line."""
        phases = {key: type(attempt.phase).__name__ for key, attempt in self.engine.workload.attempts.items()}
        reasons = {job.name: str(job.reason) for job in self.jobs() if not job.state.ended}
        return f"{self.states()} {phases} {reasons} halted={self.engine.halted()}"
