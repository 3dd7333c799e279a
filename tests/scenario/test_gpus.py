"""GPUs that are taken out of use while jobs run and wait: by hand, because nothing is to do, because they are lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Exited, OutOfMemory, Stopping
from researchflow_tmux.domain.events import GpuChanged, GpuIdle
from researchflow_tmux.domain.hardware import hardware
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.decide import explain
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_history, check_invariants
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


# -- lost


def watch(world: World, seconds: float = 600.0, every_s: float = 5.0) -> None:
    """Have the engine see a reading of all GPUs every few seconds, as the sampler would."""
    now = world.virtual.monotonic()
    for number in range(int(seconds / every_s)):
        world.at(now + number * every_s, lambda: see(world))


def see(world: World) -> None:
    world.engine.gpus.see(world.probe.read(), world.clock.monotonic(), world.devices)


def lose(world: World, index: int, lost: bool = True) -> None:
    world.probe.fail(f"gpu-{index}", "GPU is lost" if lost else None, lost=True)


def test_jobs_of_a_lost_gpu_go_elsewhere_without_using_up_a_retry() -> None:
    world = World({"a": ENDLESS, "b": ENDLESS}, gpus=3)
    world.add("a", "b")
    watch(world)
    world.run(7.0)
    lose(world, 0)
    world.run_until(lambda: world.starts("a") == 2, limit_s=30.0)
    world.run(1.0)
    assert world.engine.workload.attempts[1, 2].allocation.indices == (2,)
    job = world.job("a")
    assert (job.retries_used, job.gpu_losses, job.spec.retries) == (0, 1, 0)
    assert world.outcomes("a") == ["Killed", "Running"]
    assert world.starts("b") == 1, "it is on another GPU"
    assert changes(world) == ["0 is lost: GPU is lost; nothing starts there until it reads well again"]
    check_history(world)


def test_a_gpu_is_called_as_it_was_although_the_driver_counts_anew() -> None:
    world = World(gpus=3)
    readings = [replace(each, index=each.index - 1) for each in world.probe.read()[1:]]
    lost = [replace(readings[0], error="GPU is lost", lost=True), readings[1]]
    for _ in range(2):
        world.engine.gpus.see(lost, world.clock.monotonic(), world.devices)
    world.run(1.0)
    assert changes(world)[0].startswith("1 is lost")


def test_one_bad_reading_and_trouble_of_another_kind_stop_nothing() -> None:
    world = World({"a": ENDLESS}, gpus=1)
    world.add("a")
    watch(world)
    world.run(7.0)
    lose(world, 0)
    world.run(5.0)
    lose(world, 0, False)
    world.run(20.0)
    world.probe.fail("gpu-0", "Unknown Error")
    world.run(60.0)
    world.probe.fail_all("the driver does not answer")
    assert world.states() == {"a": "running"}
    assert world.starts("a") == 1
    assert changes(world) == []


def test_a_lost_gpu_is_used_again_when_it_reads_well_for_a_minute() -> None:
    world = World(gpus=1)
    watch(world)
    lose(world, 0)
    world.run(20.0)
    world.add("a")
    world.run(100.0)
    assert world.states() == {"a": "queued"}
    assert reason(world, "a") == "lost: GPU 0 (GPU is lost)"
    world.restart()
    lose(world, 0, False)
    world.run(50.0)
    assert world.states() == {"a": "queued"}, "not yet"
    world.run_until(lambda: world.starts("a") == 1, limit_s=20.0)
    assert changes(world)[-1] == "0 reads well again and is used again"
    assert world.engine.workload.gpus["gpu-0"].losses == 1, "the next loss counts more"


def test_readings_of_the_sampler_are_shown_without_another_one_by_the_loop() -> None:
    world = World(gpus=2, leased=True, sweep_s=1000.0)
    world.probe.fail("gpu-1", "Unknown Error")
    world.run(1.0)
    room, workload = world.engine.room, world.engine.workload
    room.read(workload)
    assert set(room.blocks(workload)) == {"gpu-1"}
    world.probe.fail("gpu-1", None)
    at_s = world.clock.monotonic()
    room.note([(at_s - 5.0, world.probe.read())], workload)
    assert set(room.blocks(workload)) == {"gpu-1"}, "older than what the loop read"
    room.note([(at_s + 1.0, world.probe.read())], workload)
    assert room.blocks(workload) == {}
    assert [reading.error for reading in room.readings] == [None, None]


def test_enabled_by_hand_it_is_used_at_once() -> None:
    world = World(gpus=1)
    watch(world)
    lose(world, 0)
    world.run(20.0)
    world.add("a")
    world.run(20.0)
    assert world.starts("a") == 0
    lose(world, 0, False)
    steer(world, "enable", 0)
    world.run(1.0)
    assert world.starts("a") == 1


def test_a_fatal_error_counts_at_once_and_others_are_told() -> None:
    world = World({"a": ENDLESS}, gpus=2)
    world.add("a")
    watch(world)
    world.run(2.0)
    world.probe.fault("gpu-0", 31)
    see(world)
    world.run(1.0)
    assert world.states() == {"a": "running"}
    assert [text for text in world.notices() if "Xid 31" in text]
    world.probe.fault("gpu-0", 79)
    see(world)
    world.run_until(lambda: world.starts("a") == 2, limit_s=30.0)
    assert "0 is lost: Xid 79" in changes(world)[0]


def test_a_job_that_died_of_its_gpu_before_anybody_knew_runs_again_with_what_was_skipped() -> None:
    bad = Script(duration_s=12.0, outcome=Exited(code=1, succeeded=False))
    world = World({"a": (bad, Script(duration_s=5.0))}, gpus=2)
    world.add("a")
    world.add("after", after=["a"])
    watch(world)
    world.at(11.0, lambda: lose(world, 0))
    world.run(13.0)
    assert world.states() == {"a": "failed", "after": "skipped"}, "nobody knows yet why"
    world.finish()
    assert world.states() == {"a": "succeeded", "after": "succeeded"}
    assert world.job("a").gpu_losses == 1


def test_a_job_that_failed_long_before_the_loss_stays_failed() -> None:
    bad = Script(duration_s=12.0, outcome=Exited(code=1, succeeded=False))
    world = World({"a": bad}, gpus=1)
    world.add("a")
    watch(world)
    world.at(31.0, lambda: lose(world, 0))
    world.run(100.0)
    assert world.states() == {"a": "failed"}
    assert world.starts("a") == 1


def test_a_job_that_breaks_every_gpu_does_not_get_all_of_them() -> None:
    world = World({"a": ENDLESS}, gpus=8)
    world.add("a")
    watch(world)

    def break_it() -> None:
        for attempt in world.engine.workload.attempts.values():
            lose(world, attempt.allocation.indices[0])

    for second in range(3, 400, 7):
        world.at(float(second), break_it)
    world.run(1.0)
    world.run_until(lambda: world.state("a").ended, limit_s=500.0)
    assert world.states() == {"a": "failed"}
    assert world.starts("a") == 4
    assert str(world.job("a").reason) == "lost: the GPU it ran on"


def test_cancelled_while_it_is_stopped_for_its_gpu_it_stays_cancelled() -> None:
    world = World({"a": Script(duration_s=None, stop_delay_s=20.0)}, gpus=2)
    world.add("a")
    watch(world)
    world.run(2.0)
    lose(world, 0)
    world.run(10.0)
    assert isinstance(world.engine.workload.attempts[1, 1].phase, Stopping)
    world.tell("cancel", "a")
    world.run(60.0)
    assert world.states() == {"a": "cancelled"}


def test_a_job_that_is_being_cancelled_is_not_queued_again_by_the_loss() -> None:
    world = World({"a": Script(duration_s=None, stop_delay_s=30.0)}, gpus=2)
    world.add("a")
    watch(world)
    world.run(2.0)
    world.tell("cancel", "a")
    world.run(1.0)
    lose(world, 0)
    world.run(60.0)
    assert world.states() == {"a": "cancelled"}


def test_what_hangs_in_the_driver_runs_nowhere_else_until_it_is_gone() -> None:
    hangs = Script(duration_s=None, unkillable=1)
    world = World({"a": (hangs, Script(duration_s=5.0))}, gpus=2)
    world.add("a", "b")
    watch(world)
    world.run(2.0)
    lose(world, 0)
    world.run(120.0)
    assert world.state("a") is JobState.QUEUED
    assert world.starts("a") == 1, "its first attempt is not proven dead"
    assert reason(world, "a").startswith("processes of its last attempt cannot be killed: pid ")
    assert world.states()["b"] == "succeeded"
    world.host._runs[1, 1].script = Script()
    world.finish()
    assert world.states()["a"] == "succeeded"
    assert world.starts("a") == 2


@pytest.mark.parametrize("point", ["before commit", "after commit", "before stop", "after stop"])
def test_a_crash_while_a_lost_gpu_is_cleared_runs_nothing_twice(point: str) -> None:
    world = World({"a": (ENDLESS, Script(duration_s=5.0))}, gpus=2)
    world.add("a")
    watch(world)
    world.run(2.0)
    lose(world, 0)
    world.crash_at(point, world.passes[point] + 1)
    world.finish()
    assert world.states() == {"a": "succeeded"}
    assert world.starts("a") == 2
    check_history(world)


def changes(world: World) -> list[str]:
    events = [event.payload for event in world.store.events()]
    return [f"{each.gpu.index} {each.text}" for each in events if isinstance(each, GpuChanged)]


@pytest.mark.parametrize("policy", ["balanced", "easy_fifo", "sjf"])
def test_a_job_that_needs_more_memory_after_it_ran_out_of_it_gets_what_choosy_jobs_leave(policy: str) -> None:
    world = World(kinds="2xA100,2xT4", policy=policy)
    full = OutOfMemory(where="gpu", line="out of memory", evidence="log", code=1)
    world.scripts.set("grows", Script(duration_s=2.0, outcome=full), Script(duration_s=5.0))
    world.add("grows", retries=1)
    world.add("never", gpus=3, needs={"hardware": hardware(min_gpu_memory="40GiB")})
    world.run(60.0)
    assert world.states() == {"grows": "succeeded", "never": "queued"}
    check_invariants(world)
