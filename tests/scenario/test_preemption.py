"""Running jobs make room for one with a deadline, and go on later."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from researchflow_tmux.domain.attempt import PREEMPTED, Killed, Stopping
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.by_hand import stop_attempt
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.policies.planning.preemption import MOST_TIMES, PreemptRules
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_history
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


def test_one_whose_runner_could_not_read_who_asked_has_made_room_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World({"a": [Script(duration_s=None, stop_delay_s=3.0), Script(duration_s=5.0)]}, gpus=1)
    world.add("a")
    world.run(2.0)
    world.add("b")
    world.run(1.0)
    stop = world.host.stop
    monkeypatch.setattr(world.host, "stop", lambda attempt, _by, reason: stop(attempt, "signal", reason))
    stop_for(world, "a", "b")
    world.run_until(lambda: world.job("a").preemptions == 1)
    world.finish()
    assert (world.starts("a"), world.state("a")) == (2, JobState.SUCCEEDED)


# -- with a policy that decides whom to stop ---------------------------------------------------------------------------

MAY_STOP = {"preemptible": True}
QUICK = PreemptRules(save_s=20.0, stop_s=2.0, after_s=30.0)
BEGINS_S = 300.0 - 1.25 * 100.0 - 22.0
"""When room has to be made for a job of 100 s that is due at 300 s."""


def crowded(gpus: int = 2, *, due_s: float = 300.0, wide: int = 1, **options: Any) -> World:
    """Every GPU runs a job of 2 000 s that may be stopped; a job of 100 s with a deadline waits."""
    scripts = {f"long{number}": [Script(duration_s=2000.0, stop_delay_s=5.0)] for number in range(gpus)}
    world = World(scripts | {"paper": Script(duration_s=90.0)}, gpus=gpus, policy="balanced", preempt=QUICK, **options)
    for number in range(gpus):
        world.add(f"long{number}", spec=MAY_STOP, needs={"time_limit_s": 2000.0})
    world.at(1.0, lambda: add_urgent(world, "paper", due_s=due_s - 1.0, gpus=wide))
    return world


def add_urgent(world: World, name: str, *, due_s: float, gpus: int = 1, takes_s: float = 100.0, **fields: Any) -> None:
    deadline = world.clock.now() + timedelta(seconds=due_s)
    world.add(name, gpus=gpus, needs={"time_limit_s": takes_s}, deadline=deadline, **fields)


def stopped(world: World) -> dict[str, int]:
    """How often each job was stopped for another one."""
    return {job.name: job.preemptions for job in world.jobs() if job.preemptions}


def late(world: World, name: str) -> bool:
    job = world.job(name)
    assert job.ended_at is not None
    assert job.spec.deadline is not None
    return job.ended_at > job.spec.deadline


def test_room_is_made_when_it_has_to_be_and_whoever_made_it_goes_on() -> None:
    world = crowded()
    world.run(BEGINS_S - 5.0)
    assert (world.state("paper"), stopped(world)) == (JobState.QUEUED, {})
    world.run_until(lambda: world.state("paper").ended)
    assert not late(world, "paper")
    assert len(stopped(world)) == 1
    world.finish(limit_s=10_000.0)
    assert set(world.states().values()) == {"succeeded"}
    assert sum(stopped(world).values()) == 1
    check_history(world)


def test_what_is_opened_is_kept_although_others_come_before() -> None:
    """Two jobs end at different times; what becomes free first goes to nobody else meanwhile."""
    world = crowded(wide=2)
    world.scripts.set("long0", Script(duration_s=2000.0, stop_delay_s=1.0))
    world.scripts.set("long1", Script(duration_s=2000.0, stop_delay_s=15.0))
    world.at(9.0, lambda: world.add("passer", "passer2", priority=9, needs={"time_limit_s": 5.0}))
    world.run_until(lambda: bool(stopped(world)), limit_s=400.0)
    assert stopped(world) == {"long0": 1}
    world.run(5.0)
    assert [world.state(name) for name in ("passer", "passer2", "long0")] == [JobState.QUEUED] * 3
    reasons = world.engine.choice.explain(world.engine.look(), world.clock.now())
    assert str(reasons[world.job("passer").id]).endswith("when paper should have ended")
    made = str(reasons[world.job("paper").id])
    assert made.startswith("is being given room: long1 saves itself and stops")
    world.run_until(lambda: world.state("paper") is JobState.ACTIVE, limit_s=60.0)
    assert stopped(world) == {"long0": 1, "long1": 1}
    world.finish(limit_s=20_000.0)
    assert not late(world, "paper")


@pytest.mark.parametrize(
    "change",
    [
        {"preemptible": False},
        {"project": "a"},  # of weight 2 of 3: it has no more than its share
        {"deadline": 700.0},
        {"due_s": 120.0},  # late all the same, once they have stopped
        {"busy_s": 200.0},  # ends by itself in time
    ],
)
def test_nobody_is_stopped(change: dict[str, Any]) -> None:
    busy_s = change.get("busy_s", 2000.0)
    scripts = {"long": Script(duration_s=busy_s, stop_delay_s=5.0), "paper": Script(duration_s=90.0)}
    world = World(scripts, gpus=3, policy="balanced", preempt=QUICK)
    deadline = change.get("deadline")
    due = None if deadline is None else world.clock.now() + timedelta(seconds=deadline)
    preemptible, project = change.get("preemptible", True), change.get("project")
    for number in range(2):
        world.scripts.set(f"long{number}", scripts["long"])
        world.add(
            f"long{number}",
            spec={"preemptible": preemptible},
            project=project,
            deadline=due,
            needs={"time_limit_s": busy_s},
        )
    world.add("fixed", needs={"time_limit_s": 2000.0}, project="b")
    world.run(20.0 if "due_s" in change else 1.0)
    add_urgent(world, "paper", due_s=change.get("due_s", 299.0), project="b")
    world.finish(limit_s=20_000.0)
    assert stopped(world) == {}
    assert set(world.states().values()) == {"succeeded"}


def test_the_same_job_is_stopped_at_most_four_times_and_less_often_each_time() -> None:
    world = World({"long": Script(duration_s=9000.0)}, gpus=1, policy="balanced", preempt=QUICK)
    world.add("long", spec=MAY_STOP, needs={"time_limit_s": 9000.0})
    stops: list[float] = []
    for number in range(60):
        world.scripts.set(f"u{number}", Script(duration_s=9.0))
        add_urgent(world, f"u{number}", due_s=150.0, takes_s=10.0)
        before = world.job("long").preemptions if number else 0
        world.run(60.0)
        if world.job("long").preemptions > before:
            stops.append(world.virtual.monotonic())
    assert len(stops) == MOST_TIMES
    gaps = [later - earlier for earlier, later in pairwise(stops)]
    assert gaps == sorted(gaps)
    world.finish(limit_s=20_000.0)
    assert set(world.states().values()) == {"succeeded"}, "those that were late run when the machine is free"


def emergency() -> World:
    """Two jobs make room for a wide one, and go on for 100 s after it."""
    world = crowded(wide=2)
    for number in range(2):
        world.scripts.set(
            f"long{number}", Script(duration_s=2000.0, stop_delay_s=4.0 + number), Script(duration_s=100.0)
        )
    world.at(9.0, lambda: world.add("passer", priority=9, needs={"time_limit_s": 5.0}))
    return world


def window() -> list[tuple[str, int]]:
    """Every crash point from right before room has to be made to right after it was used."""
    world = emergency()
    world.run(BEGINS_S - 3.0)
    before = dict(world.passes)
    world.run_until(lambda: world.state("paper") is JobState.ACTIVE, limit_s=60.0)
    world.run(2.0)
    return [
        (step, n) for step, count in sorted(world.passes.items()) for n in range(before.get(step, 0) + 1, count + 1)
    ]


@pytest.mark.parametrize("downtime_s", [0.0, 3.0])
def test_wherever_the_scheduler_is_killed_room_is_made_once_and_nobody_is_lost(downtime_s: float) -> None:
    points = window()
    assert {"before stop", "after stop", "intent saved", "after commit"} <= {step for step, _ in points}
    for step, number in points:
        world = emergency()
        world.crash_at(step, number)
        try:
            world.finish(limit_s=3000.0, downtime_s=downtime_s)
            assert set(world.states().values()) == {"succeeded"}
            assert stopped(world) == {"long0": 1, "long1": 1}
            assert not late(world, "paper")
            assert [world.starts(name) for name in ("long0", "long1", "paper", "passer")] == [2, 2, 1, 1]
            assert world.job("passer").started_at > world.job("paper").started_at  # type: ignore[operator]
        except AssertionError as error:
            raise AssertionError(f"after a crash at pass {number} of {step!r}: {error}") from error


def test_a_job_that_cannot_be_killed_is_no_reason_to_stop_the_next_at_once() -> None:
    world = crowded(3)
    for number in range(3):
        world.scripts.set(f"long{number}", Script(duration_s=2000.0, stop_delay_s=15.0))
    world.run_until(lambda: any(isinstance(a.phase, Stopping) for a in world.engine.workload.attempts.values()))
    world.run(10.0)
    assert sum(isinstance(a.phase, Stopping) for a in world.engine.workload.attempts.values()) == 1


def test_whoever_saved_last_loses_least_and_is_stopped() -> None:
    world = crowded(3)
    world.scripts.set("long1", Script(duration_s=2000.0, saves_every_s=20.0))
    world.scripts.set("long2", Script(duration_s=2000.0, saves_every_s=100.0))
    world.run_until(lambda: bool(stopped(world)), limit_s=400.0)
    assert stopped(world) == {"long1": 1}


def test_several_urgent_jobs_at_once_leave_a_project_its_share() -> None:
    """Two of four GPUs are its share: of three that want room, two get it. What ends for them counts once."""
    world = World(gpus=4, policy="balanced", preempt=QUICK)
    for number in range(4):
        world.scripts.set(f"long{number}", Script(duration_s=2000.0, stop_delay_s=5.0))
        world.add(f"long{number}", project="c", spec=MAY_STOP, needs={"time_limit_s": 2000.0})
    world.run(1.0)
    for number in range(3):
        world.scripts.set(f"u{number}", Script(duration_s=90.0))
        add_urgent(world, f"u{number}", due_s=299.0)
    world.run(340.0)
    assert sum(stopped(world).values()) == 2
    world.finish(limit_s=20_000.0)
    assert sum(not late(world, f"u{number}") for number in range(3)) == 2
    assert set(world.states().values()) == {"succeeded"}
