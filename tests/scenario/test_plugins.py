"""A policy of the user's with the real engine: it orders and refuses, and whatever it does, jobs go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.domain.decisions import Decision
from researchflow_tmux.domain.errors import PolicyError
from researchflow_tmux.domain.plugin import Answer, Hooks, Question
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.engine.planning.guest import MOST_JOBS, Guest
from researchflow_tmux.engine.planning.index import Index
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.replaying import differences
from researchflow_tmux.testing import World
from tests.scenario.invariants import check_workload

Make = Callable[..., World]


class Doubtful:
    """A plug-in that can be told what to do wrong, and that was edited."""

    name = "mine:Policy"

    def __init__(self, hooks: Hooks | None = None) -> None:
        self.found: Hooks | None = hooks or Hooks(order=1)
        self.error: str | None = None
        self.edited = False
        self.loads = 1
        self.questions: list[Question] = []

    def hooks(self) -> Hooks | None:
        if self.error is not None:
            raise PolicyError(f"policy {self.name}: {self.error}")
        return self.found

    def ask(self, question: Question) -> Answer:
        self.hooks()
        self.questions.append(question)
        return Answer(keys={job.id: (-float(job.id),) for job in question.jobs})

    def changed(self) -> bool:
        return self.edited

    def reload(self) -> None:
        self.edited, self.loads = False, self.loads + 1


class Hosting(World):
    """A world with a doubtful plug-in."""

    def __init__(self, plugin: Doubtful, **options: Any) -> None:
        self.plugin = plugin
        super().__init__(**options)

    def prepare(self, engine: Any) -> None:
        engine.choice.invite(Guest(self.plugin, lambda policy, said: self._planner(engine, policy, said)))


def by_name(job: Any) -> Any:
    return -ord(job.name[0])


def by_number(job: Any) -> Any:
    return (-job.gpus, job.id)


def test_its_order_is_the_order(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, policy=by_name)
    world.submit("a", "c", "b")
    world.run_until_idle()
    assert world.started == ["c", "b", "a"]


def test_priorities_and_failures_count_only_if_it_minds(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, policy=by_name)
    world.submit("a", priority=9)
    world.submit("b", fails=[True, False], retries=1)
    world.run_until_idle()
    assert world.started[:2] == ["b", "a"]


class OneEach:
    """At most one job a project at a time."""

    def admit(self, job: Any, facts: Any) -> Any:
        return True if all(run.project != job.project for run in facts.running) else f"{job.project} has one"


def test_what_it_refuses_waits_with_its_words_and_takes_nobodys_turn(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=4, policy=OneEach())
    world.submit("a1", "a2", "a3", project="a", takes="1h")
    world.submit("b1", project="b", takes="5h")
    world.advance("1m")
    assert sorted(world.started) == ["a1", "b1"], "decided one by one: its facts are never out of date"
    assert world.why("a2") == "refused by the policy: a has one"
    reason = world.reason("a2")
    assert reason is not None
    assert reason.code is ReasonCode.REFUSED
    world.run_until_idle()
    assert world.start_of("a2") == world.end_of("a1")
    assert world.start_of("a3") == world.end_of("a2")


def test_what_it_refuses_gets_no_reservation(rfsched_world: Make) -> None:
    class NotWide:
        def admit(self, job: Any) -> Any:
            return True if job.gpus == 1 else "wide ones at night"

    world = rfsched_world(gpus=2, policy=NotWide())
    world.submit("running", takes="1h")
    world.submit("wide", gpus=2)
    world.submit("small", takes="9h")
    world.advance("1m")
    assert world.started == ["running", "small"]


def test_backfill_and_caps_hold_around_it(rfsched_world: Make) -> None:
    world = rfsched_world(gpus=2, policy=lambda job: -job.gpus, projects={"p": {"max_gpus": 1}})
    world.submit("now", takes="2h")
    world.advance("1m")
    world.submit("wide", gpus=2)
    world.submit("long", takes="9h")
    world.submit("short", takes="1h")
    world.submit("p1", "p2", project="p", takes="1h")
    world.advance("1m")
    assert world.started == ["now", "short"], "wide has the reservation, long would delay it"
    world.run_until_idle()
    assert world.start_of("wide") == world.end_of("now") or world.start_of("wide") >= 7200
    assert world.end_of("p1") <= world.start_of("p2"), "one GPU at a time"


def test_it_is_told_what_happens(rfsched_world: Make) -> None:
    class Listening:
        def __init__(self) -> None:
            self.told: list[str] = []

        def on_event(self, event: Any) -> None:
            self.told.append(f"{event.kind} {event.name}")

        def order(self, job: Any) -> Any:
            return job.id

    policy = Listening()
    world = rfsched_world(gpus=1, policy=policy)
    world.submit("a", fails=3)
    world.submit("b", "c")
    world.run_until_idle()
    assert policy.told[:4] == ["started a", "ended a", "failed a", "started b"]


def test_without_an_order_of_its_own_the_default_orders(rfsched_world: Make) -> None:
    class Either:
        def admit(self, job: Any) -> Any:
            return True

    world = rfsched_world(gpus=1, policy=Either())
    world.submit("now", takes="1h")
    world.advance("1m")
    world.submit("long", takes="50h")
    world.submit("short", takes="1h")
    world.run_until_idle()
    assert world.started == ["now", "short", "long"]


def test_a_test_ends_with_what_its_policy_raised(rfsched_world: Make) -> None:
    def broken(job: Any) -> Any:
        return job.nothing

    world = rfsched_world(policy=broken)
    world.submit("a")
    with pytest.raises(PolicyError, match=r"test_plugins\.py:\d+: AttributeError.*\(about the job a\)") as found:
        world.advance("1m")
    assert isinstance(found.value.__cause__, AttributeError)
    with pytest.raises(PolicyError, match="it has none of the hooks"):
        World(policy=object())
    with pytest.raises(PolicyError, match="module:object"):
        World(policy="no_such_policy")


# Isolated -------------------------------------------------------------------------------------------------------------


def test_the_default_takes_over_at_once_and_loudly_and_no_job_is_lost() -> None:
    plugin = Doubtful()
    world = Hosting(plugin, gpus=1)
    world.submit("first")
    world.advance("1m")
    world.submit("long", takes="50h")
    world.submit("a", "b", takes="2h")
    plugin.error = "mine.py:7: KeyError: 'x'"
    world.run_until_idle()
    assert world.started == ["first", "a", "b", "long"], "by `balanced`, which takes over for that very decision"
    told = [text for text in world.notices() if "mine.py:7" in text]
    said = "`balanced` decides until its file changes or `policy` is set anew"
    assert told == [f"policy mine:Policy: mine.py:7: KeyError: 'x'; {said}"], "once, and not at each decision"
    assert world.policy_trouble == told[0]
    assert all(state == "succeeded" for state in world.states().values())
    check_workload(world.engine.workload)


def test_it_is_asked_again_when_its_file_changed() -> None:
    plugin = Doubtful()
    plugin.error = "mine.py:1: SyntaxError: invalid syntax"
    world = Hosting(plugin, gpus=1)
    world.submit("a")
    world.advance("1m")
    assert world.started == ["a"]
    plugin.error, plugin.edited = None, True
    world.submit("b", "c")
    world.run_until_idle()
    assert world.started == ["a", "c", "b"], "its order again: the youngest first"
    assert world.policy_trouble is None
    assert plugin.loads == 2
    asked = [job.name for question in plugin.questions for job in question.jobs]
    assert asked == ["b", "c"]


def test_nothing_starts_while_it_is_loaded_for_the_first_time() -> None:
    plugin = Doubtful()
    plugin.found = None
    world = Hosting(plugin, gpus=1)
    world.submit("a", "b")
    world.advance(3)
    assert world.started == []
    plugin.found = Hooks(order=1)
    world.advance(1)
    assert world.started == ["b"]
    assert "policy mine:Policy is loaded: it decides what starts next" in world.notices()


def test_an_edited_one_decides_as_before_until_it_is_loaded_anew() -> None:
    plugin = Doubtful()
    world = Hosting(plugin, gpus=1)
    world.submit("a", "b", takes="2m")
    world.advance("1m")
    plugin.edited, plugin.found = True, None
    world.advance("2m")
    assert world.started == ["b", "a"], "what it said before holds"
    plugin.found = Hooks(order=1)
    world.submit("c", "d")
    world.run_until_idle()
    assert world.started == ["b", "a", "d", "c"]


def test_more_jobs_than_it_can_be_told_at_once_are_told_before_anything_starts() -> None:
    plugin = Doubtful()
    world = Hosting(plugin, gpus=1)
    world.submit(*(f"j{number}" for number in range(MOST_JOBS + 10)))
    world.tick()
    world.tick()
    assert world.started == [f"j{MOST_JOBS + 9}"]
    assert [len(question.jobs) for question in plugin.questions[:2]] == [MOST_JOBS, 10]


# A fault in what is built in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("owner", "method"), [(Planner, "decide"), (Index, "see"), (Planner, "due_s")])
def test_a_built_in_policy_that_raises_gives_way_to_the_queue(
    monkeypatch: pytest.MonkeyPatch, rfsched_world: Make, owner: type, method: str
) -> None:
    world = rfsched_world(gpus=1, policy="sjf")
    world.submit("first")
    world.advance("1m")

    def broken(*_arguments: Any) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(owner, method, broken)
    world.submit("long", takes="9h")
    world.submit("short", takes="1h")
    world.run_until_idle()
    assert world.started == ["first", "long", "short"]
    told = [text for text in world.notices() if "a fault" in text]
    assert len(told) == 1
    assert "the policy sjf failed" in told[0]
    assert "test_plugins.py" in told[0]
    assert world.policy_trouble == told[0]


def test_why_answers_even_if_a_policy_cannot_explain(monkeypatch: pytest.MonkeyPatch, rfsched_world: Make) -> None:
    world = rfsched_world(gpus=1, policy="sjf")
    world.submit("a", "b")
    world.advance("1m")

    def broken(*_arguments: Any, **_options: Any) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(Planner, "rehearse", broken)
    assert "all slots are taken" in world.why("b")


# Whatever it says -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    keys=st.lists(st.integers(-3, 3), min_size=1, max_size=7),
    refusals=st.lists(st.booleans(), min_size=1, max_size=5),
    gpus=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    by_facts=st.booleans(),
)
def test_no_policy_oversubscribes_or_loses_a_job(
    keys: list[int], refusals: list[bool], gpus: list[int], by_facts: bool
) -> None:
    class Whim:
        """Says what the lists say; what it refuses, it lets go after a while."""

        def order(self, job: Any, *_facts: Any) -> Any:
            return (keys[job.id % len(keys)], keys[job.attempts % len(keys)])

        def admit(self, job: Any, facts: Any) -> Any:
            late = facts.now_s - job.queued_s > 7200
            return True if late or refusals[job.id % len(refusals)] else "not now"

    class Plain(Whim):
        def admit(self, job: Any) -> Any:  # type: ignore[override]
            return True

    world = World(gpus=3, policy=Whim() if by_facts else Plain(), projects={"p": {"max_gpus": 2}})
    for number, needed in enumerate(gpus):
        if needed <= 3:
            world.submit(f"j{number}", gpus=needed, takes=600 * (number + 1), project="p" if needed == 1 else None)
    world.submit("last", takes=10)
    world.run_until_idle("30d")
    assert set(world.states().values()) == {"succeeded"}
    check_workload(world.engine.workload)


JOB = st.fixed_dictionaries(
    {
        "gpus": st.integers(0, 3),
        "takes": st.integers(1, 40).map(lambda tens: tens * 600),
        "priority": st.integers(-1, 1),
        "project": st.sampled_from([None, "p", "q"]),
        "deadline": st.sampled_from([None, None, "2h", "9h"]),
        "time_limit": st.sampled_from([None, "4h"]),
        "preemptible": st.booleans(),
        "share": st.sampled_from([None, 0.5]),
        "retries": st.integers(0, 1),
        "fails": st.sampled_from([0, 0, [True, False]]),
    }
)


@settings(max_examples=12, deadline=None)
@given(
    policy=st.sampled_from(["balanced", "makespan", "fifo", "queue", by_number]),
    jobs=st.lists(JOB, min_size=1, max_size=8),
    gap_s=st.integers(0, 4000),
    pinned=st.booleans(),
)
def test_whatever_is_asked_of_it_every_decision_is_made_again_the_same(
    policy: Any, jobs: list[dict[str, Any]], gap_s: int, pinned: bool
) -> None:
    projects = {"p": {"weight": 2.0, "max_gpus": 2}}
    world = World(gpus=3, jobs_per_gpu=1, policy=policy, projects=projects, record=True)
    for number, asked in enumerate(jobs):
        where: dict[str, Any] = {"pinned": (number % 3,)} if pinned and asked["gpus"] == 1 else {}
        world.submit(f"j{number}", **asked, **where)
        world.advance(gap_s)
    world.at(world.now_s + 5000, lambda: world.gpu_fills(0))
    world.at(world.now_s + 9000, lambda: world.gpu_returns(0))
    world.advance("12h")
    assert world.decisions
    for decision in world.decisions:
        kept = msgspec.json.decode(msgspec.json.encode(decision), type=Decision)
        assert differences(kept) == [], kept
