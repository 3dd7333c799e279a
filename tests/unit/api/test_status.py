"""The status view of some of the jobs: which are listed, and who says why they wait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from researchflow_tmux.adapters import live_file
from researchflow_tmux.adapters.workspace_lock import LockHolder
from researchflow_tmux.api import status
from researchflow_tmux.api.planning import Plan
from researchflow_tmux.api.status import EVERYTHING, Shown, build
from researchflow_tmux.api.views import StatusView
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.workspace import WorkspacePaths
from tests.unit.engine.samples import NOW, device, job, workload

WORDS = Reason(code=ReasonCode.BEHIND, text="number 7")


def jobs() -> list[tuple[int, JobState]]:
    states = [JobState.QUEUED] * 5 + [JobState.HELD] * 3 + [JobState.SUCCEEDED]
    return list(enumerate(states, 1))


def viewed(
    tmp_path: Path, shown: Shown = EVERYTHING, *, running: bool = True, answers: Mapping[int, Reason] | None = None
) -> tuple[StatusView, list[list[int]]]:
    """The view, and what the scheduler was asked."""
    live = live_file.snapshot(
        now=NOW, started_at=NOW, session="s", devices=[device(0)], readings=[], blocked={}, tickets=[], share=1.0,
        cpu_places=0,
    )  # fmt: skip
    asked: list[list[int]] = []

    def ask(ids: list[int]) -> Mapping[int, Reason] | None:
        asked.append(ids)
        return answers

    def plan() -> Plan | None:
        raise AssertionError("nothing has to be put in order")

    view = build(
        paths=WorkspacePaths(root=str(tmp_path), config=str(tmp_path / "c.yml")),
        task_name="t",
        workload=workload(*(job(number, state) for number, state in jobs())),
        last_attempts={},
        live=live,
        holder=LockHolder(pid=1, role="scheduler", host="h", boot_id="b") if running else None,
        now=NOW,
        plan=plan if answers is not None or not running else lambda: None,
        shown=shown,
        asked=ask,
    )
    return view, asked


@pytest.mark.parametrize(
    ("shown", "listed", "left_out"),
    [
        (EVERYTHING, [1, 2, 3, 4, 5, 6, 7, 8, 9], 0),
        (Shown(waiting=2), [1, 2, 6, 7, 9], 4),
        (Shown(ids={2, 3, 7}, waiting=1), [2, 7], 1),
        (Shown(states=frozenset({"queued"}), waiting=1), [1], 4),
        (Shown(states=frozenset({"succeeded"}), waiting=0), [9], 0),
    ],
)
def test_of_those_that_wait_the_first_are_listed_and_the_others_counted(
    tmp_path: Path, shown: Shown, listed: list[int], left_out: int
) -> None:
    view, _ = viewed(tmp_path, shown)
    assert [each.id for each in view.jobs] == listed
    assert view.not_listed == left_out
    assert (view.counts["queued"], view.counts["held"]) == (5, 3)


def test_of_a_long_queue_the_scheduler_is_asked_about_those_that_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "MANY", 5)
    view, asked = viewed(tmp_path, Shown(waiting=2), answers={1: WORDS, 2: WORDS})
    assert asked == [[1, 2]]
    assert [each.reason for each in view.jobs[:2]] == [str(WORDS)] * 2


def test_what_it_does_not_say_is_found_out_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MANY", 5)
    view, asked = viewed(tmp_path, Shown(waiting=2))
    assert asked == [[1, 2]]
    assert view.jobs[0].reason_code == "next"


@pytest.mark.parametrize("shown", [EVERYTHING, Shown(waiting=9)])
def test_nobody_is_asked_about_all_of_them_or_about_a_short_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Shown
) -> None:
    assert viewed(tmp_path, Shown(waiting=2))[1] == [], "a short queue"
    monkeypatch.setattr(status, "MANY", 1)
    assert viewed(tmp_path, shown)[1] == []


def test_without_a_scheduler_nothing_is_put_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MANY", 1)
    view, asked = viewed(tmp_path, Shown(waiting=2), running=False)
    assert asked == []
    assert {each.reason_code for each in view.jobs if each.state == "queued"} == {"no_scheduler"}
