"""GPUs that are taken out of use while jobs run and wait: by hand, because nothing is to do, because they are lost."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.events import GpuChanged, GpuIdle
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.decide import explain
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_history
from tests.scenario.world import World

ENDLESS = Script(duration_s=None)


def steer(world: World, action: str, *indices: int, **more: object) -> None:
    world.ask("gpus", {"action": action, "gpus": {f"gpu-{index}": index for index in indices}, **more})
    world.run(0.5)


def reason(world: World, name: str) -> str:
    return str(explain(world.engine.workload, world.engine.look(), world.clock.now())[world.job(name).id])


def idle(world: World) -> list[tuple[int, int, int]]:
    """(index, seconds, jobs waiting) of each event."""
    events = [event.payload for event in world.store.events()]
    return [(each.index, round(each.idle_s), each.waiting) for each in events if isinstance(each, GpuIdle)]


# -- by hand


def test_a_drained_gpu_gets_no_job_and_its_own_runs_on() -> None:
    world = World({"a": Script(duration_s=60.0)}, gpus=2)
    world.add("a")
    world.run(1.0)
    assert [gpu.index for gpu in world.engine.workload.attempts[1, 1].allocation.gpus] == [0]
    steer(world, "drain", 0, 1)
    world.add("b")
    world.run(90.0)
    assert world.states() == {"a": "succeeded", "b": "queued"}
    assert reason(world, "b") == "drained: GPU 0 (by tester); GPU 1 (by tester)"
    steer(world, "enable", 1)
    assert world.states()["b"] == "running"
    assert world.engine.workload.attempts[2, 1].allocation.indices == (1,)
    check_history(world)


def test_a_drained_gpu_stays_so_over_crashes_and_restarts() -> None:
    world = World(gpus=1)
    steer(world, "drain", 0)
    world.restart()
    world.add("a")
    world.run(60.0)
    assert world.states() == {"a": "queued"}
    world.reboot()
    world.run(60.0)
    assert world.states() == {"a": "queued"}
    steer(world, "enable", 0)
    world.finish()
    assert world.states() == {"a": "succeeded"}


@pytest.mark.parametrize("point", ["before commit", "after commit", "before stop", "after stop"])
def test_a_crash_in_the_middle_of_a_kill_ends_the_jobs_all_the_same(point: str) -> None:
    world = World({"a": ENDLESS, "b": ENDLESS}, gpus=2)
    world.add("a", "b")
    world.run(2.0)
    world.crash_at(point, world.passes[point] + 1)
    steer(world, "kill", 0)
    world.run_until(lambda: world.state("a") is JobState.CANCELLED)
    world.run(5.0)
    assert world.state("b") is JobState.ACTIVE, "it is on the other GPU"
    assert set(world.engine.workload.gpus) == {"gpu-0"}
    check_history(world)


def test_killed_with_requeue_its_jobs_go_elsewhere() -> None:
    world = World({"a": ENDLESS}, gpus=2)
    world.add("a")
    world.run(2.0)
    steer(world, "kill", 0, requeue=True)
    world.run_until(lambda: world.starts("a") == 2)
    assert world.engine.workload.attempts[1, 2].allocation.indices == (1,)
    assert world.outcomes("a")[0] == "Killed"


# -- idle


def test_a_gpu_without_a_job_is_told_once_each_time() -> None:
    world = World({"a": Script(duration_s=100.0)}, gpus=2, gpu_idle_s=300.0)
    world.add("a")
    world.run(299.0)
    assert idle(world) == []
    world.run(2.0)
    assert idle(world) == [(1, 300, 0)]
    world.run(400.0)
    assert idle(world) == [(1, 300, 0), (0, 300, 0)], "GPU 0 was freed a hundred seconds later"
    world.add("b")
    world.run(500.0)
    assert idle(world) == [(1, 300, 0), (0, 300, 0), (0, 300, 0)], "GPU 0 had a job in between"


def test_what_may_not_be_used_is_not_idle_and_jobs_that_wait_are_counted() -> None:
    world = World({"a": ENDLESS}, gpus=3, gpu_idle_s=60.0)
    steer(world, "drain", 1)
    world.add("a")
    world.add("b", pinned=(0,))
    world.run(120.0)
    assert idle(world) == [(2, 60, 1)]


def test_the_wait_ends_when_a_gpu_becomes_idle_and_not_before() -> None:
    world = World(gpus=1, gpu_idle_s=7.0, sweep_s=1000.0)
    world.tick()
    assert world.engine.wait_s() == pytest.approx(7.0)
    world.run(8.0)
    assert idle(world) == [(0, 7, 0)]
    assert world.engine.wait_s() > 100.0


def changes(world: World) -> list[str]:
    events = [event.payload for event in world.store.events()]
    return [f"{each.gpu.index} {each.text}" for each in events if isinstance(each, GpuChanged)]
