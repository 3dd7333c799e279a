"""Running jobs make room for one with a deadline, and go on later."""

from __future__ import annotations

from researchflow_tmux.domain.attempt import PREEMPTED, Killed
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.by_hand import stop_attempt
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.simulation.script import Script
from tests.scenario.world import World


def stop_for(world: World, victim: str, urgent: str) -> None:
    """As the engine stops a job to make room."""
    book = Book(world.engine.workload, world.clock.now())
    stop_attempt(book, world.job(victim), by=PREEMPTED, grace_s=2.0, save_s=60.0, room_for=world.job(urgent).id)


def test_a_job_that_made_room_is_where_it_was_in_the_queue_and_goes_on() -> None:
    world = World({"a": [Script(duration_s=None, stop_delay_s=3.0), Script(duration_s=5.0)]}, gpus=1)
    world.add("a")
    world.run(2.0)
    world.add("b")
    world.run(1.0)
    queued_at = world.job("a").queued_at
    stop_for(world, "a", "b")
    world.run_until(lambda: world.job("a").preemptions == 1)
    assert (world.job("a").queued_at, world.job("a").retries_used) == (queued_at, 0)
    ended = world.store.attempts_of(1)[0].phase
    assert getattr(ended, "outcome", None) == Killed(by=PREEMPTED, signal=15, room_for="b")
    world.finish()
    assert (world.starts("a"), world.state("a")) == (2, JobState.SUCCEEDED)


def test_one_that_was_through_has_succeeded_and_one_that_is_cancelled_meanwhile_is_cancelled() -> None:
    world = World({"a": Script(duration_s=4.0, stop_delay_s=10.0), "c": Script(duration_s=None, stop_delay_s=8.0)})
    world.add("a", "c")
    world.add("b")
    world.run(2.0)
    stop_for(world, "a", "b")
    stop_for(world, "c", "b")
    world.run(1.0)
    world.tell("cancel", "c")
    world.finish()
    assert world.states() == {"a": "succeeded", "c": "cancelled", "b": "succeeded"}
    assert (world.starts("a"), world.starts("c")) == (1, 1)
