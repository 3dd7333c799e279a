"""Cancel, requeue, hold and release in every state a job can be in, alone and one after the other, crashes between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from researchflow_tmux.domain.attempt import Exited
from researchflow_tmux.simulation.script import Script
from tests.scenario.world import World

BAD = Exited(code=1, succeeded=False)


def held(world: World) -> None:
    world.add("a", held=True)
    world.run(1.0)


def queued(world: World) -> None:
    world.add("block", priority=1)
    world.add("a")
    world.run(1.0)


def planned(world: World) -> None:
    world.store.fail_next_commit()
    world.add("a")
    world.step()


def launching(world: World) -> None:
    world.scripts.set("a", Script(claim_delay_s=8.0, duration_s=5.0))
    world.add("a")
    world.run(1.0)


def lost_in_launch(world: World) -> None:
    world.host.faults.silent = "no answer"
    world.add("a")
    world.run(1.0)
    world.host.faults.silent = None


def running(world: World) -> None:
    world.add("a")
    world.run(2.0)


def stopping(world: World) -> None:
    world.scripts.set("a", Script(duration_s=None, stop_delay_s=3.0), Script(duration_s=5.0))
    world.add("a")
    world.run(2.0)
    world.tell("cancel", "a")
    world.step()


def backoff(world: World) -> None:
    world.scripts.set("a", Script(duration_s=1.0, outcome=BAD), Script(duration_s=5.0))
    world.add("a", retries=1)
    world.run(2.0)


def succeeded(world: World) -> None:
    world.scripts.set("a", Script(duration_s=1.0), Script(duration_s=5.0))
    world.add("a")
    world.run(2.0)


def failed(world: World) -> None:
    world.scripts.set("a", Script(duration_s=1.0, outcome=BAD), Script(duration_s=5.0))
    world.add("a")
    world.run(2.0)


def cancelled(world: World) -> None:
    queued(world)
    world.tell("cancel", "a")
    world.run(1.0)


STATES: dict[Callable[[World], None], dict[str, str]] = {
    # how it is when asked: what becomes of it in the end, by what was asked
    held: {"cancel": "cancelled", "requeue": "held", "hold": "held", "release": "succeeded"},
    queued: {"cancel": "cancelled", "requeue": "succeeded", "hold": "held", "release": "succeeded"},
    planned: {"cancel": "cancelled", "requeue": "succeeded", "hold": "succeeded", "release": "succeeded"},
    launching: {"cancel": "cancelled", "requeue": "succeeded", "hold": "succeeded", "release": "succeeded"},
    lost_in_launch: {"cancel": "cancelled", "requeue": "succeeded", "hold": "succeeded", "release": "succeeded"},
    running: {"cancel": "cancelled", "requeue": "succeeded", "hold": "succeeded", "release": "succeeded"},
    stopping: {"cancel": "cancelled", "requeue": "succeeded", "hold": "cancelled", "release": "cancelled"},
    backoff: {"cancel": "cancelled", "requeue": "succeeded", "hold": "held", "release": "succeeded"},
    succeeded: {"cancel": "succeeded", "requeue": "succeeded", "hold": "succeeded", "release": "succeeded"},
    failed: {"cancel": "failed", "requeue": "succeeded", "hold": "failed", "release": "failed"},
    cancelled: {"cancel": "cancelled", "requeue": "succeeded", "hold": "cancelled", "release": "cancelled"},
}
CASES = [(state, kind, end) for state, ends in STATES.items() for kind, end in ends.items()]


@pytest.mark.parametrize("crash", [None, "observed", "planned", "before commit", "after commit", "after fence"])
@pytest.mark.parametrize(("state", "kind", "end"), CASES)
def test_asked_once(state: Callable[[World], None], kind: str, end: str, crash: str | None) -> None:
    world = World(gpus=1)
    state(world)
    world.tell(kind, "a")
    if crash is not None:
        world.crash_at(crash, world.passes[crash] + 1)
    world.run(200.0)
    # A plan that was not durable is none after a crash: the job is queued then, and can be held.
    also = "held" if (state, kind) == (planned, "hold") and crash else end
    assert world.states()["a"] in (end, also)


@pytest.mark.parametrize(
    ("kinds", "end"),
    [
        (["cancel", "requeue"], "succeeded"),
        (["requeue", "cancel"], "cancelled"),
        (["requeue", "cancel", "requeue"], "succeeded"),
        (["cancel", "cancel"], "cancelled"),
        (["cancel", "hold"], "cancelled"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("state", [launching, running])
def test_the_last_word_counts(state: Callable[[World], None], kinds: list[str], end: str, together: bool) -> None:
    world = World(gpus=1)
    world.scripts.set("a", Script(duration_s=60.0, stop_delay_s=3.0), Script(duration_s=5.0))
    state(world)
    for kind in kinds:
        world.tell(kind, "a")
        if not together:
            world.step()
    world.run(200.0)
    assert world.states()["a"] == end


def test_requeued_from_backoff_starts_at_once() -> None:
    world = World(retry_delay_s=1000.0)
    backoff(world)
    assert world.states()["a"] == "queued"
    world.tell("requeue", "a")
    world.finish(limit_s=30.0)
    assert world.states()["a"] == "succeeded"


def test_a_requeued_running_job_has_all_its_retries_again() -> None:
    world = World()
    world.scripts.set("a", Script(duration_s=1.0, outcome=BAD), Script(duration_s=None), Script(duration_s=1.0))
    world.add("a", retries=1)
    world.run(20.0)
    assert world.job("a").retries_used == 1
    world.tell("requeue", "a")
    world.finish()
    assert world.job("a").retries_used == 0


def test_a_runner_that_does_not_stop_is_killed_for_good() -> None:
    world = World({"a": Script(duration_s=None, stop_delay_s=10_000.0)})
    world.add("a")
    world.run(5.0)
    world.tell("cancel", "a")
    world.finish(limit_s=world.rules.stop_grace_s + 60.0)
    assert world.states()["a"] == "cancelled"


def test_cancelling_skips_what_waits_and_requeueing_revives_it() -> None:
    world = World()
    world.add("a")
    world.add("b", after=["a"])
    world.add("c", after=["b"], held=True)
    world.run(2.0)
    world.tell("cancel", "a")
    world.run(10.0)
    assert world.states() == {"a": "cancelled", "b": "skipped", "c": "skipped"}
    world.tell("requeue", "a")
    world.finish()
    assert set(world.states().values()) == {"succeeded"}


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c", "b", "a")])
def test_a_chain_named_whole_is_cancelled_and_requeued_whole(names: tuple[str, ...]) -> None:
    world = World()
    world.add("a", held=True)
    world.add("b", after=["a"])
    world.add("c", after=["b"], held=True)
    world.step()
    world.tell("cancel", *names)
    world.step()
    assert world.states() == {"a": "cancelled", "b": "cancelled", "c": "cancelled"}
    world.tell("requeue", *names)
    world.finish()
    assert set(world.states().values()) == {"succeeded"}


def test_a_skipped_chain_named_whole_is_requeued_whole() -> None:
    world = World({"a": (Script(duration_s=1.0, outcome=BAD), Script(duration_s=1.0))})
    world.add("a")
    world.add("b", after=["a"])
    world.add("c", after=["b"])
    world.finish()
    world.tell("requeue", "a", "b", "c")
    world.finish()
    assert set(world.states().values()) == {"succeeded"}


def test_a_request_is_answered_once_and_only_when_it_is_durable() -> None:
    world = World(gpus=1)
    world.store.fail_next_commit(times=2)
    request = world.add("a")
    world.step()
    assert world.store.reply(request) is None
    world.finish()
    reply = world.store.reply(request)
    assert reply is not None
    assert reply["queued"] == ["a"]


@pytest.mark.parametrize("body", [{}, {"drafts": 3}, {"drafts": [{"spec": {}}]}, {"ids": [1]}])
def test_a_request_that_makes_no_sense_is_answered_in_words(body: dict[str, object]) -> None:
    world = World()
    asked = [world.ask("submit", body), world.ask("dance", body)]
    world.step()
    for request in asked:
        reply = world.store.reply(request)
        assert reply is not None
        assert "error" in reply
