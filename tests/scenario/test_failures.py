"""Jobs that fail again and again, and jobs that run out of memory: what becomes of them, and of all the others."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.attempt import Exited, OutOfMemory
from researchflow_tmux.domain.events import AttemptPlanned
from researchflow_tmux.domain.job import JobState
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
    world.add("bad", retries=30)
    world.add(*(f"row{i}" for i in range(20)))
    world.finish(limit_s=200_000.0)
    starts = order_of_starts(world)
    assert starts[0] == "bad"
    assert starts[1:21] == [f"row{i}" for i in range(20)], "every other job ran before its second attempt"
    assert starts.count("bad") == 31
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
