"""Jobs that fail again and again, and jobs that run out of memory: what becomes of them, and of all the others."""

from __future__ import annotations

import msgspec
import pytest

from researchflow_tmux.domain.attempt import Exited, OutOfMemory
from researchflow_tmux.domain.events import AttemptPlanned, QueueEmpty
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.context import META_FAILURE
from researchflow_tmux.simulation.script import Script
from tests.scenario.world import World

BAD = Script(duration_s=2.0, outcome=Exited(code=1, succeeded=False))
FULL = Script(duration_s=2.0, outcome=OutOfMemory(where="gpu", line="CUDA out of memory", evidence="log", code=1))
GOOD = Script(duration_s=2.0)


def order_of_starts(world: World) -> list[str]:
    planned = [event.payload for event in world.store.events() if isinstance(event.payload, AttemptPlanned)]
    return [world.engine.workload.jobs[payload.attempt.job_id].name for payload in planned]


def test_a_job_that_always_fails_never_delays_one_that_has_not_failed() -> None:
    # Backoff alone would not do: it is over long before the queue is empty, and the job was queued first.
    world = World({"bad": BAD}, gpus=1, retry_delay_s=0.1)
    world.scripts._default = GOOD
    world.add("bad", retries=9)
    world.add(*(f"row{i}" for i in range(20)))
    world.finish(limit_s=200_000.0)
    starts = order_of_starts(world)
    assert starts[0] == "bad"
    assert starts[1:21] == [f"row{i}" for i in range(20)], "every other job ran before its second attempt"
    assert starts.count("bad") == 10
    assert world.state("bad") is JobState.FAILED


def test_rows_that_come_later_pass_a_job_that_fails_too() -> None:
    world = World({"bad": BAD}, gpus=1, retry_delay_s=0.1)
    world.scripts._default = GOOD
    world.add("bad", "row0", retries=5)
    world.at(3.0, lambda: world.add("row1", "row2"))
    world.finish(limit_s=20_000.0)
    assert order_of_starts(world)[:4] == ["bad", "row0", "row1", "row2"]


def test_out_of_memory_is_tried_again_with_backoff_and_blocks_nobody() -> None:
    world = World({"big": [FULL, FULL, GOOD]}, gpus=1, retry_delay_s=4.0)
    world.scripts._default = GOOD
    world.add("big")
    world.add("row1", "row2")
    world.run(2.5)
    big = world.job("big")
    assert (big.state, big.ooms) == (JobState.QUEUED, 1)
    assert "CUDA out of memory" in str(big.reason)
    assert big.reason is not None
    assert big.reason.code == "backoff"
    world.finish()
    assert world.outcomes("big") == ["OutOfMemory", "OutOfMemory", "Exited"]
    assert order_of_starts(world) == ["big", "row1", "row2", "big", "big"]
    assert world.state("big") is JobState.SUCCEEDED


def test_out_of_memory_ends_as_failed_with_the_line_that_says_so() -> None:
    world = World({"big": FULL}, gpus=1, oom_retries=2)
    world.add("big")
    world.finish()
    assert world.starts("big") == 3
    assert world.state("big") is JobState.FAILED
    assert "CUDA out of memory (3 times in a row, at last with the largest GPU for itself)" in str(
        world.job("big").reason
    )


@pytest.mark.parametrize("step", ["before commit", "after commit", "observed", "planned", "before launch"])
@pytest.mark.parametrize("number", range(2, 12))
def test_no_crash_of_the_scheduler_forgets_how_often_it_was(step: str, number: int) -> None:
    world = World({"big": FULL}, gpus=1, oom_retries=2)
    world.crash_at(step, number)
    world.add("big")
    world.finish(downtime_s=3.0)
    assert world.starts("big") == 3
    assert world.job("big").ooms == 2


def stopping_world() -> World:
    """Two run; the one that fails is the first to end, and two more wait."""
    world = World({"bad": BAD, "long": Script(duration_s=10.0)}, gpus=2, stop_on_failure=True)
    world.scripts._default = GOOD
    world.add("bad", "long", "row1", "row2")
    return world


def test_after_a_failure_nothing_more_is_started_and_what_runs_finishes() -> None:
    world = stopping_world()
    world.run(60.0)
    assert world.states() == {"bad": "failed", "long": "succeeded", "row1": "queued", "row2": "queued"}
    reason = world.engine.halted()
    assert reason is not None
    assert str(reason) == "stopped after a failure: bad (failed: exit code 1); `rfsched start` goes on"


def test_start_takes_it_back_and_the_next_failure_stops_again() -> None:
    world = stopping_world()
    world.run(20.0)
    world.ask("remember", {META_FAILURE: ""})
    world.run_until(lambda: world.state("row2") is JobState.SUCCEEDED)
    world.scripts.set("worse", BAD)
    world.add("worse", "row3", "row4")
    world.run(30.0)
    assert (world.states()["worse"], world.states()["row4"]) == ("failed", "queued")


def test_a_failure_that_is_tried_again_stops_nothing_before_the_last_try() -> None:
    world = World({"bad": [BAD, GOOD]}, gpus=1, stop_on_failure=True)
    world.scripts._default = GOOD
    world.add("bad", retries=1)
    world.add("row1")
    world.finish()
    assert set(world.states().values()) == {"succeeded"}


def test_with_other_settings_it_goes_on() -> None:
    world = World({"bad": BAD}, gpus=1)
    world.scripts._default = GOOD
    world.add("bad", "row1")
    world.finish()
    assert world.states() == {"bad": "failed", "row1": "succeeded"}


