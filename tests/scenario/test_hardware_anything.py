"""Jobs that need a kind of GPU, over every history: none ever has another one, and what can run does."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from researchflow_tmux.domain.attempt import OutOfMemory
from researchflow_tmux.domain.hardware import hardware
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_invariants
from tests.scenario.world import World

MACHINES = ["2xA100,2xT4", "A100,2xT4", "2xV100,2xV100,T4", "2xA100:40GiB,A100:80GiB,H100"]
TYPES = [None, None, None, None, "A100", "T4", "A100|T4", "H100|A100", "V*", "any"]
TOPOLOGIES = [None, "nvlink", "nvlink!", "nvlink!", "same_numa!"]
FULL = Script(duration_s=2.0, outcome=OutOfMemory(where="gpu", line="out of memory", evidence="log", code=1))
SCRIPTS = st.sampled_from([Script(duration_s=5.0), Script(duration_s=40.0), FULL])


class HardwareMachine(RuleBasedStateMachine):
    """Jobs of all kinds on a machine of several, whose GPUs are drained, lost and come back."""

    @initialize(
        kinds=st.sampled_from(MACHINES),
        policy=st.sampled_from([None, "balanced", "easy_fifo", "fifo", "sjf"]),
        jobs_per_gpu=st.sampled_from([1, 2]),
        keep=st.booleans(),
        order=st.sampled_from(["spread", "pack", "highest_index"]),
    )
    def begin(self, kinds: str, policy: str | None, jobs_per_gpu: int, keep: bool, order: str) -> None:
        room = RoomRules(keep_scarce_gpus=keep, order=order)
        self.world = World(kinds=kinds, policy=policy, jobs_per_gpu=jobs_per_gpu, room=room)
        self.made: dict[str, dict[str, Any]] = {}

    @rule(
        kind=st.sampled_from(TYPES),
        memory=st.sampled_from([None, None, "40GiB", "80GiB"]),
        capability=st.sampled_from([None, None, None, "8.0", "9.0"]),
        topology=st.sampled_from(TOPOLOGIES),
        gpus=st.sampled_from([0, 1, 1, 2, 2, 3]),
        project=st.sampled_from([None, "a", "b"]),
        scripts=st.lists(SCRIPTS, min_size=1, max_size=2),
        pin=st.sampled_from([(), (), (), (0,)]),
    )
    def add(self, scripts: list[Script], gpus: int, project: str | None, pin: tuple[int, ...], **said: Any) -> None:
        name = f"j{len(self.made)}"
        keys = {"kind": "gpu_type", "memory": "min_gpu_memory", "capability": "compute_capability"}
        words = {keys.get(key, key): value for key, value in said.items()}
        self.made[name] = {**words, "gpus": gpus}
        self.world.scripts.set(name, *scripts, Script(duration_s=3.0))
        asked = hardware(**words) if gpus else hardware()
        self.world.add(
            name, gpus=gpus, project=project, pinned=pin if gpus else (), needs={"hardware": asked}, retries=1
        )

    @rule(seconds=st.sampled_from([1.0, 10.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(action=st.sampled_from(["drain", "enable", "kill"]), number=st.integers(0, 4))
    def steer(self, action: str, number: int) -> None:
        device = self.world.devices[number % len(self.world.devices)]
        self.world.ask("gpus", {"action": action, "gpus": {device.uuid: device.index}, "requeue": True})

    @rule(number=st.integers(0, 4), lost=st.booleans())
    def gpu_trouble(self, number: int, lost: bool) -> None:
        device = self.world.devices[number % len(self.world.devices)]
        self.world.probe.fail(device.uuid, "lost" if lost else None, lost=lost)

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def no_job_has_another_gpu_than_it_needs(self) -> None:
        """Told by names and sizes, not by the code that matches."""
        if not hasattr(self, "world"):
            return
        devices = {device.uuid: device for device in self.world.devices}
        for attempt in self.world.engine.workload.attempts.values():
            asked = self.made[self.world.engine.workload.jobs[attempt.job_id].name]
            here = [devices[gpu.uuid] for gpu in attempt.allocation.gpus]
            assert len(here) == asked["gpus"]
            for device in here:
                kind = device.name.removeprefix("Simulated ")
                wanted = asked["gpu_type"] or "any"
                assert wanted == "any" or kind in wanted or (wanted == "V*" and kind == "V100"), (wanted, kind)
                least = asked["min_gpu_memory"]
                assert least is None or (device.total_mib or 0) >= int(least.removesuffix("GiB")) * 1024
                least = asked["compute_capability"]
                assert least is None or (device.capability or (0, 0)) >= (int(least[0]), 0)
            if (asked["topology"] or "").endswith("!"):
                linked = [{link.uuid for link in one.links} | {one.uuid} for one in here]
                assert all(two.uuid in ways for ways in linked for two in here), "not of one group"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        for device in world.devices:
            world.probe.fail(device.uuid, None)
        world.run(5.0)
        world.ask("gpus", {"action": "enable", "gpus": {device.uuid: device.index for device in world.devices}})
        world.run_until(self.settled, limit_s=20_000.0)
        check_invariants(world)

    def settled(self) -> bool:
        """What has not ended is impossible here, and it is said."""
        world = self.world
        if world.engine.workload.attempts or world.store.requests():
            return False
        waits = [job.id for job in world.jobs() if job.state is JobState.QUEUED]
        if not waits:
            return True
        reasons = world.engine.choice.explain(world.engine.look(), world.clock.now())
        return all(reasons[job_id].code is ReasonCode.IMPOSSIBLE for job_id in waits)


TestHardware = HardwareMachine.TestCase
TestHardware.settings = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
