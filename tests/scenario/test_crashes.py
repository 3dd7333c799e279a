"""The scheduler is killed at every point where it could be, over a run of jobs of every kind."""

from __future__ import annotations

from collections import Counter

import pytest

from researchflow_tmux.domain.attempt import Exited, Lost, SlotTaken, TimedOut
from researchflow_tmux.ports import LaunchRefused
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_history
from tests.scenario.world import World

BAD = Exited(code=1, succeeded=False)
SCRIPTS: dict[str, Script | tuple[Script, ...]] = {
    "long": Script(duration_s=40.0),
    "quick": Script(duration_s=0.5),
    "slow-claim": Script(duration_s=5.0, claim_delay_s=2.0),
    "fails": Script(duration_s=3.0, outcome=BAD),
    "flaky": (Script(duration_s=2.0, outcome=BAD), Script(duration_s=2.0)),
    "lost": Script(duration_s=4.0, outcome=Lost(), survivors=2),
    "taken": (Script(duration_s=0.1, outcome=SlotTaken(reason="bob")), Script(duration_s=2.0)),
    "limit": Script(duration_s=6.0, outcome=TimedOut(limit_s=6.0)),
    "stopped": Script(duration_s=None, stop_delay_s=1.0),
    "again": (Script(duration_s=None), Script(duration_s=3.0)),
}
EXPECTED = {
    "long": "succeeded",
    "quick": "succeeded",
    "slow-claim": "succeeded",
    "fails": "failed",
    "child": "skipped",
    "flaky": "succeeded",
    "heir": "succeeded",
    "lost": "failed",
    "taken": "succeeded",
    "limit": "failed",
    "stopped": "cancelled",
    "again": "succeeded",
    "wide": "succeeded",
    "cpu": "succeeded",
    "gone": "failed",
    "waits": "cancelled",
    "refused": "succeeded",
}


def mixed(*, deaf: bool = False) -> World:
    """Jobs of every kind on two GPUs, and people who change their minds at fixed times."""
    world = World(SCRIPTS, jobs_per_gpu=2, deaf=deaf)
    world.host.faults.vanished.add("gone")
    world.host.foreign.add("t_quick_gpu0")
    world.add("stopped", "again", "long", "quick", "slow-claim", "fails", "lost", "taken", "limit", "gone")
    world.add("flaky", retries=2)
    world.add("child", after=["fails"])
    world.add("heir", after=["flaky"])
    world.add("wide", gpus=2, priority=1)
    world.add("cpu", gpus=0)
    world.add("waits", held=True)

    def refuse() -> None:
        world.host.faults.refuse, world.host.faults.refuse_count = LaunchRefused(why="no pty", host=True), 1
        world.add("refused", priority=5)

    # By request numbers: a request whose answer was lost is answered again, not asked again.
    world.at(35.0, lambda: world.tell("cancel", "stopped"))
    world.at(35.0, lambda: world.tell("requeue", "again"))
    world.at(36.0, lambda: world.tell("release", "waits"))
    world.at(36.0, lambda: world.tell("hold", "waits"))
    world.at(37.0, lambda: world.tell("cancel", "waits"))
    world.at(38.0, refuse)
    return world


def finished(world: World) -> World:
    world.finish(limit_s=600.0)
    return world


def points() -> list[tuple[str, int]]:
    """Every pass of every named step, and the moments before and after every effect, of an undisturbed run."""
    passes = finished(mixed()).passes
    return [(step, number) for step, count in sorted(passes.items()) for number in range(1, count + 1)]


def test_undisturbed() -> None:
    world = finished(mixed())
    assert world.states() == EXPECTED
    check_history(world)
    assert {"observed", "planned", "intent saved", "launched", "acted"} <= set(world.passes)


@pytest.mark.parametrize(("downtime_s", "every"), [(0.0, 1), (20.0, 3)])
def test_a_crash_anywhere_loses_and_repeats_nothing(downtime_s: float, every: int) -> None:
    expected = starts(finished(mixed()))
    everywhere = points()
    assert len(everywhere) > 150, "the run passes all kinds of points"
    for step, number in everywhere[::every]:
        world = mixed()
        world.crash_at(step, number)
        try:
            world.finish(limit_s=600.0, downtime_s=downtime_s)
            assert world.states() == EXPECTED
            assert not starts(world) - expected, "no job starts more often than undisturbed"
            missing = expected - starts(world)
            assert missing.total() <= 1, f"{missing}: only the launch that tmux refuses may be another job's now"
        except AssertionError as error:
            raise AssertionError(f"after a crash at pass {number} of {step!r}: {error}") from error


def starts(world: World) -> Counter[str]:
    """How often each job started."""
    return Counter(world.engine.workload.jobs[key[0]].name for key in world.host.starts)