@pytest.mark.parametrize("step", ["before commit", "after commit", "observed", "planned", "acted"])
@pytest.mark.parametrize("number", range(1, 8))
def test_the_stop_outlives_the_scheduler(step: str, number: int) -> None:
    world = stopping_world()
    world.crash_at(step, number)
    world.run(30.0)
    world.restart()
    world.run(30.0)
    assert world.states() == {"bad": "failed", "long": "succeeded", "row1": "queued", "row2": "queued"}


def test_a_machine_that_went_down_still_stands_still() -> None:
    world = stopping_world()
    world.run(3.0)
    world.reboot()
    world.run(30.0)
    assert (world.states()["row1"], world.states()["row2"]) == ("queued", "queued")


def gpus_of(world: World, name: str) -> list[tuple[int, ...]]:
    return [attempt.allocation.indices for attempt in world.store.attempts_of(world.job(name).id)]


def test_the_next_attempt_goes_to_a_gpu_with_more_room() -> None:
    world = World({"big": [FULL, GOOD]}, sizes_mib=(12_000, 24_000))
    world.add("big")
    world.finish()
    assert gpus_of(world, "big") == [(0,), (1,)]
    assert world.job("big").gpu_memory_mib == 18_000


def test_it_waits_for_that_gpu_while_others_use_the_small_one() -> None:
    world = World(
        {"big": [FULL, GOOD], "long": Script(duration_s=100.0)}, sizes_mib=(12_000, 24_000), retry_delay_s=1.0
    )
    world.scripts._default = GOOD
    world.add("big", "long", *(f"row{i}" for i in range(8)))
    world.run(50.0)
    assert gpus_of(world, "big") == [(0,)]
    assert all(world.state(f"row{i}") is JobState.SUCCEEDED for i in range(8)), "it blocked nobody"
    world.finish()
    assert gpus_of(world, "big") == [(0,), (1,)]
    assert world.state("big") is JobState.SUCCEEDED


def test_on_a_shared_gpu_it_gets_more_of_it_each_time() -> None:
    world = World({"big": [FULL, FULL, FULL, GOOD]}, sizes_mib=(16_000,), jobs_per_gpu=4, oom_retries=3)
    world.add("big")
    seen: list[int | None] = []
    world.step()
    while len(seen) < 3:
        before = world.job("big").ooms
        world.run_until(lambda before=before: world.job("big").ooms > before)  # type: ignore[misc]
        seen.append(world.job("big").gpu_memory_mib)
    assert seen == [6_000, 9_000, 13_500]
    world.finish()
    assert world.state("big") is JobState.SUCCEEDED


def test_one_that_has_the_largest_gpu_for_itself_stops_at_the_cap_and_says_so() -> None:
    world = World({"big": FULL}, sizes_mib=(12_000, 24_000), oom_retries=3)
    world.add("big")
    world.finish()
    assert gpus_of(world, "big") == [(0,), (1,), (1,), (1,)]
    assert "(4 times in a row, at last with the largest GPU for itself)" in str(world.job("big").reason)


def emptied(world: World) -> list[dict[str, int]]:
    """What was noted each time that the queue became empty, without the zeros."""
    noted = [event.payload.counts for event in world.store.events() if isinstance(event.payload, QueueEmpty)]
    return [{state: count for state, count in counts.items() if count} for counts in noted]


def test_that_the_queue_is_empty_is_noted_once_each_time() -> None:
    world = World({"bad": BAD})
    world.scripts._default = GOOD
    world.run(10.0)
    assert emptied(world) == []
    world.add("bad", "row1", "row2")
    world.add("held", held=True)
    world.run(30.0)
    assert emptied(world) == [{"held": 1, "failed": 1, "succeeded": 2}]
    world.restart()
    world.tell("cancel", "held")
    world.run(10.0)
    assert len(emptied(world)) == 1, "it was empty already"
    world.add("row3")
    world.tell("requeue", "bad")
    world.run(30.0)
    assert emptied(world)[1:] == [{"cancelled": 1, "failed": 1, "succeeded": 3}]


@pytest.mark.parametrize("step", ["before commit", "after commit", "observed", "planned", "acted"])
@pytest.mark.parametrize("number", range(1, 9))
def test_it_is_noted_once_whatever_the_scheduler_is_killed_at(step: str, number: int) -> None:
    world = World()
    world.scripts._default = GOOD
    world.crash_at(step, number)
    world.add("row1", "row2", "row3")
    world.finish(downtime_s=3.0)
    world.run(10.0)
    assert emptied(world) == [{"succeeded": 3}]


def test_ram_that_ran_out_is_promised_to_it_the_next_time() -> None:
    killed = OutOfMemory(where="ram", line="Out of memory: Killed process 7", evidence="kernel log", signal=9)
    big = [Script(duration_s=2.0, outcome=killed, peak_rss_mib=6_000.0), GOOD]
    world = World({"big": big, "other": Script(duration_s=60.0)}, gpus=2)
    world.engine.room.rules = msgspec.structs.replace(world.engine.room.rules, machine_mib=16_000)
    world.add("other", needs={"memory_mib": 8_000})
    world.add("big")
    world.run(20.0)
    assert world.job("big").memory_mib == 9_000
    assert world.starts("big") == 1, "beside the other there is no room for what it needs"
    world.finish()
    assert world.outcomes("big") == ["OutOfMemory", "Exited"]
