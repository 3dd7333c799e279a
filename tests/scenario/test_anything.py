"""Everything that can happen, in any order: each job ends, and each attempt ran at most once."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from researchflow_tmux.domain.attempt import Exited, Lost, SlotTaken, TimedOut
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.job import Condition, Job, JobState
from researchflow_tmux.domain.limits import GpuLimits, RoomRules
from researchflow_tmux.domain.resources import Ticket
from researchflow_tmux.policies.conditions import Standing, standing
from researchflow_tmux.ports import LaunchRefused
from researchflow_tmux.simulation.load import JobLoad
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_invariants
from tests.scenario.world import World

BAD = Exited(code=1, succeeded=False)
ATTEMPT_SCRIPTS = st.sampled_from(
    [
        Script(duration_s=1.0),
        Script(duration_s=20.0),
        Script(duration_s=30.0, load=JobLoad(memory_mib=9000, util_pct=90, ramp_s=10), ram_mib=25 * 1024),
        Script(duration_s=0.0),
        Script(duration_s=3.0, claim_delay_s=2.0),
        Script(duration_s=3.0, outcome=BAD),
        Script(duration_s=3.0, outcome=Lost(), survivors=2),
        Script(duration_s=3.0, outcome=SlotTaken(reason="bob")),
        Script(duration_s=5.0, outcome=TimedOut(limit_s=5.0)),
        Script(duration_s=90.0, stop_delay_s=3.0),
        Script(duration_s=90.0, stop_delay_s=500.0),
    ]
)
ROOMS = [
    RoomRules(),
    RoomRules(gpu_memory_mib=6 * 1024, grace_s=5.0),
    RoomRules(limits=GpuLimits(max_util_pct=80.0, max_memory_pct=60.0), max_jobs=2),
    RoomRules(max_ram_pct=60.0, kill_ram_pct=90.0, order="most_free_memory"),
]
NEEDS: list[dict[str, Any]] = [
    {},
    {},
    {"share": 0.5},
    {"gpu_memory_mib": 14 * 1024},
    {"gpu_memory_mib": 20 * 1024, "share": 0.3},
    {"limits": GpuLimits(min_free_mib=8 * 1024)},
]
STEPS = ["observed", "planned", "intent saved", "launched", "acted", "before commit", "after commit"]
STEPS += [
    f"{when} {what}" for when in ("before", "after") for what in ("prepare", "launch", "fence", "stop", "destroy")
]
MANY = st.lists(st.integers(0, 30), min_size=1, max_size=4)


class Anything(RuleBasedStateMachine):
    """Jobs, people, faults and crashes over one world."""

    @initialize(
        gpus=st.integers(1, 3),
        jobs_per_gpu=st.sampled_from([0, 1, 3]),
        leased=st.booleans(),
        deaf=st.booleans(),
        restart_lost=st.booleans(),
        room=st.sampled_from(ROOMS),
        policy=st.sampled_from([None, None, "balanced", "easy_fifo", "fifo", "makespan"]),
    )
    def begin(
        self,
        gpus: int,
        jobs_per_gpu: int,
        leased: bool,
        deaf: bool,
        restart_lost: bool,
        room: RoomRules,
        policy: str | None,
    ) -> None:
        self.world = World(
            gpus=gpus,
            jobs_per_gpu=jobs_per_gpu,
            leased=leased,
            deaf=deaf,
            restart_lost=restart_lost,
            room=room,
            policy=policy,
        )
        self.gpus = gpus
        self.made = 0

    # -- people

    @rule(
        scripts=st.lists(ATTEMPT_SCRIPTS, max_size=3),
        gpus=st.integers(0, 2),
        pin=st.booleans(),
        retries=st.integers(0, 2),
        priority=st.integers(-1, 1),
        held=st.booleans(),
        after=st.lists(st.integers(0, 30), max_size=2),
        when=st.sampled_from(["success", "success", "failure", "always"]),
        needs=st.sampled_from(NEEDS),
        project=st.sampled_from([None, "a", "b"]),
        due_s=st.sampled_from([None, None, 10, 10_000]),
    )
    def add(
        self,
        scripts: list[Script],
        gpus: int,
        pin: bool,
        retries: int,
        priority: int,
        held: bool,
        after: list[int],
        when: Condition,
        needs: dict[str, Any],
        project: str | None,
        due_s: int | None,
    ) -> None:
        name = f"j{self.made}"
        self.made += 1
        if scripts:
            self.world.scripts.set(name, *scripts, Script(duration_s=2.0))
        known = sorted(job.name for job in self.world.jobs())
        self.world.add(
            name,
            after=sorted({known[number % len(known)] for number in after}) if known else (),
            gpus=min(gpus, self.gpus),
            pinned=(self.gpus - 1,) if pin and gpus else (),
            retries=retries,
            priority=priority,
            held=held,
            when=when if known and after else "success",
            needs=needs,
            project=project,
            deadline=None if due_s is None else self.world.clock.now() + timedelta(seconds=due_s),
        )

    @rule(kind=st.sampled_from(["cancel", "requeue", "hold", "release"]), which=MANY)
    def ask(self, kind: str, which: list[int]) -> None:
        jobs = self.world.jobs()
        if jobs:
            self.world.tell(kind, *sorted({jobs[number % len(jobs)].name for number in which}))

    @rule(number=st.integers(0, 30), rerun=st.booleans())
    def submit_again(self, number: int, rerun: bool) -> None:
        if self.made:
            self.world.add(f"j{number % self.made}", rerun=rerun)

    @rule(action=st.sampled_from(["drain", "enable", "kill"]), which=MANY, requeue=st.booleans())
    def steer(self, action: str, which: list[int], requeue: bool) -> None:
        gpus = {f"gpu-{number % self.gpus}": number % self.gpus for number in which}
        self.world.ask("gpus", {"action": action, "gpus": gpus, "requeue": requeue})

    # -- time and crashes

    @rule(seconds=st.sampled_from([0.2, 1.0, 7.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(step=st.sampled_from(STEPS), more=st.integers(1, 3), downtime_s=st.sampled_from([0.0, 3.0, 100.0]))
    def crash(self, step: str, more: int, downtime_s: float) -> None:
        self.world.crash_at(step, self.world.passes[step] + more)
        for _ in range(5):
            self.world.step(downtime_s)

    @rule()
    def stop_and_start(self) -> None:
        self.world.engine.stopping = True
        self.world.step()
        self.world.restart()

    @rule()
    def reboot(self) -> None:
        self.world.reboot()

    @rule(minutes=st.sampled_from([-600, -1, 1, 600]))
    def clock_jumps(self, minutes: int) -> None:
        self.world.clock.offset += timedelta(minutes=minutes)

    # -- faults

    @rule(silent=st.booleans())
    def silence(self, silent: bool) -> None:
        self.world.host.faults.silent = "no answer" if silent else None

    @rule(unreadable=st.booleans())
    def files(self, unreadable: bool) -> None:
        self.world.host.faults.unreadable = "stale" if unreadable else None

    @rule(times=st.integers(1, 3))
    def refuse(self, times: int) -> None:
        self.world.host.faults.refuse = LaunchRefused(why="fork failed", host=True)
        self.world.host.faults.refuse_count = times

    @rule()
    def lose_an_answer(self) -> None:
        self.world.host.faults.lost_answers += 1

    @rule(times=st.integers(1, 3))
    def disk(self, times: int) -> None:
        self.world.store.fail_next_commit(times=times)

    @rule(full=st.booleans())
    def attempt_disk(self, full: bool) -> None:
        self.world.host.faults.disk_full = full

    @rule()
    def kill_server(self) -> None:
        self.world.host.kill_server()

    @rule(number=st.integers(0, 5), survivors=st.integers(0, 2))
    def kill_runner(self, number: int, survivors: int) -> None:
        runners = self.world.host.runners()
        if runners:
            self.world.host.lose_runner(runners[number % len(runners)], survivors)

    @rule(number=st.integers(0, 30))
    def take_name(self, number: int) -> None:
        self.world.host.foreign.add(f"t_j{number}_gpu0")

    @precondition(lambda self: any(device.leased for device in self.world.devices))
    @rule(held=st.booleans())
    def others(self, held: bool) -> None:
        if held:
            self.world.leases.hold(Ticket(uuid="gpu-0", share=1.0, holder="bob", tag="other/1.1"))
        else:
            self.world.leases.release("gpu-0", "other/1.1")

    @rule(used_gib=st.sampled_from([0, 5, 20]), broken=st.sampled_from([None, None, "driver gone"]))
    def others_use_a_gpu(self, used_gib: int, broken: str | None) -> None:
        self.world.probe.intrude("gpu-0", 4242, used_gib * 1024)
        self.world.probe.fail_all(broken)

    @rule(number=st.integers(0, 2), trouble=st.sampled_from(["lost", "unknown", "none", "xid 79", "xid 31"]))
    def gpu_trouble(self, number: int, trouble: str) -> None:
        uuid = f"gpu-{number % self.gpus}"
        if trouble.startswith("xid"):
            self.world.probe.fault(uuid, int(trouble[4:]))
        else:
            self.world.probe.fail(uuid, None if trouble == "none" else trouble, lost=trouble == "lost")

    @rule(times=st.integers(1, 3), every_s=st.sampled_from([0.0, 1.0, 70.0]))
    def sample(self, times: int, every_s: float) -> None:
        for _ in range(times):
            with suppress(ProbeError):
                self.world.engine.gpus.see(self.world.probe.read(), self.world.clock.monotonic(), self.world.devices)
            self.world.run(every_s)

    @rule(used_gib=st.sampled_from([0, 0, 30, 62]), broken=st.booleans())
    def others_use_the_machine(self, used_gib: int, broken: bool) -> None:
        self.world.ram.others_mib, self.world.ram.broken = used_gib * 1024, broken

    # -- the end

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.host.faults.silent = world.host.faults.unreadable = None
        world.host.faults.disk_full, world.host.faults.refuse_count = False, 0
        world.host.foreign.clear()
        world.leases.release("gpu-0", "other/1.1")
        world.probe.intrude("gpu-0", 4242, 0)
        world.probe.fail_all(None)
        for device in world.devices:
            world.probe.fail(device.uuid, None)
        world.ram.others_mib, world.ram.broken = 0, False
        world.store._faults.clear()
        world._aim = None
        if world.engine.stopping:
            world.restart()
        world.run(5.0)  # what was asked so far is answered
        world.tell("release", *(job.name for job in world.jobs()))
        world.ask("gpus", {"action": "enable", "gpus": {device.uuid: device.index for device in world.devices}})
        world.run_until(self.settled, limit_s=8_000.0)
        check_invariants(world)
        assert all(not starts or starts == 1 for starts in map(world.host.starts.count, world.host.starts))

    def settled(self) -> bool:
        """Every job has ended, or somebody queued it by hand although its condition is not met and will not be."""
        workload = self.world.engine.workload
        open_jobs = [job for job in workload.jobs.values() if not job.state.ended]
        waits = all(job.state is JobState.QUEUED and not self._may_start(job) for job in open_jobs)
        return waits and not workload.attempts and not self.world.store.requests()

    def _may_start(self, job: Job) -> bool:
        """Whether it can start yet: now, or once what it waits for has had its chance."""
        workload = self.world.engine.workload
        stands = standing(workload.jobs, job.spec)
        if stands is not Standing.OPEN:
            return stands is Standing.MET
        unfinished = [need for need in workload.unmet(job.spec) if not need.state.ended]
        return all(need.state is not JobState.QUEUED or self._may_start(need) for need in unfinished)


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
