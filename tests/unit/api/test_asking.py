"""Asking without a scheduler: the stand-in knows what others did, does only what is on disk, survives forks."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.api import control
from researchflow_tmux.api.drafting import Drafter, Wish
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import StoreError, UsageError
from researchflow_tmux.domain.events import JobSubmitted
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.ports import Wakeup


@pytest.fixture
def root(tmp_path: Path) -> Path:
    settings = f"task_name: t\ngpu_count: simulated:1\ntmux_socket: {tmp_path}/none\n"
    (tmp_path / "scheduler_config.yml").write_text(settings)
    return tmp_path


def workspace(root: Path) -> tuple[Workspace, Drafter]:
    made = Workspace(root)
    return made, Drafter(made.paths, made.settings, control.ready(made))


def drafts(drafter: Drafter, *names: str, **wish: Any) -> Sequence[Draft]:
    return [drafter.draft(["true"], Wish(name=name, **wish)) for name in names]


def test_two_stand_ins_know_of_each_others_jobs(root: Path) -> None:
    (one, of_one), (two, of_two) = workspace(root), workspace(root)
    assert one.submit_drafts(drafts(of_one, "a")).ids == [1]
    assert two.submit_drafts(drafts(of_two, "b", after=("a",))).ids == [2]
    assert one.submit_drafts(drafts(of_one, "c", after=("b",))).ids == [3]
    assert two.cancel(["a"])["cancelled"] == ["a"]
    with pytest.raises(UsageError, match="there is no job of that name"):
        one.submit_drafts(drafts(of_one, "d", after=("x",)))
    assert one.submit_drafts(drafts(of_one, "d", after=("c",))).skipped == ["d"]  # it knows what became of a
    assert [(job.name, str(job.state)) for job in one.jobs()] == [
        ("a", "cancelled"),
        ("b", "skipped"),
        ("c", "skipped"),
        ("d", "skipped"),
    ]


def test_jobs_that_others_removed_are_forgotten(root: Path) -> None:
    one, of_one = workspace(root)
    one.submit_drafts(drafts(of_one, "a", "b"))
    one.cancel(["a"])
    store = SqliteStore(one.paths.database, boot_id="b")
    store.delete_jobs_before(SystemClock().now())
    store.close()
    with pytest.raises(UsageError, match="there is no job of that name"):
        one.submit_drafts(drafts(of_one, "c", after=("a",)))
    assert one.submit_drafts(drafts(of_one, "c")).ids == [3]


def test_what_the_disk_refused_did_not_happen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, of_one = workspace(root)
    one.submit_drafts(drafts(of_one, "a"))

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", refuse)
        with pytest.raises(StoreError, match="no space left on the disk; nothing was changed"):
            one.submit_drafts(drafts(of_one, "b"))
    assert one.submit_drafts(drafts(of_one, "c")).ids == [2]
    assert [job.name for job in one.jobs()] == ["a", "c"]


def test_what_may_be_saved_later_is_not_kept_without_the_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, of_one), (two, of_two) = workspace(root), workspace(root)
    tick = Engine.tick

    def observing(self: Engine, *looks: Wakeup) -> None:
        tick(self, *looks)
        self.notice("seen, and not saved yet")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "tick", observing)
        one.submit_drafts(drafts(of_one, "a"))
    two.submit_drafts(drafts(of_two, "b"))
    one.submit_drafts(drafts(of_one, "c"))
    assert [type(event.payload) for event in one.history()] == [JobSubmitted] * 3


def test_a_state_that_was_moved_away_is_not_written_to(root: Path) -> None:
    one, of_one = workspace(root)
    one.submit_drafts(drafts(of_one, "a"))
    os.rename(root / ".rfsched", root / "elsewhere")
    (root / ".rfsched").mkdir()
    control.ready(one)
    assert one.submit_drafts(drafts(of_one, "b")).ids == [1]
    assert [job.name for job in one.jobs()] == ["b"]


def test_a_forked_child_asks_for_itself(root: Path) -> None:
    one, of_one = workspace(root)
    one.submit_drafts(drafts(of_one, "a"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if one.submit_drafts(drafts(of_one, "b")).ids == [2] else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert one.submit_drafts(drafts(of_one, "c", after=("b",))).ids == [3]
    assert [job.name for job in one.jobs()] == ["a", "b", "c"]


def test_threads_share_a_workspace(root: Path) -> None:
    one, of_one = workspace(root)
    ids: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            ids.extend(one.submit_drafts(drafts(of_one, f"{number}-{turn}")).ids)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ids) == list(range(1, 81))
    assert {job.name for job in one.jobs()} == {f"{number}-{turn}" for number in range(4) for turn in range(20)}


def test_what_waits_in_the_inbox_is_answered_by_whoever_asks(root: Path) -> None:
    one, of_one = workspace(root)
    one.submit_drafts(drafts(of_one, "a"))
    left = one.asker.inbox().put("hold", {"ids": [1]}, by="somebody", at=SystemClock().now())
    one.ask("note", {"text": "hello"})
    assert one.asker.inbox().reply(left) == {"held": ["a"], "untouched": []}
