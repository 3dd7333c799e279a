"""The feed and its thread over small scripted sources: the order of steps, and what a fault in one of them does."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest

from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.port import Reading
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job
from researchflow_tmux.intake.feed import Feed, Look
from researchflow_tmux.intake.feeder import Feeder
from tests.support import eventually
from tests.unit.engine.samples import job


class Lines:
    """A source over a list in memory: each line is a job, by its text."""

    def __init__(self, kind: str = "config", *lines: str) -> None:
        self.kind = kind
        self.lines = list(lines)
        self.shown: dict[str, str] = {}
        self.steps: list[str] = []
        self.refuses: Exception | None = None
        self.unwritable: tuple[Problem, ...] = ()

    def directories(self) -> Collection[str]:
        return [f"/{self.kind}"]

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        self.steps.append("read")
        if self.refuses is not None:
            raise self.refuses
        new = [line for line in self.lines if line not in jobs]
        gone = tuple(key for key in jobs if key not in self.lines)
        return Reading(drafts=tuple(_draft(self.kind, line) for line in new), withdrawn=gone)

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        self.steps.append(f"write {' '.join(sorted(changed))}".strip())
        self.shown |= {key: str(jobs[key].state) for key in changed}
        return self.unwritable


def _draft(kind: str, line: str) -> JobDraft:
    return JobDraft(source=kind, key=line, name=line, shell="true", workdir="/")


def keys(look: Look) -> dict[str, list[str]]:
    return {news.source: [draft.spec.key for draft in news.drafts] for news in look.news}


def test_each_source_sees_its_own_jobs_and_all_come_together() -> None:
    feed = Feed([Lines("config", "a", "b"), Lines("table", "a")], "e")
    feed.learn([job(1, name="a"), job(2, name="gone")])
    look = feed.read()
    assert keys(look) == {"config": ["b"], "table": ["a"]}
    assert look.news[0].withdrawn == ("gone",)
    assert look.news[1].drafts[0].spec.env_digest == "e"
    assert look.directories == {"/config", "/table"}


def test_a_fault_in_one_source_is_a_problem_and_stops_no_other() -> None:
    bad, good = Lines("config"), Lines("table", "x")
    bad.refuses = ZeroDivisionError("oh")
    feed = Feed([bad, good], "e")
    look = feed.read()
    assert keys(look) == {"table": ["x"]}
    assert "ZeroDivisionError: oh" in str(look.problems[0])
    bad.refuses = None
    assert feed.read().problems == ()


def test_states_are_shown_once_and_what_could_not_be_written_is_tried_again() -> None:
    source = Lines()
    feed = Feed([source], "e")
    feed.write()
    assert source.steps == []
    feed.learn([job(1, name="a")])
    source.unwritable = (Problem(message="locked by an editor"),)
    feed.write()
    assert feed.read().unwritten == source.unwritable
    source.unwritable = ()
    feed.write()
    feed.write()
    assert source.steps == ["write a", "read", "write"]


@pytest.fixture
def feeder(request: pytest.FixtureRequest) -> Iterator[tuple[Lines, Feeder, list[Any]]]:
    source, brought = Lines("config", "a"), []
    feeder = Feeder(Feed([source], "e"), lambda number, look: brought.append((number, look)))
    yield source, feeder, brought
    feeder.end()
    feeder.join(5.0)


def test_nothing_is_read_before_the_last_look_is_carried_out(feeder: tuple[Lines, Feeder, list[Any]]) -> None:
    source, thread, brought = feeder
    thread.look(1)
    eventually(lambda: brought)
    thread.look(2)
    thread.look(3)
    thread.learn([job(1, name="a")])
    eventually(lambda: source.shown == {"a": "queued"})
    assert source.steps.count("read") == 1
    thread.settled(1)
    eventually(lambda: len(brought) == 2)
    assert [number for number, _ in brought] == [1, 3]
    assert brought[1][1].news == ()
    assert source.steps == ["read", "write a", "read"]


def test_the_last_states_are_shown_before_the_thread_ends_and_the_next_one_begins() -> None:
    old, new = Lines(), Lines()
    first = Feeder(Feed([old], "e"), lambda *_: None)
    first.learn([job(1, name="a")])
    first.end()
    seen: list[list[str]] = []
    second = Feeder(Feed([new], "e"), lambda *_: seen.append(list(old.steps)), after=first)
    second.look(1)
    eventually(lambda: seen)
    assert seen == [["write a"]]
    second.end()
    second.join(5.0)
