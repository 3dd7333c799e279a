"""Clocks that jump, priorities that contradict, deadlines in the past, requests that cannot be met: all are named, and
the queue goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.simulation.clock import EPOCH
from researchflow_tmux.testing import World

Make = Callable[..., World]
SOME = ["balanced", "fifo", "queue"]
"""One with everything, one without backfill, and none at all."""

HOUR = 3600.0
JUMPS = [timedelta(hours=5), timedelta(hours=-5), timedelta(days=4000), timedelta(days=-4000), timedelta(days=40_000)]


def said(world: World, words: str) -> list[str]:
    return [text for text in world.notices() if words in text]


# Clocks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", JUMPS, ids=str)
@pytest.mark.parametrize("policy", SOME)
def test_a_clock_that_jumps_is_told_once_and_stops_nothing(rfsched_world: Make, policy: str, jump: timedelta) -> None:
    world = rfsched_world(gpus=2, policy=policy, projects={"p": {"weight": 2.0}, "q": {"gpu_hours": 200.0}})
    for number in range(8):
        project = "pq"[number % 2]
        deadline = "9h" if number % 4 == 0 else None
        world.submit(f"j{number}", gpus=number % 2 + 1, takes="1h", project=project, deadline=deadline, time_limit="2h")
    world.advance("90m")
    world.clock.offset += jump
    world.advance("1h")
    assert len(said(world, "the machine's clock went")) == 1
    planner = world.engine.choice.planner
    if planner is not None:
        used = planner.index.usage.all_used(world.clock.now().timestamp())
        assert all(0 <= amount < 1e6 and math.isfinite(amount) for amount in used.values())
    world.clock.offset -= jump
    world.run_until_idle("3d")
    assert set(world.states().values()) == {"succeeded"}, "the queue went on"
    assert len(said(world, "the machine's clock went")) == 2
    assert world.policy_trouble is None, "no policy raised"


def test_a_clock_that_jumps_does_not_make_jobs_longer_or_put_reservations_off(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=2, policy="balanced", known=False)
    world.submit("a", takes="2h", group="g", project="p")
    world.submit("short", takes="1h")
    world.advance("30m")
    world.submit("wide", gpus=2, takes="1h")
    world.advance("1m")
    planner = world.engine.choice.planner
    assert planner is not None
    world.clock.offset += timedelta(days=10)
    world.advance("1m")
    begun_s = [stay.ends_s for stay in planner.index.stays(world.clock.now().timestamp())]
    left_s = [ends_s - world.clock.now().timestamp() for ends_s in begun_s]
    assert all(0 < each <= HOUR for each in left_s), "an hour is assumed for each, of which half is over"
    promise = planner._promises[world.job("wide").id]
    assert abs(promise.first_s - world.clock.now().timestamp()) < HOUR, "10 days more are no delay"
    world.run_until_idle()
    used = planner.index.usage.all_used(world.clock.now().timestamp())
    assert used["p"] == pytest.approx(2 * HOUR, rel=0.02), "not 10 days"
    world.submit("a2", takes="2h", group="g", project="p")
    world.submit("b", takes="2h", group="g", project="p")
    world.run_until_idle()
    assert planner.index.estimate(world.job("b")).p50_s < 3 * HOUR


# Priorities -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["balanced", "fifo", "sjf", "makespan"])
def test_what_a_job_of_higher_priority_needs_has_that_priority_too(rfsched_world: Make, policy: str) -> None:
    world = rfsched_world(gpus=1, policy=policy)
    world.submit("now", takes="1h")
    world.advance("1m")
    world.submit("prepare", priority=-3, takes="1h")
    world.submit("between", priority=5, takes="1h")
    world.submit("step", after=["prepare"], takes="1h")
    world.submit("urgent", after=["step"], priority=9, takes="1h")
    world.run_until_idle()
    assert world.started == ["now", "prepare", "step", "urgent", "between"]
    told = said(world, "what is needed waits its own turn")
    assert [text.partition(":")[0] for text in told] == [
        "step (priority 0) needs prepare (priority -3)",
        "urgent (priority 9) needs step (priority 0)",
    ]


def test_a_priority_that_is_gone_is_not_passed_on_any_more(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, policy="fifo")
    world.submit("now", takes="1h")
    world.advance("1m")
    world.submit("prepare")
    world.submit("between", priority=5)
    world.submit("urgent", after=["prepare"], priority=9)
    world.advance("1m")
    world.cancel("urgent")
    world.run_until_idle()
    assert world.started == ["now", "between", "prepare"]


def test_many_contradictions_of_one_kind_are_one_sentence(rfsched_world: Make) -> None:
    world = rfsched_world()
    world.submit("prepare")
    world.submit(*(f"j{number}" for number in range(9)), after=["prepare"], priority=1)
    world.run_until_idle()
    told = said(world, "needs prepare")
    assert len(told) == 1
    assert "j2 (priority 1) needs prepare (priority 0) and 6 more jobs: by the order" in told[0]


def test_a_need_that_is_due_later_is_told(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1)
    world.submit("prepare", deadline="20h")
    world.submit("paper", after=["prepare"], deadline="10h", takes="1h")
    world.run_until_idle()
    assert len(said(world, "what is needed counts as due before what needs it")) == 1


# Deadlines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", SOME)
def test_a_deadline_in_the_past_is_named_and_the_job_runs(rfsched_world: Make, policy: str) -> None:
    world = rfsched_world(gpus=1, policy=policy)
    world.submit("now", takes="1h")
    world.advance("1m")
    world.submit("late", deadline=EPOCH - timedelta(days=1), takes="1h")
    world.submit("other", takes="1h")
    world.advance("1m")
    assert len(said(world, "late (due 2025-12-31")) == 1
    if POLICIES.get(policy) is not None and POLICIES[policy].urgent:
        reason = world.reason("late")
        assert reason is not None
        assert reason.code is ReasonCode.DEADLINE
    world.run_until_idle()
    assert set(world.states().values()) == {"succeeded"}


# Requests that cannot be met ------------------------------------------------------------------------------------------

IMPOSSIBLE: list[dict[str, Any]] = [
    {"gpus": 8},
    {"gpu_memory_mib": 10**6},
    {"pinned": (7,)},
    {"gpu_type": "H999"},
    {"cpus": 500},
    {"memory_mib": 10**8},
    {"project": "none", "gpus": 1},
    {"project": "few", "gpus": 3},
    {"project": "broke", "time_limit": "5h"},
]


@pytest.mark.parametrize("asked", IMPOSSIBLE, ids=str)
@pytest.mark.parametrize("policy", SOME)
def test_what_cannot_be_met_is_named_and_nobody_waits_for_it(
    rfsched_world: Make, policy: str, asked: dict[str, Any]
) -> None:
    projects = {"none": {"max_gpus": 0}, "few": {"max_gpus": 2}, "broke": {"gpu_hours": 0.0}}
    rules = RoomRules(cores=tuple(range(16)), machine_mib=64 * 1024)
    world = rfsched_world(gpus=4, policy=policy, projects=projects, room=rules, sizes_mib=(24_000,) * 4)
    world.submit("never", takes="1h", priority=9, **asked)
    world.submit("a", "b", takes="1h", gpus=2)
    world.submit("cpu", takes="1h", gpus=0)
    world.submit("c", takes="1h", gpus=4)
    world.run_until(lambda: all(world.state(name) == "succeeded" for name in ("a", "b", "cpu", "c")), limit_s=4 * HOUR)
    reason = world.reason("never")
    assert reason is not None
    assert reason.code in (ReasonCode.IMPOSSIBLE, ReasonCode.BUDGET, ReasonCode.CAP), reason
    assert str(reason) != ""
    world.cancel("never")
    world.run_until_idle()


# Circles and what is not there ----------------------------------------------------------------------------------------


def test_needs_in_a_circle_and_needs_that_are_not_there_are_refused_and_the_others_run(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1)
    world.submit("good", takes="1h")
    dangling = world.add("x", after=["nobody"])
    world.submit("good2", takes="1h", after=["good"])
    world.run_until_idle()
    reply = world.store.reply(dangling)
    assert reply is not None
    assert reply["problems"] == ["x: waits for 'nobody', and there is no job of that name"]
    assert world.states() == {"good": "succeeded", "good2": "succeeded"}
    itself = world.add("y", after=["y"])
    world.tick()
    reply = world.store.reply(itself)
    assert reply is not None
    assert reply["problems"] == ["jobs wait for each other in a circle: y → y"]
    assert isinstance(world.engine.workload, Workload)


def test_what_is_set_by_hand_and_contradicts_is_told(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, policy="fifo")
    world.submit("now", takes="1h")
    world.advance("1m")
    world.submit("prepare")
    world.submit("between", priority=1)
    world.submit("last", after=["prepare"])
    world.advance("1m")
    world.ask("set", {"ids": [world.job("last").id], "values": {"priority": 5}})
    world.run_until_idle()
    assert len(said(world, "last (priority 5) needs prepare (priority 0)")) == 1
    assert world.started == ["now", "prepare", "last", "between"]
