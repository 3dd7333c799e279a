"""A machine in memory with the real engine on it: time that is told to go, faults, crashes and restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.job import Condition, Job, JobSpec, JobState
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.resources import GpuDevice, ResourceRequest
from researchflow_tmux.engine.context import Rules
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.choice import META_USAGE, kept_usage
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.submitting import Draft, Submission
from researchflow_tmux.policies.planning.history import History
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.ports import GpuRanker, Wakeup
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
from tests.scenario.invariants import check_invariants

WORKSPACE = "ws000001"
IDLE_TICKS = 25
"""Ticks in a row without a pause or a change after which a scheduler counts as spinning."""


class Crash(BaseException):
    """kill -9 of the scheduler: nothing catches it."""


class WallClock:
    """The scheduler's clock: wall-clock time may jump, the host's own time goes on."""

    def __init__(self, virtual: VirtualClock) -> None:
        self._virtual = virtual
        self.boot_id = virtual.boot_id
        self.offset = timedelta()

    def now(self) -> datetime:
        return self._virtual.now() + self.offset

    def monotonic(self) -> float:
        return self._virtual.monotonic()


class Guarded:
    """A port whose effects are crash points: the scheduler may die right before and right after each."""

    EFFECTS = frozenset({"commit", "prepare", "launch", "fence", "stop", "destroy", "close_sessions"})

    def __init__(self, target: Any, step: Callable[[str], None]) -> None:
        self._target = target
        self._step = step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self.EFFECTS:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._step(f"before {name}")
            result = found(*args, **kwargs)
            self._step(f"after {name}")
            return result

        return call


class World:
    """One workspace, one machine. Drive it with `step`, `run_until`, `crash_at`, `restart`."""

    def __init__(
        self,
        scripts: Mapping[str, Script | Sequence[Script]] | None = None,
        *,
        gpus: int = 2,
        sizes_mib: Sequence[int] = (),
        jobs_per_gpu: int = 1,
        cpu_places: int = 2,
        leased: bool = False,
        deaf: bool = False,
        policy: str | None = None,
        room: RoomRules | None = None,
        ranker: GpuRanker | None = None,
        **rules: Any,
    ) -> None:
        """Scripts by job name; `sizes_mib` = the GPUs, by size; `rules` change Rules.

        `deaf` = no runner's end is noticed but by sweeps.
        """
        self.virtual = VirtualClock()
        self.clock = WallClock(self.virtual)
        self.scripts = Scripts(scripts, default=Script(duration_s=30.0))
        self.host = MemoryHost(self.virtual, WORKSPACE, self.scripts)
        self.store = MemoryStore(workspace_id=WORKSPACE)
        self.store.save_environment("env", {"env": {}})
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
        self.probe = ScriptedGpus(self.devices)
        self.probe.follow(self._uses)
        self.ram = ScriptedRam(64 * 1024, self._ram_used)
        self.room = room or RoomRules()
        self.ranker = ranker
        self.leases = ScriptedLeases()
        self.share = 1.0 / jobs_per_gpu if jobs_per_gpu else 0.0
        self.cpu_places = cpu_places
        self.deaf = deaf
        self.policy = policy
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
        self.passes: Counter[str] = Counter()
        """How often each crash point was passed."""
        self.agenda: list[tuple[float, Callable[[], object]]] = []
        self.checked: tuple[Engine, int] | None = None
        """The rows of which commit were last compared with the memory of which engine."""
        self._aim: tuple[str, int] | None = None
        self._idle = 0
        self._woken: Wakeup | None = None
        self.engine = self._new_engine()

    # -- the scheduler's life

    def _new_engine(self) -> Engine:
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
        engine = Engine(
            rules=self.rules,
            clock=self.clock,
            store=Guarded(self.store, self._pass),
            host=Guarded(self.host, self._pass),
            room=room,
            waiter=self.waiter,
        )
        engine.context.step = self._pass
        if self.policy is not None:
            engine.choice.use(self._planner(engine))
        engine.adopt_sessions()
        self._woken = None
        self._idle = 0
        return engine

    # -- what running jobs do to the machine

    def _running(self) -> Iterator[tuple[Attempt, Run, float]]:
        """The attempts that really run, whatever the scheduler knows of it, and for how long."""
        known = {attempt.key: attempt for attempt in self.engine.workload.attempts.values()}
        for key in self.host.runners():
            run = self.host._runs[key]
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

    def _planner(self, engine: Engine) -> Planner:
        rules = PlanRules(policy=POLICIES[self.policy or ""], weights={"a": 2.0}, caps={"b": 2})
        kept = kept_usage(self.store.load().meta.get(META_USAGE))
        now = self.clock.now()
        return Planner(engine.workload, rules, History(), devices=self.devices, share=self.share, now=now, kept=kept)

    def _pass(self, step: str) -> None:
        self.passes[step] += 1
        if self._aim == (step, self.passes[step]):
            self._aim = None
            raise Crash(step)

    def crash_at(self, step: str, number: int) -> None:
        """Kill the scheduler at the `number`-th pass of a step, counted from the beginning of this world."""
        self._aim = (step, number)

    def restart(self) -> None:
        """A new scheduler over what is durable, as after kill -9."""
        self.engine = self._new_engine()

    def reboot(self) -> None:
        """The machine goes down with everything on it, and comes back with a new scheduler."""
        self.host.reboot()
        self.clock.boot_id += "+"
        self.store.boot_id = self.clock.boot_id
        self.restart()

    # -- time

    def at(self, seconds: float, what: Callable[[], object]) -> None:
        """Do something when that much time has gone by since the beginning."""
        self.agenda.append((seconds, what))
        self.agenda.sort(key=lambda entry: entry[0])

    def tick(self, wakeup: Wakeup | None = None) -> None:
        """One tick of the engine, and the invariants after it. A crash is left to the caller."""
        self.engine.tick(wakeup)
        check_invariants(self)

    def step(self, downtime_s: float = 0.0) -> None:
        """One tick and the wait after it; a crash in it is followed by a restart after `downtime_s`."""
        self._keep_agenda()
        before = (self.virtual.monotonic(), self.store.commits, len(self.host.starts))
        try:
            self.tick(self._woken)
            self._wait(self.engine.wait_s())
        except Crash:
            self.virtual.advance(downtime_s)
            self.restart()
            check_invariants(self)
        still = before == (self.virtual.monotonic(), self.store.commits, len(self.host.starts))
        self._idle = self._idle + 1 if still else 0
        assert self._idle < IDLE_TICKS, "the scheduler spins: it neither waits nor gets anything done"

    def _wait(self, timeout_s: float) -> None:
        assert timeout_s <= self.rules.sweep_s + 1e-6, f"a wait of {timeout_s} s would skip a sweep"
        now = self.virtual.now()
        until = now + timedelta(seconds=timeout_s)
        ends = self.host.next_end()
        watched = self.waiter._watched.keys() >= set(self.host.runners())  # an end wakes only who watches
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

    def run_until(self, done: Callable[[], bool], *, limit_s: float = 3600.0, downtime_s: float = 0.0) -> None:
        """Step until `done`; AssertionError after `limit_s` seconds of the world's time."""
        until = self.virtual.monotonic() + limit_s
        while not done():
            assert self.virtual.monotonic() <= until, f"not within {limit_s} s: {self.summary()}"
            self.step(downtime_s)

    def finish(self, *, limit_s: float = 3600.0, downtime_s: float = 0.0) -> None:
        """Run until every job has ended and nothing is left to happen."""
        self.run_until(self.idle, limit_s=limit_s, downtime_s=downtime_s)

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
        **submission: Any,
    ) -> int:
        """Submit jobs through the inbox; the request's id. `needs` = further fields of the request."""
        drafts = tuple(
            Draft(
                spec=JobSpec(
                    source="command",
                    key=name,
                    name=name,
                    shell="true",
                    workdir="/",
                    env_digest="env",
                    request=ResourceRequest(gpus=gpus, pinned=pinned, **(needs or {})),
                    retries=retries,
                    priority=priority,
                    when=when,
                    project=project,
                    deadline=deadline,
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
        """cancel, requeue, hold or release these jobs."""
        return self.ask(kind, {"ids": [self.job(name).id for name in names]})

    # -- what tests look at

    def jobs(self) -> list[Job]:
        return list(self.engine.workload.jobs.values())

    def job(self, name: str) -> Job:
        return next(job for job in self.jobs() if job.name == name)

    def state(self, name: str) -> JobState:
        return self.job(name).state

    def states(self) -> dict[str, str]:
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
        phases = {key: type(attempt.phase).__name__ for key, attempt in self.engine.workload.attempts.items()}
        reasons = {job.name: str(job.reason) for job in self.jobs() if not job.state.ended}
        return f"{self.states()} {phases} {reasons} halted={self.engine.halted()}"
