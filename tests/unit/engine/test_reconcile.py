"""What follows from an observation: every observation in every phase under every answer of tmux, as one table."""

from __future__ import annotations

from itertools import product

import pytest

from researchflow_tmux.domain.attempt import (
    Ended,
    Exited,
    Killed,
    LaunchFailed,
    Launching,
    Lost,
    Phase,
    Planned,
    Running,
    Stopping,
)
from researchflow_tmux.domain.events import AttemptEnded, AttemptStarted
from researchflow_tmux.engine.reconcile import (
    Destroy,
    Fence,
    NeedSnapshot,
    Relaunch,
    Verdict,
    disowned,
    fenced,
    is_success,
    lost,
    reconcile,
)
from researchflow_tmux.ports import (
    ClaimFree,
    ClaimHeld,
    Fenced,
    NotClaimed,
    Observation,
    ServerDown,
    Session,
    Sessions,
    Snapshot,
    Unknown,
    Unreaped,
)
from tests.unit.engine.samples import NOW, at, attempt

SESSION = "t_j1_gpu0"
RECORD = Ended(outcome=Exited(code=0, succeeded=True), ended_at=NOW)
HELD = ClaimHeld(runner_pid=7, started_at=at(-9))


def sessions(*, dead: bool | None) -> Sessions:
    """Our session alive or dead; None = there is none of that name."""
    found = Session(name=SESSION, tag="ws/1.1", pane_pid=7, pane_dead=bool(dead), attached=0, created_at=0.0)
    return Sessions(by_name={} if dead is None else {SESSION: found}, foreign_names=frozenset({"x"}), server_pid=1)


PHASES: dict[str, Phase] = {
    "planned": Planned(at=at(-9)),
    "launching now": Launching(at=at(-0.5), runner_pid=7),
    "launching": Launching(at=at(-3), runner_pid=7),
    "launching long": Launching(at=at(-30), runner_pid=7),
    "launching too long": Launching(at=at(-90), runner_pid=7),
    "launching, clock set back": Launching(at=at(9000), runner_pid=7),
    "running": Running(started_at=at(-9), runner_pid=7),
    "headless": Running(started_at=at(-9), runner_pid=7, headless=True),
    "stopping": Stopping(by="user", since=at(-5), kill_at=at(5)),
    "stopping too long": Stopping(by="user", since=at(-50), kill_at=at(-5)),
    "stopping, clock set back": Stopping(by="user", since=at(9000), kill_at=at(9050)),
}
SNAPSHOTS: dict[str, Snapshot | None] = {
    "not asked": None,
    "alive": sessions(dead=False),
    "dead": sessions(dead=True),
    "none": sessions(dead=None),
    "down": ServerDown(),
    "unknown": Unknown(why="no answer"),
}
OBSERVATIONS: dict[str, Observation] = {
    "record": RECORD,
    "unreaped": Unreaped(ended=RECORD, pids=(5,)),
    "held": HELD,
    "free": ClaimFree(),
    "free, survivors": ClaimFree(survivors=(5,)),
    "fenced": Fenced(),
    "unclaimed": NotClaimed(),
    "unknown": Unknown(why="stale"),
}

UNCLAIMED: dict[str, list[str | None]] = {
    # phase: verdict by snapshot (not asked, alive, dead, none, down, unknown)
    "planned": ["ask", "relaunch", "fence", "relaunch", "relaunch", None],
    "launching now": [None, None, None, None, None, None],
    "launching": ["ask", None, "fence", None, None, None],
    "launching long": ["ask", None, "fence", "fence", "fence", None],
    "launching too long": ["ask", "fence", "fence", "fence", "fence", None],
    "launching, clock set back": ["ask", "fence", "fence", "fence", "fence", None],
    "running": ["ask", None, None, None, None, None],
    "headless": ["ask", None, None, None, None, None],
    "stopping": ["ask", "fence", "fence", "fence", "fence", None],
    "stopping too long": ["ask", "fence", "fence", "fence", "fence", None],
    "stopping, clock set back": ["ask", "fence", "fence", "fence", "fence", None],
}
HELD_CLAIM: dict[str, list[str | None]] = {
    "running": [None, None, None, "headless", "headless", None],
    "headless": [None, "started", "started", None, None, None],
    "stopping": [None] * 6,
    "stopping too long": ["destroy"] * 6,
    "stopping, clock set back": ["destroy"] * 6,
}
NOT_YET_SEEN: list[str | None] = ["started", "started", "started", "headless", "headless", "started"]
SAME_FOR_ALL: dict[str, str | None] = {
    "record": "ended",
    "unreaped": "ended, quarantined",
    "free": "destroy",
    "free, survivors": "destroy",
    "unknown": None,
}


