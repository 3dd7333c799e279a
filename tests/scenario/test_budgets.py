"""Budgets hold whatever happens: to jobs, runners, schedulers, clocks, and to the budgets themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from msgspec.structs import replace

from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.attempt import AttemptKey, Exited, Lost
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.simulation.script import Script
from tests.scenario.budgets import check_budgets, owner, really_used
from tests.scenario.invariants import check_history, check_invariants
from tests.scenario.world import World

A, B, ANN = owner("project a"), owner("project b"), owner("user ann")
HOUR = 3600.0
ENDLESS = Script(duration_s=None, stop_delay_s=1.0)


class BudgetWorld(World):
    """Checks after every step what was really used."""

    counted = True

    def __init__(self, accounts: dict[Owner, Bounds], **options: Any) -> None:
        self.most = {who: each.gpu for who, each in accounts.items() if each.gpu is not None and each.period == "total"}
        super().__init__(accounts=accounts, **options)

    def begin(self, *names: str, **options: Any) -> None:
        """Jobs come, and the first ones run."""
        self.add(*names, **options)
        self.run(1.0)

    def limit(self, owner: Owner, bounds: Bounds) -> None:
        if bounds.gpu is not None and owner in self.most:
            self.most[owner] = max(self.most[owner], bounds.gpu)
        super().limit(owner, bounds)

    def check(self) -> None:
        super().check()
        if self.counted:
            check_budgets(self, self.most)


def total(gpu: float, **caps: Any) -> Bounds:
    return Bounds(gpu=gpu, period="total", **caps)


def left(world: World, who: Owner) -> float:
    account = world.engine.context.accounting.accounts(world.clock.now()).get(who)
    assert account is not None
    return account.left("gpu")


def reason(world: World, name: str) -> tuple[str, str]:
    found = world.engine.choice.explain(world.engine.look(), world.clock.now())
    one = found.get(world.job(name).id) or world.job(name).reason
    assert one is not None
    return str(one.code), one.text


# -- one history at a time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, "balanced", "fifo"])
def test_a_job_ends_before_its_budget_does_is_held_and_goes_on_after_a_top_up(policy: str | None) -> None:
    world = BudgetWorld({A: total(0.1)}, policy=policy, scripts={"long": [ENDLESS, Script(duration_s=5.0)]})
    world.begin("long", project="a", retries=0)
    world.run_until(lambda: world.state("long") is JobState.HELD)
    assert world.outcomes("long") == ["Killed"]
    assert 0.1 - world.stop_s / HOUR <= really_used(world, A)["total"] <= 0.1
    assert reason(world, "long")[0] == "budget"
    world.run(600.0)
    assert world.state("long") is JobState.HELD
    world.limit(A, total(1.0))
    world.run_until(lambda: world.state("long") is JobState.SUCCEEDED)
    assert world.job("long").attempts == 2
    assert world.job("long").retries_used == 0
    check_history(world)


def test_more_is_granted_while_it_runs_and_the_rest_is_given_back() -> None:
    world = BudgetWorld({A: total(10.0)}, scripts={"long": Script(duration_s=3 * HOUR)})
    world.begin("long", project="a")
    world.run(1.0)
    assert left(world, A) == pytest.approx(10.0 - 1.0 - world.stop_s / HOUR)
    world.run_until(lambda: world.state("long") is JobState.SUCCEEDED, limit_s=4 * HOUR)
    assert world.starts("long") == 1
    assert left(world, A) == pytest.approx(7.0, abs=0.001)


def test_what_has_no_budget_waits_and_says_what_it_needs_and_when_there_is_more() -> None:
    world = BudgetWorld({A: Bounds(gpu=2.0, period="day")}, gpus=4, known_s=lambda _job: HOUR, sweep_s=300.0)
    world.scripts.set("one", Script(duration_s=1.5 * HOUR))
    world.add("one", "two", "three", project="a", needs={"time_limit_s": 1.5 * HOUR})
    world.run(5.0)
    assert world.states() == {"one": "running", "two": "queued", "three": "queued"}
    code, text = reason(world, "two")
    assert code == "budget"
    assert text.endswith("of 2 left until 2026-01-02 (1.518 granted to what runs), 1.5 GPU-hours needed (gpu_hours)")
    world.run_until(lambda: world.state("two") is JobState.ACTIVE, limit_s=25 * HOUR)
    assert 23.5 * HOUR <= world.virtual.monotonic() <= 23.5 * HOUR + 2.0, "half an hour of it is of the next day"


def test_a_budget_of_nothing_and_one_that_is_too_small_are_told_at_once() -> None:
    world = BudgetWorld({A: total(0.0), B: total(1.0)})
    world.add("none", project="a")
    world.add("large", project="b", gpus=2, needs={"time_limit_s": HOUR})
    world.run(1.0)
    assert reason(world, "none") == ("impossible", "the budget of project a is 0 GPU-hours (gpu_hours)")
    assert reason(world, "large") == (
        "impossible",
        "it needs up to 2 GPU-hours; project b has 1 GPU-hours (gpu_hours)",
    )


def test_the_runner_keeps_to_it_while_no_scheduler_lives() -> None:
    world = BudgetWorld({A: total(0.2)}, scripts={"long": ENDLESS})
    world.begin("long", project="a")
    world.run(1.0)
    world.virtual.advance(2 * HOUR)
    check_budgets(world, world.most)
    assert not world.host.runners()
    world.restart()
    world.run_until(lambda: world.state("long") is JobState.HELD)


def test_a_lowered_budget_ends_what_it_does_not_pay_for_and_a_raised_one_keeps_it_running() -> None:
    world = BudgetWorld({A: total(10.0)}, scripts={"long": ENDLESS})
    world.begin("long", project="a")
    world.run(600.0)
    world.limit(A, total(0.3))
    world.run(300.0)
    assert world.state("long") is JobState.ACTIVE
    world.limit(A, total(0.5))
    world.run(600.0)
    assert world.state("long") is JobState.ACTIVE, "it was granted more in time"
    world.limit(A, total(0.01))
    world.run(world.stop_s + 2.0)
    assert world.state("long") is JobState.HELD
    used = really_used(world, A)["total"]
    assert used <= (1500.0 + world.stop_s + 2.0) / HOUR
    assert world.starts("long") == 1


def test_a_budget_that_comes_while_a_job_runs_holds_for_it_from_then_on() -> None:
    world = BudgetWorld({}, scripts={"long": ENDLESS})
    world.counted = False
    world.begin("long", project="a")
    world.run(HOUR)
    world.limit(A, total(0.5))
    world.run_until(lambda: world.state("long") is JobState.HELD)
    assert really_used(world, A)["total"] <= 1.5
    del world.accounts[A]
    world.engine.context.accounting.claims = world.claims()
    world.run(10.0)
    assert world.state("long") is JobState.ACTIVE, "without a budget it goes on"


def test_a_runner_of_an_old_version_that_knows_no_grants_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = BudgetWorld({}, scripts={"long": ENDLESS})
    world.counted = False
    world.begin("long", project="a")
    world.run(60.0)
    monkeypatch.setattr(world.host, "grant", lambda _attempt: True)
    world.limit(A, total(0.1))
    world.run_until(lambda: world.state("long") is JobState.HELD)
    since_named = really_used(world, A)["total"] - 60.0 / HOUR
    assert since_named <= 0.1 + 60.0 / HOUR, "it is told once its grant is over"
    assert world.job("long").retries_used == 0


def test_a_project_and_a_user_both_pay() -> None:
    accounts = {A: total(10.0), ANN: total(0.1)}
    world = BudgetWorld(accounts, scripts={"mine": ENDLESS, "theirs": Script(duration_s=60.0)})
    world.begin("mine", project="a", spec={"user": "ann"})
    world.begin("theirs", project="a", spec={"user": "bob"})
    world.run_until(lambda: world.state("mine") is JobState.HELD)
    assert world.state("theirs") is JobState.SUCCEEDED
    assert left(world, ANN) <= world.stop_s / HOUR
    assert left(world, A) >= 9.8


def test_held_by_hand_it_does_not_come_back_by_itself() -> None:
    world = BudgetWorld({A: total(0.05)}, scripts={"long": ENDLESS})
    world.begin("long", project="a")
    world.run_until(lambda: world.state("long") is JobState.HELD)
    world.tell("hold", "long")
    world.limit(A, total(5.0))
    world.run(60.0)
    assert world.state("long") is JobState.HELD
    world.tell("release", "long")
    world.run(60.0)
    assert world.state("long") is JobState.ACTIVE


def test_caps_on_cores_and_memory_hold_under_every_policy() -> None:
    for policy in (None, "balanced", "fifo"):
        world = BudgetWorld(
            {A: Bounds(cpus=3, memory_mib=2048)},
            cpu_places=9,
            policy=policy,
            room=RoomRules(machine_mib=65_536),
        )
        world.add("one", "two", project="a", gpus=0, needs={"memory_mib": 1024})
        world.add("three", project="a", gpus=0, needs={"memory_mib": 1024})
        world.add("four", "five", project="a", gpus=0)
        world.run(1.0)
        assert world.states() == {
            "one": "running",
            "two": "running",
            "three": "queued",
            "four": "running",
            "five": "queued",
        }
        assert reason(world, "three") == ("cap", "project a has 3 of 3 cores, 1 needed (max_cpus)")
        world.finish()


def test_a_clock_set_back_gives_no_hour_twice() -> None:
    world = BudgetWorld({A: Bounds(gpu=1.0, period="day")}, scripts={"long": ENDLESS})
    world.begin("long", project="a")
    world.run_until(lambda: world.state("long") is JobState.HELD, limit_s=2 * HOUR)
    world.clock.offset -= timedelta(hours=30)
    world.run(120.0)
    world.clock.offset += timedelta(hours=30)
    world.run(120.0)
    day = really_used(world, A, "day")
    assert sum(day.values()) <= 2.0, "the day that the clock went back to has a budget of its own, once"
    before = sum(day.values())
    world.clock.offset -= timedelta(hours=30)
    world.run(2 * HOUR)
    world.clock.offset += timedelta(hours=30)
    world.run(120.0)
    assert sum(really_used(world, A, "day").values()) <= 2.0
    assert before > 0.9


@pytest.mark.parametrize("step", ["intent saved", "before grant", "after grant", "before commit", "after commit"])
def test_killed_at_any_step_it_loses_and_doubles_nothing(step: str) -> None:
    world = BudgetWorld({A: total(0.5)}, gpus=2)
    world.scripts.set("x", Script(duration_s=900.0))
    world.scripts.set("lost", Script(duration_s=100.0, outcome=Lost()))
    world.add("x", "y", "lost", project="a")
    for number in range(1, 12):
        world.crash_at(step, world.passes[step] + 1)
        world.run(70.0)
        if number == 5:
            world.limit(A, total(0.6))
    world._aim = None
    world.run(2000.0)
    assert not world.engine.workload.attempts
    real = really_used(world, A)["total"]
    use = world.engine.context.accounting.own_uses()[A]
    assert use.granted == {}
    assert real - 1e-9 <= use.settled["total"].gpu <= real + 2 * 10.0 / HOUR, "only what was lost is counted too high"


# -- anything, in any order --------------------------------------------------------------------------------------------

SCRIPTS = st.sampled_from(
    [
        Script(duration_s=20.0),
        Script(duration_s=400.0),
        Script(duration_s=5000.0, stop_delay_s=3.0),
        ENDLESS,
        Script(duration_s=60.0, claim_delay_s=3.0),
        Script(duration_s=90.0, outcome=Lost(), survivors=1),
        Script(duration_s=30.0, outcome=Exited(code=1, succeeded=False)),
    ]
)
STEPS = ["observed", "planned", "intent saved", "launched", "acted", "before commit", "after commit"]
STEPS += [f"{when} {what}" for when in ("before", "after") for what in ("prepare", "launch", "grant", "stop")]


class Budgets(RuleBasedStateMachine):
    """Slow, killed and lost jobs, restarted schedulers, budgets that grow, clocks that jump."""

    @initialize(
        gpus=st.integers(1, 3),
        policy=st.sampled_from([None, "balanced", "easy_fifo"]),
        budgets=st.tuples(*3 * (st.sampled_from([None, 0.01, 0.1, 1.0]),)),
        known_s=st.sampled_from([None, 50.0, 900.0]),
        restart_lost=st.booleans(),
        deaf=st.booleans(),
    )
    def begin(
        self, gpus: int, policy: str | None, budgets: Any, known_s: float | None, restart_lost: bool, deaf: bool
    ) -> None:
        accounts = {
            who: Bounds(gpu=budget, period="total", gpus=None if budget is not None else 2)
            for who, budget in zip((A, B, ANN), budgets, strict=True)
        }
        self.world = BudgetWorld(
            accounts,
            gpus=gpus,
            policy=policy,
            known_s=lambda _job: known_s,
            restart_lost=restart_lost,
            deaf=deaf,
            sweep_s=200.0,
        )
        self.gpus, self.made = gpus, 0

    @rule(
        script=SCRIPTS,
        gpus=st.integers(0, 2),
        project=st.sampled_from([None, "a", "b"]),
        user=st.sampled_from([None, "ann"]),
        limit_s=st.sampled_from([None, None, 30.0, 1000.0]),
        retries=st.integers(0, 1),
    )
    def add(
        self, script: Script, gpus: int, project: str | None, user: str | None, limit_s: float | None, retries: int
    ) -> None:
        name = f"j{self.made}"
        self.made += 1
        lasts_s = script.duration_s
        if limit_s is not None and (lasts_s is None or lasts_s > limit_s):
            script = replace(script, duration_s=limit_s, outcome=Exited(code=1, succeeded=False))
        self.world.scripts.set(name, script)
        needs = {} if limit_s is None else {"time_limit_s": limit_s}
        spec = {"user": user}
        self.world.add(name, gpus=min(gpus, self.gpus), project=project, retries=retries, needs=needs, spec=spec)

    @rule(seconds=st.sampled_from([1.0, 30.0, 300.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(who=st.sampled_from([A, B, ANN]), factor=st.sampled_from([1.5, 4.0]))
    def top_up(self, who: Owner, factor: float) -> None:
        bounds = self.world.accounts[who]
        if bounds.gpu is not None:
            self.world.limit(who, replace(bounds, gpu=bounds.gpu * factor))

    @rule(step=st.sampled_from(STEPS), more=st.integers(1, 3), downtime_s=st.sampled_from([0.0, 50.0, 3000.0]))
    def crash(self, step: str, more: int, downtime_s: float) -> None:
        self.world.crash_at(step, self.world.passes[step] + more)
        for _ in range(4):
            self.world.step(downtime_s)

    @rule(number=st.integers(0, 5))
    def kill_runner(self, number: int) -> None:
        runners = [key for key in self.world.host.runners() if self.claimed(key)]
        if runners:
            self.world.host.lose_runner(runners[number % len(runners)], 0)

    def claimed(self, key: AttemptKey) -> bool:
        """Whether it began: one that dies before may be launched again as the same attempt."""
        return self.world.host.run_of(key).claimed(self.world.virtual.now())

    @rule(kind=st.sampled_from(["cancel", "requeue", "hold", "release"]), number=st.integers(0, 30))
    def ask(self, kind: str, number: int) -> None:
        if self.world.jobs():
            self.world.tell(kind, self.world.jobs()[number % len(self.world.jobs())].name)

    @rule(minutes=st.sampled_from([-600, -1, 1, 600]))
    def clock_jumps(self, minutes: int) -> None:
        self.world.clock.offset += timedelta(minutes=minutes)

    @rule()
    def reboot(self) -> None:
        if all(map(self.claimed, self.world.host.runners())):
            self.world.reboot()

    @rule(times=st.integers(1, 2), full=st.booleans())
    def disk(self, times: int, full: bool) -> None:
        self.world.store.fail_next_commit(times=times)
        self.world.host.faults.disk_full = full

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.host.faults.disk_full = False
        world.store._faults.clear()
        world._aim = None
        world.run(30.0)
        check_invariants(world)
        check_budgets(world, world.most)


def cases() -> Iterator[type]:
    Budgets.TestCase.settings = settings(
        max_examples=120,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    yield Budgets.TestCase


(TestBudgets,) = cases()
