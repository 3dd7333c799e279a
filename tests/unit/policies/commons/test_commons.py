"""What the pages of other workspaces come to, and who yields to whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from researchflow_tmux.domain.accounts import AccountUse, Hours, Rate
from researchflow_tmux.domain.register import LiveAttempt, Page, Seen, Want
from researchflow_tmux.policies.commons.adding import LAUNCHING_S, may_live, others
from researchflow_tmux.policies.commons.yielding import PATIENCE_S, YIELD_S, Yielding, is_better

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HALF_LIFE_S = 1000.0


def page(name: str, **fields: Any) -> Page:
    usual: dict[str, Any] = {
        "workspace_id": name,
        "path": f"/{name}",
        "task_name": name,
        "user": "ann",
        "uid": 1000,
        "pid": 1,
        "start_time": 1,
        "boot_id": "b",
        "at": NOW,
    }
    return Page(**(usual | fields))


def using(gpus: int, settled: float = 0.0, granted: float = 0.0) -> AccountUse:
    return AccountUse(
        running=Rate(gpus=gpus, cpus=gpus), settled={"total": Hours(gpu=settled)}, granted={"total": Hours(gpu=granted)}
    )


def seen(
    one: Page | None, *, alive: bool = True, problem: str | None = None, living: frozenset[str] = frozenset()
) -> Seen:
    return Seen(name="x", page=one, alive=alive, problem=problem, living=living)


def test_everybody_elses_use_is_added_up_and_ones_own_is_not() -> None:
    pages = [
        seen(page("me", uses={"project p": using(9)}, wants=(Want(project="p", gpus=1),))),
        seen(page("a", uses={"project p": using(1, 2.0, 3.0)}, wants=(Want(project="p", gpus=2),))),
        seen(page("b", uses={"project p": using(2, 1.0), "user ann": using(1)})),
    ]
    found = others(pages, "me", NOW, HALF_LIFE_S)
    assert found.uses["project p"].running == Rate(gpus=3, cpus=3)
    assert found.uses["project p"].hours("total") == Hours(gpu=6.0)
    assert found.uses["user ann"].running.gpus == 1
    assert found.wants == (("/a", Want(project="p", gpus=2)),)
    assert found.unknown == ()


def test_of_a_dead_scheduler_only_what_lives_runs_but_its_hours_stay_used() -> None:
    attempts = tuple(
        LiveAttempt(tag=f"a/{number}.1", owners=("project p",), rate=Rate(gpus=1, cpus=1)) for number in (1, 2)
    )
    dead = page("a", uses={"project p": using(2, 2.0, 3.0)}, attempts=attempts, wants=(Want(project="p", gpus=2),))
    found = others([seen(dead, alive=False, living=frozenset({"a/2.1"}))], "me", NOW, HALF_LIFE_S)
    assert found.uses["project p"].running == Rate(gpus=1, cpus=1)
    assert found.uses["project p"].hours("total") == Hours(gpu=5.0)
    assert found.wants == (), "nobody is there to take what it wants"


def test_an_attempt_that_nobody_has_seen_yet_may_still_begin_for_a_while() -> None:
    attempts = (
        LiveAttempt(tag="a/1.1", owners=("project p",), rate=Rate()),
        LiveAttempt(tag="a/2.1", owners=("project p",), rate=Rate(), runner_pid=5),
    )
    dead = page("a", attempts=attempts)
    assert may_live(dead, NOW + timedelta(seconds=LAUNCHING_S - 1), same_boot=True) == ["a/1.1"]
    assert may_live(dead, NOW + timedelta(seconds=LAUNCHING_S + 1), same_boot=True) == []
    assert may_live(dead, NOW, same_boot=False) == []


def test_use_fades_by_the_common_clock() -> None:
    old = page("a", at=NOW - timedelta(seconds=HALF_LIFE_S), used_gpu_s={"p": 100.0})
    found = others([seen(old), seen(page("b", used_gpu_s={"p": 7.0}))], "me", NOW, HALF_LIFE_S)
    assert found.used_gpu_s["p"] == pytest.approx(57.0)
    ahead = page("c", at=NOW + timedelta(hours=1), used_gpu_s={"p": 7.0})
    assert others([seen(ahead)], "me", NOW, HALF_LIFE_S).used_gpu_s["p"] == 7.0, "a clock that runs ahead gains nothing"


def test_a_page_that_cannot_be_read_is_unknown_and_counts_as_it_was_last() -> None:
    found = others(
        [
            seen(None, problem="cannot be understood"),
            seen(page("a", uses={"user ann": using(1)}), problem="is no file"),
        ],
        "me",
        NOW,
        HALF_LIFE_S,
    )
    assert found.unknown == ("x: cannot be understood", "x: is no file")
    assert found.uses["user ann"].running.gpus == 1


# -- yielding

URGENT_SOON = Want(project="p", gpus=1, latest_start_s=100.0)
URGENT_LATE = Want(project="p", gpus=1, latest_start_s=200.0)
POOR = Want(project="q", gpus=1, ratio=10.0)
RICH = Want(project="p", gpus=1, ratio=1000.0)
PRIVATE = Want(project="x", gpus=1)


@pytest.mark.parametrize(
    ("theirs", "mine", "better"),
    [
        (URGENT_SOON, URGENT_LATE, True),
        (URGENT_LATE, URGENT_SOON, False),
        (URGENT_SOON, URGENT_SOON, False),
        (URGENT_LATE, RICH, True),
        (URGENT_LATE, PRIVATE, True),
        (POOR, URGENT_LATE, False),
        (POOR, RICH, True),
        (RICH, POOR, False),
        (POOR, POOR, False),
        (POOR, PRIVATE, False),
        (PRIVATE, RICH, False),
        (Want(project="q", gpus=1, ratio=950.0), RICH, False),  # within the loan
    ],
)
def test_who_has_the_better_claim(theirs: Want, mine: Want, better: bool) -> None:
    assert is_better(theirs, mine, 100.0) is better


def test_it_yields_for_a_moment_then_goes_on_and_yields_again_later() -> None:
    yielding = Yielding()
    wants = [("/a", URGENT_SOON)]
    assert yielding.to(RICH, wants, 0.0, 0.0) == "/a"
    assert yielding.to(RICH, wants, 0.0, YIELD_S - 0.1) == "/a"
    assert yielding.to(RICH, wants, 0.0, YIELD_S) is None
    assert yielding.to(RICH, wants, 0.0, PATIENCE_S - 0.1) is None
    assert yielding.to(RICH, wants, 0.0, PATIENCE_S) == "/a"
    assert yielding.to(RICH, [], 0.0, PATIENCE_S + 1) is None


def test_several_others_together_take_no_longer_than_each_its_moment() -> None:
    yielding = Yielding()
    wants = [("/a", URGENT_SOON), ("/b", URGENT_LATE)]
    assert yielding.to(RICH, wants, 0.0, 0.0) == "/a"
    assert yielding.to(RICH, wants, 0.0, YIELD_S) == "/b", "its moment begins when it is its turn"
    assert yielding.to(RICH, wants, 0.0, 2 * YIELD_S) is None