def expected(phase: str, seen: str, snapshot: str) -> str | None:
    column = list(SNAPSHOTS).index(snapshot)
    if seen == "unclaimed":
        return UNCLAIMED[phase][column]
    if seen == "held":
        return HELD_CLAIM.get(phase, NOT_YET_SEEN)[column]
    if seen == "fenced":
        return "killed" if "stopping" in phase else "launch failed"
    return SAME_FOR_ALL[seen]


ENDS: dict[type, str] = {Exited: "ended", Killed: "killed", LaunchFailed: "launch failed", Lost: "lost"}
ACTS: dict[type, str] = {Fence: "fence", Relaunch: "relaunch", Destroy: "destroy", NeedSnapshot: "ask"}


def verdict_in_words(verdict: Verdict) -> str | None:
    match verdict:
        case None:
            return None
        case AttemptStarted(headless=headless, runner_pid=7, started_at=started_at) if started_at == HELD.started_at:
            return "headless" if headless else "started"
        case AttemptEnded(quarantined=pids) if pids:
            return "ended, quarantined"
        case AttemptEnded(ended=ended):
            return ENDS[type(ended.outcome)]
        case _:
            return ACTS[type(verdict)]


@pytest.mark.parametrize("seen", OBSERVATIONS)
@pytest.mark.parametrize("phase", PHASES)
def test_the_table(phase: str, seen: str) -> None:
    one = attempt(phase=PHASES[phase])
    found = {
        snapshot: verdict_in_words(reconcile(one, OBSERVATIONS[seen], SNAPSHOTS[snapshot], NOW))
        for snapshot in SNAPSHOTS
    }
    assert found == {snapshot: expected(phase, seen, snapshot) for snapshot in SNAPSHOTS}


def test_unknown_never_changes_anything() -> None:
    for phase, snapshot in product(PHASES.values(), SNAPSHOTS.values()):
        assert reconcile(attempt(phase=phase), Unknown(why="?"), snapshot, NOW) is None
    for phase in PHASES.values():
        verdict = reconcile(attempt(phase=phase), NotClaimed(), Unknown(why="?"), NOW)
        assert verdict is None, "a silent tmux says nothing about a launch"


@pytest.mark.parametrize(
    ("phase", "outcome"),
    [
        ("planned", LaunchFailed(reason="x", host=True)),
        ("launching", LaunchFailed(reason="x", host=True)),
        ("stopping", Killed(by="user")),
    ],
)
def test_the_end_of_a_fenced_attempt(phase: str, outcome: object) -> None:
    assert fenced(attempt(phase=PHASES[phase]), "x", NOW).ended.outcome == outcome


@pytest.mark.parametrize(
    ("phase", "rebooted", "kind", "last_seen"),
    [
        ("launching", False, Lost, at(-1)),
        ("running", False, Lost, at(-9)),
        ("running", True, Lost, at(-9)),
        ("stopping", False, Killed, None),
    ],
)
def test_the_end_of_a_lost_attempt(phase: str, rebooted: bool, kind: type, last_seen: object) -> None:
    ended = lost(attempt(phase=PHASES[phase]), ClaimFree(started_at=at(-1), rebooted=rebooted), NOW)
    outcome = ended.ended.outcome
    assert isinstance(outcome, kind)
    if isinstance(outcome, Lost):
        assert outcome.last_seen_at == last_seen
        assert ("restarted" in outcome.why) == rebooted


def test_an_attempt_of_another_workspace_is_lost_to_this_one() -> None:
    assert disowned(attempt(), "copied", NOW).ended.outcome == Lost(why="copied")


@pytest.mark.parametrize(
    ("outcome", "ok"),
    [(Exited(code=0, succeeded=True), True), (Exited(code=1, succeeded=False), False), (Killed(by="user"), False)],
)
def test_success(outcome: Exited | Killed, ok: bool) -> None:
    payload = AttemptEnded(job_id=1, number=1, ended=Ended(outcome=outcome, ended_at=NOW))
    assert is_success(payload) is ok


def test_every_phase_is_in_the_table() -> None:
    assert {type(phase) for phase in PHASES.values()} == {Planned, Launching, Running, Stopping}
