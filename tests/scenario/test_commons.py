"""Two workspaces of one machine: a cap and a budget that both share, whatever is killed, stuck or unreadable when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.accounts import AccountUse, Hours, Owner, Rate
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.register import Page, Want
from researchflow_tmux.engine.commons import Commons
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.pages import Pages
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.commons.yielding import YIELD_S
from researchflow_tmux.simulation.register import MemoryRegister
from researchflow_tmux.simulation.script import Script
from tests.scenario.world import World

VISION = Owner("project", "vision")


class Sharer(World):
    """One of the workspaces."""

    def __init__(self, name: str, register: MemoryRegister, bounds: Bounds, **options: Any) -> None:
        self.name = name
        self.register = register
        super().__init__(accounts={VISION: bounds}, workspace_id=name, **options)

    def prepare(self, engine: Engine) -> None:
        super().prepare(engine)
        me = Page(
            workspace_id=self.name,
            path=f"/{self.name}",
            task_name=self.name,
            user="ann",
            uid=1,
            pid=1,
            start_time=1,
            boot_id="b",
            at=self.clock.now(),
        )
        pages = Pages(
            engine.context,
            me,
            shared=frozenset({VISION, Owner("project", "text")}),
            leased=frozenset(device.uuid for device in self.devices if device.leased),
            planner=lambda: engine.choice.planner,
        )
        engine.commons = Commons(engine.context, self.register, pages, lambda: engine.choice.planner)

    def used_gpus(self) -> int:
        """GPUs that really run a job of the project, whatever any scheduler knows."""
        return sum(
            self.engine.workload.jobs[key[0]].spec.request.gpus
            for key in self.host.runners()
            if self.engine.workload.jobs[key[0]].spec.project == "vision"
        )

    def taken_hours(self) -> float:
        """GPU-hours of the project that are used or granted here."""
        use = self.engine.context.accounting.own_uses().get(VISION, AccountUse())
        return use.hours("total").gpu


class Machine:
    """Both, on one clock."""

    def __init__(self, bounds: Bounds, **options: Any) -> None:
        self.bounds = bounds
        self.register = MemoryRegister()
        self.worlds = [Sharer(name, self.register, bounds, **options) for name in ("a", "b")]
        self.down: set[str] = set()

    def run(self, seconds: float, step_s: float = 0.5) -> None:
        """Let time go by for both, in small steps, and look at what must hold."""
        for _ in range(int(seconds / step_s)):
            for world in self.worlds:
                if world.name in self.down:
                    world.virtual.advance(step_s)
                    self._living()
                else:
                    world.run(step_s)
                self.check()

    def check(self) -> None:
        if self.bounds.gpus is not None:
            used = sum(world.used_gpus() for world in self.worlds)
            assert used <= self.bounds.gpus, f"{used} GPUs in use, {self.bounds.gpus} allowed"
        if self.bounds.gpu is not None:
            taken = sum(world.taken_hours() for world in self.worlds)
            assert taken <= self.bounds.gpu + 1e-6, f"{taken} GPU-hours taken, {self.bounds.gpu} allowed"

    def kill(self, world: Sharer) -> None:
        """Its scheduler dies; what runs, runs on."""
        self.down.add(world.name)
        self.register.dead.add(world.name)
        self._living()

    def _living(self) -> None:
        """What leases would tell."""
        self.register.living = {
            f"{world.name}/{job}.{number}"
            for world in self.worlds
            if world.name in self.down
            for job, number in world.host.runners()
        }

    def revive(self, world: Sharer) -> None:
        """Its keeper starts it again."""
        self.down.discard(world.name)
        self.register.dead.discard(world.name)
        world.restart()


def test_a_cap_that_both_share_is_held_and_used() -> None:
    machine = Machine(Bounds(gpus=1), policy="balanced")
    a, b = machine.worlds
    for world in (a, b):
        world.add("x", "y", project="vision")
    machine.run(15.0)
    assert a.used_gpus() + b.used_gpus() == 1
    waiting = b if a.used_gpus() else a
    reason = waiting.engine.choice.explain(waiting.engine.look(), waiting.clock.now())[waiting.job("x").id]
    assert reason.code is ReasonCode.CAP
    machine.run(150.0)
    assert {state for world in (a, b) for state in world.states().values()} == {"succeeded"}


def test_of_a_dead_scheduler_what_runs_counts_until_it_has_ended() -> None:
    machine = Machine(Bounds(gpus=1))
    a, b = machine.worlds
    a.scripts.set("x", Script(duration_s=40.0))
    a.add("x", project="vision")
    machine.run(5.0)
    machine.kill(a)
    b.add("y", project="vision")
    machine.run(20.0)
    assert b.states() == {"y": "queued"}
    machine.run(60.0)
    assert b.states()["y"] == "succeeded"


def test_a_budget_that_both_share_is_never_granted_twice() -> None:
    machine = Machine(Bounds(gpu=1.0, period="total"))
    a, b = machine.worlds
    a.add("long", project="vision", needs={"time_limit_s": 2400.0})
    machine.run(3.0)
    b.add("long", project="vision", needs={"time_limit_s": 2400.0})
    machine.run(20.0)
    assert (a.states(), b.states()) == ({"long": "running"}, {"long": "queued"})
    machine.run(30.0)
    assert b.states()["long"] in ("running", "succeeded"), "what was not used is given back"


def test_nobody_is_granted_more_who_cannot_tell_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(Bounds(gpu=1.0, period="total"))
    a, b = machine.worlds
    a.scripts.set("long", Script(duration_s=None))
    a.add("long", project="vision")
    machine.run(2.0)
    publish = machine.register.publish

    def full(page: Page) -> None:
        if page.workspace_id == "a":
            raise OSError(122, "Disk quota exceeded")
        publish(page)

    monkeypatch.setattr(machine.register, "publish", full)
    first = a.taken_hours()
    machine.run(880.0, step_s=5.0)
    assert a.taken_hours() == first, "what it was granted before still holds"
    b.add("long", project="vision", needs={"time_limit_s": 2000.0})
    machine.run(20.0)
    assert b.states() == {"long": "running"}, "the others go by what they were told"
    assert sum("Disk quota exceeded" in text for text in a.notices()) == 1
    assert len([text for text in a.notices() if "granted" in text]) <= 2, a.notices()


def test_garbage_of_another_workspace_is_said_once_and_only_limited_accounts_wait() -> None:
    machine = Machine(Bounds(gpus=1), gpus=3)
    a, b = machine.worlds
    machine.register.garbage["x"] = "cannot be understood"
    a.add("limited", project="vision")
    a.add("free", project="text")
    a.add("private")
    machine.run(12.0)
    assert a.states() == {"limited": "queued", "free": "running", "private": "running"}
    reason = a.engine.choice.explain(a.engine.look(), a.clock.now())[a.job("limited").id]
    assert "what others use of project vision is not known: x: cannot be understood" in str(reason)
    assert sum("what other workspaces use is not known" in text for text in a.notices()) == 1
    machine.register.garbage.clear()
    machine.run(6.0)
    assert a.states()["limited"] == "running"
    assert b.states() == {}


def test_a_stuck_gate_or_a_full_disk_stops_only_what_is_shared() -> None:
    machine = Machine(Bounds(gpus=1))
    a = machine.worlds[0]
    machine.register.stuck = "another scheduler of this machine holds the register's gate"
    a.add("limited", project="vision")
    a.add("private")
    machine.run(4.0)
    assert a.states() == {"limited": "queued", "private": "running"}
    assert not any("is not known" in text for text in a.notices()), "somebody may just be busy"
    machine.run(6.0)
    assert sum("holds the register's gate" in text for text in a.notices()) == 1
    machine.register.stuck, machine.register.full = None, True
    machine.run(5.0)
    assert a.states()["limited"] == "queued", "a start that cannot be said is none"
    machine.register.full = False
    machine.run(3.0)
    assert a.states()["limited"] == "running"


def test_what_others_used_of_a_project_counts_in_its_share() -> None:
    machine = Machine(Bounds(), policy="balanced", gpus=1)
    a = machine.worlds[0]
    page = machine.register.pages.get("b")
    assert page is None
    a.scripts.set("first", Script(duration_s=5.0))
    a.add("first")
    machine.run(1.0)
    a.add("v", project="vision")
    a.add("t", project="text")
    used = {"vision": 9e6}
    base = replace(machine.register.pages["a"], workspace_id="c", path="/c", at=a.clock.now(), uses={}, wants=())
    machine.register.pages["c"] = replace(base, used_gpu_s=used)
    machine.run(10.0)
    assert a.states()["t"] == "running", "vision had so much elsewhere that it is text's turn"
    assert a.states()["v"] == "queued"


def test_an_urgent_job_of_another_workspace_gets_a_moment_and_no_more() -> None:
    machine = Machine(Bounds(), policy="balanced", gpus=1, leased=True)
    a = machine.worlds[0]
    machine.run(1.0)
    base = replace(machine.register.pages["a"], workspace_id="c", path="/c")
    want = Want(project="vision", gpus=1, latest_start_s=0.0)
    machine.register.pages["c"] = replace(base, wants=(want,))
    a.add("x", project="text")
    machine.run(YIELD_S - 1.0)
    assert a.states()["x"] == "queued"
    machine.run(3.0)
    assert a.states()["x"] == "running", "whoever does not take it keeps nobody from it"


def test_what_waits_first_is_published_and_an_urgent_job_of_ones_own_does_not_yield() -> None:
    machine = Machine(Bounds(), policy="balanced", gpus=1, leased=True)
    a, b = machine.worlds
    b.scripts.set("long", Script(duration_s=None))
    b.add("long", project="text")
    machine.run(2.0)
    soon = b.clock.now() + timedelta(hours=2)
    b.add("urgent", project="text", deadline=soon)
    b.add("fair", project="vision")
    machine.run(2.0)
    urgent, fair = machine.register.pages["b"].wants
    assert (urgent.project, urgent.latest_start_s is not None, urgent.ratio) == ("text", True, None)
    assert (fair.project, fair.gpus, fair.ratio is not None) == ("vision", 1, True)
    assert machine.register.pages["b"].next_deadline == soon
    a.add("earlier", project="vision", deadline=soon - timedelta(minutes=30))
    machine.run(1.0)
    assert a.states()["earlier"] == "running", "it must start before theirs"
    a.add("ordinary")
    machine.run(32.0)
    assert a.states()["earlier"] == "succeeded"
    assert a.states()["ordinary"] == "queued", "the GPU got free a moment ago, and theirs is urgent"
    machine.run(YIELD_S + 2.0)
    assert a.states()["ordinary"] == "running"


def test_without_a_policy_nobody_has_a_better_claim_but_an_urgent_one() -> None:
    machine = Machine(Bounds(), gpus=1, leased=True)
    a = machine.worlds[0]
    machine.run(1.0)
    base = replace(machine.register.pages["a"], workspace_id="c", path="/c")
    machine.register.pages["c"] = replace(base, wants=(Want(project="vision", gpus=1, ratio=0.0),))
    a.add("x", project="text")
    machine.run(1.0)
    assert a.states()["x"] == "running"
    assert machine.register.pages["a"].wants == ()


def test_a_register_that_cannot_be_read_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(Bounds(gpus=1))
    a = machine.worlds[0]
    machine.run(1.0)

    def broken(_now: object) -> list[object]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(machine.register, "read", broken)
    a.add("limited", project="vision")
    machine.run(8.0)
    assert a.states() == {"limited": "queued"}
    assert any("cannot be read: Input/output error" in text for text in a.notices())
    monkeypatch.undo()
    machine.register.full = True
    machine.run(3.0)
    assert a.states() == {"limited": "queued"}


OPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "kill", "revive", "crash", "stuck", "garbage", "full", "well"]),
        st.integers(0, 1),
        st.sampled_from([300.0, 1200.0, None]),
    ),
    min_size=4,
    max_size=14,
)


@pytest.mark.parametrize("bounds", [Bounds(gpus=1), Bounds(gpus=2, gpu=0.8, period="total")], ids=["cap", "budget"])
@settings(max_examples=60, deadline=None)
@given(ops=OPS)
def test_neither_cap_nor_budget_is_ever_exceeded(bounds: Bounds, ops: list[tuple[str, int, float | None]]) -> None:
    machine = Machine(bounds)
    register = machine.register
    for number, (op, which, limit_s) in enumerate(ops):
        world = machine.worlds[which]
        if op == "add":
            world.add(f"j{number}", project="vision", needs={} if limit_s is None else {"time_limit_s": limit_s})
        elif op == "kill":
            machine.kill(world)
        elif op in ("revive", "crash"):
            machine.revive(world)
        elif op == "well":
            register.stuck, register.full = None, False
            register.garbage.clear()
        else:
            register.stuck = "stuck" if op == "stuck" else register.stuck
            register.full = register.full or op == "full"
            register.garbage |= {"x": "cannot be understood"} if op == "garbage" else {}
        machine.run(2.0, step_s=1.0)


def test_hours_of_a_dead_workspace_stay_used() -> None:
    machine = Machine(Bounds(gpu=1.0, period="total"))
    a, b = machine.worlds
    use = AccountUse(settled={"total": Hours(gpu=0.99)}, running=Rate(gpus=3))
    machine.run(1.0)
    page = replace(machine.register.pages["a"], workspace_id="c", uses={str(VISION): use})
    machine.register.pages["c"] = page
    machine.register.dead.add("c")
    b.add("x", project="vision", needs={"time_limit_s": 600.0})
    machine.run(5.0)
    assert b.states() == {"x": "queued"}
    assert a.clock.now() - page.at >= timedelta(0)
