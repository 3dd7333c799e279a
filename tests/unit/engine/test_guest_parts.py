"""The small parts around a plug-in: what it said, what it is told, and the clock that is watched beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from researchflow_tmux.domain.attempt import Ended, Lost, Planned, Running
from researchflow_tmux.domain.events import (
    AttemptEnded,
    AttemptPlanned,
    AttemptStarted,
    JobChanged,
    JobRespecified,
    JobSubmitted,
    Notice,
)
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.plugin import Answer, PluginEvent, is_plugin
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.engine.clock_watch import ClockWatch
from researchflow_tmux.engine.planning.said import MOST_EVENTS, Said
from researchflow_tmux.engine.planning.telling import event_view, facts
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.testing import World
from tests.unit.engine.samples import NOW, attempt, job


@pytest.mark.parametrize(
    ("name", "own"),
    [("mine:Policy", True), ("a.b.c:d", True), ("dir/mine.py:order", True), ("balanced", False), (":x", False),
     ("mine:", False), ("mine:a b", False), ("my mine:a", False), ("", False)],
)  # fmt: skip
def test_which_names_are_a_plug_ins(name: str, own: bool) -> None:
    assert is_plugin(name) is own


def event(number: int) -> PluginEvent:
    return PluginEvent(kind="queued", at_s=0.0, job=number, name="j", project="", user="", gpus=1)


def test_what_it_said_holds_for_those_that_wait() -> None:
    said = Said(orders=True, events=True)
    assert (said.news, said.complete) == (False, True)
    said.wait(1)
    said.wait(2)
    assert said.next_fresh(1) == [1]
    assert said.take(Answer(keys={1: (3.0,), 9: (1.0,)}, refused={8: "no"}), [1]) == [1], "the others wait not here"
    assert (said.lets(1), said.lets(2), said.complete, said.spoken) == (True, False, False, [1])
    assert (said.keys, said.refused) == ({1: (3.0,)}, {})
    assert said.take(Answer(refused={1: "not now"}), []) == [1]
    assert not said.lets(1)
    assert said.take(Answer(refused={1: None}), []) == [1]
    assert said.lets(1)
    said.leave(1)
    said.leave(2)
    said.leave(3)
    assert said.take_gone() == [1], "it was never told of the others"
    assert (said.keys, said.news) == ({}, False)
    assert said.take(Answer(), []) == []
    assert said.version == 3


def test_events_are_kept_up_to_a_number_and_only_for_who_listens() -> None:
    deaf = Said(orders=True)
    deaf.happened(event(1))
    assert (deaf.news, deaf.take_events()) == (False, [])
    said = Said(orders=True, events=True)
    for number in range(MOST_EVENTS + 5):
        said.happened(event(number))
    assert said.news
    assert [each.job for each in said.take_events()[:2]] == [5, 6]
    assert not said.news


def test_what_it_is_told_of_events() -> None:
    workload = Workload([job(1, project="p")])
    planned = attempt(1, phase=Planned(at=NOW))
    ended = Ended(outcome=Lost(why="gone"), ended_at=NOW)
    told: list[tuple[Any, str | None]] = [
        (JobSubmitted(job=job(1)), "queued"),
        (JobRespecified(job_id=1, job=job(1)), "changed"),
        (AttemptPlanned(attempt=planned), None),
        (AttemptStarted(job_id=1, number=1, runner_pid=5, started_at=NOW), "started"),
        (AttemptEnded(job_id=1, number=1, ended=ended), "ended"),
        (JobChanged(job_id=1, state=JobState.FAILED, reason=Reason(code=ReasonCode.LOST)), "failed"),
        (Notice(text="x"), None),
    ]
    for payload, kind in told:
        view = event_view(workload, payload, NOW)
        assert (None if view is None else (view.kind, view.project)) == (None if kind is None else (kind, "p"))


def test_it_is_told_who_runs_but_not_who_has_ended_and_cannot_be_killed() -> None:
    seen: list[Any] = []

    def order(job: Any, told: Any) -> Any:
        seen.append(told)
        return job.id

    world = World(gpus=3, policy=order)
    world.submit("a", "b", takes="2h", user="ann", project="p")
    world.advance("1m")
    live = world.engine.workload.attempts[1, 1]
    assert isinstance(live.phase, Running)
    world.submit("c")
    world.advance("1m")
    assert [(run.name, run.user, run.gpus) for run in seen[-1].running] == [("a", "ann", 1), ("b", "ann", 1)]
    assert seen[-1].running[0].ends_s - seen[-1].running[0].started_s == 7200
    assert [gpu.free for gpu in seen[-1].gpus] == [0.0, 0.0, 1.0]
    assert seen[-1].waiting == 1
    ended = Ended(outcome=Lost(why="gone"), ended_at=world.clock.now())
    over = AttemptEnded(job_id=1, number=1, ended=ended, quarantined=(7,))
    world.engine.workload.apply(over, world.clock.now())
    planner = world.engine.choice.planner
    assert planner is not None
    told = facts(world.engine.workload, planner.index, world.engine.look(), world.clock.now())
    assert [run.name for run in told.running] == ["b", "c"]


@pytest.mark.parametrize(
    ("jump", "words"),
    [
        (timedelta(seconds=59), None),
        (timedelta(minutes=5), "forward by 5 min"),
        (timedelta(hours=-3), "back by 3.0 h"),
        (timedelta(days=400), "forward by 400 days"),
    ],
)
def test_a_clock_that_was_set_is_told_in_words(jump: timedelta, words: str | None) -> None:
    world = World()
    jumps: list[float] = []
    watch = ClockWatch(world.engine.context, jumps.append)
    watch.look(world.clock.now())
    world.clock.offset += jump
    watch.look(world.clock.now())
    watch.look(world.clock.now())
    world.tick()
    told = [text for text in world.notices() if "clock went" in text]
    assert jumps == ([] if words is None else [jump.total_seconds()])
    assert (words is None and not told) or (words is not None and words in told[0])
