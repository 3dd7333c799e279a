"""Every decision is kept with what it went by, and the same code comes to the same decision from that."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters import decision_log
from researchflow_tmux.adapters.decision_log import DecisionLog, about, most_bytes, read
from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.decisions import Decision
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.recording import MOST_WAITING, Recorder
from researchflow_tmux.engine.planning.replaying import differences
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.simulation.replay.guesses import Guesses
from researchflow_tmux.simulation.replay.replay import _Machine
from researchflow_tmux.simulation.replay.synthetic import synthetic
from researchflow_tmux.testing import World

GPUS = 8


@functools.cache
def simulated_days(policy: str, *, noisy: bool, seed: int) -> list[Decision]:
    """Days on a full machine: projects with weights, a cap, deadlines, CPU jobs."""
    trace = synthetic(jobs=150, gpus=GPUS, seed=seed)
    jobs = [
        replace(
            job,
            project="abc"[number % 3],
            gpus=0 if number % 11 == 0 else job.gpus,
            deadline_s=job.submit_s + 2 * job.duration_s + 40_000 if number % 5 == 0 else None,
        )
        for number, job in enumerate(trace.jobs)
    ]
    trace = replace(trace, jobs=jobs)
    machine = _Machine(trace, GPUS)
    claims = Claims({Owner("project", "b"): Bounds(gpus=5)})
    machine.engine.context.accounting.claims = claims
    if policy != "queue":
        rules = PlanRules(policy=POLICIES[policy], weights={"a": 2.0})
        machine.plan_with(rules, Guesses(trace, noisy=noisy, seed=seed), claims)
    recorder = machine.engine.choice.recorder = Recorder()
    machine.run()
    decisions = [msgspec.json.decode(msgspec.json.encode(each), type=Decision) for each in recorder.take()]
    assert len(decisions) < MOST_WAITING, "none was dropped"
    return decisions


@pytest.mark.parametrize(("policy", "noisy"), [*((name, False) for name in (*POLICIES, "queue")), ("balanced", True)])
def test_all_decisions_of_simulated_days_are_made_again_the_same(policy: str, noisy: bool) -> None:
    decisions = simulated_days(policy, noisy=noisy, seed=7 + noisy)
    assert sum(len(each.started) for each in decisions) >= 146, "every start is in one"
    wrong = {place: found for place, each in enumerate(decisions) if (found := differences(each))}
    assert wrong == {}
    if policy == "balanced":
        assert any(one.lane for each in decisions for one in each.considered), "the urgent lane was in it"
        assert any(one.answer == "cap" for each in decisions for one in each.considered), "and the cap"
    if policy not in ("fifo", "makespan", "queue"):
        assert any(each.shadow_s is not None for each in decisions), "and reservations"


def test_a_policy_of_ones_own_is_replayed_from_the_keys_that_it_gave() -> None:
    world = World(gpus=3, policy=lambda job, facts: (job.gpus, -len(facts.running)), record=True)
    for number in range(20):
        world.submit(f"j{number}", gpus=number % 3 + 1, takes=600 + 60 * number)
    world.run_until_idle()
    assert world.decisions is not None
    assert sum(len(each.started) for each in world.decisions) == 20
    assert all(differences(each) == [] for each in world.decisions)


def test_budgets_are_replayed_too() -> None:
    projects = {"p": {"gpu_hours": 6.0, "period": "day"}}
    world = World(gpus=4, policy="balanced", projects=projects, record=True)
    for number in range(12):
        project = "p" if number % 2 else None
        world.submit(f"j{number}", takes=1200 + 60 * number, gpus=number % 3 + 1, project=project, time_limit="1h")
    world.run_until_idle()
    decisions = [msgspec.json.decode(msgspec.json.encode(each), type=Decision) for each in world.decisions or ()]
    assert any(one.answer == "cap" for each in decisions for one in each.considered), "the budget was in the way"
    assert [found for each in decisions if (found := differences(each))] == []


@pytest.mark.parametrize("policy", ["balanced", "easy_fifo"])
def test_who_had_the_first_choice_of_scarce_gpus_is_replayed_too(policy: str) -> None:
    world = World(kinds="2xA100,4xT4", policy=policy, record=True)
    for number in range(40):
        kind = (
            {"gpu_type": "A100"} if number % 4 == 0 else {"topology": "nvlink!", "gpus": 2} if number % 9 == 5 else {}
        )
        world.submit(f"j{number}", takes=900 + 400 * (number % 7), **kind)
        world.advance("4m")
    world.run_until_idle()
    decisions = [msgspec.json.decode(msgspec.json.encode(each), type=Decision) for each in world.decisions or ()]
    assert any(one.answer == "kept" for each in decisions for one in each.considered), "some were kept off"
    assert [found for each in decisions if (found := differences(each))] == []


def late(decision: Decision) -> Decision:
    return replace(decision, shadow_s=(decision.shadow_s or 0.0) + 1)


def other_order(decision: Decision) -> Decision:
    if not decision.considered:
        return decision
    first, *rest = decision.considered
    key = (first.key[0] + 99, *first.key[1:])
    return replace(decision, considered=(replace(first, key=key), *rest))


def another_ratio(decision: Decision) -> Decision:
    return replace(decision, ratios={name: -ratio for name, ratio in decision.ratios.items()})


def less_room(decision: Decision) -> Decision:
    return replace(decision, free=dict.fromkeys(decision.free, 0.0), cpu_places=0)


def no_cap(decision: Decision) -> Decision:
    bounds = {name: {**each, "gpus": None} for name, each in decision.accounts.get("bounds", {}).items()}
    return replace(decision, accounts={**decision.accounts, "bounds": bounds} if decision.accounts else {})


def nobody_reserved(decision: Decision) -> Decision:
    return replace(decision, reserved=None)


def given_twice(decision: Decision) -> Decision:
    considered = [replace(one, got=(0,) * len(one.got)) if one.got else one for one in decision.considered]
    return replace(decision, considered=tuple(considered), free={**decision.free, 0: 0.0})


@pytest.mark.parametrize(
    ("change", "least"),
    [(late, 20), (other_order, 20), (another_ratio, 5), (less_room, 60), (no_cap, 3), (nobody_reserved, 20),
     (given_twice, 60)],
)  # fmt: skip
def test_a_record_that_says_something_else_is_found_out(change: Callable[[Decision], Decision], least: int) -> None:
    decisions = simulated_days("balanced", noisy=True, seed=8)
    assert sum(bool(differences(change(each))) for each in decisions) >= least


def test_the_queues_order_is_found_out_too() -> None:
    decisions = simulated_days("queue", noisy=False, seed=8)
    several = [each for each in decisions if len(each.considered) > 1]
    assert all(differences(other_order(each)) for each in several)
    assert all(differences(replace(each, started=(999,))) for each in several)


def test_what_is_like_the_one_before_and_starts_nothing_is_kept_once() -> None:
    world = World(gpus=1, policy="balanced", cpu_jobs=1, record=True)
    world.submit("a", takes="2h")
    world.submit("b", takes="2h")
    world.advance("1m")
    before = len(world.decisions or ())
    for _ in range(5):
        world.tick()
    assert len(world.decisions or ()) - before <= 1


def test_nothing_is_noted_beyond_what_somebody_writes() -> None:
    recorder = Recorder()
    world = World(gpus=1, policy="balanced")
    world.engine.choice.recorder = recorder
    recorder._rough = [None] * MOST_WAITING  # type: ignore[list-item]
    world.submit("a")
    world.advance(1)
    assert len(recorder._rough) == MOST_WAITING


# The file -------------------------------------------------------------------------------------------------------------


def some() -> list[Decision]:
    return simulated_days("easy_fifo", noisy=False, seed=7)


def test_the_file_keeps_the_latest_within_its_size(tmp_path: Path) -> None:
    decisions = some()
    path = str(tmp_path / "decisions.jsonl")
    log = DecisionLog(path, 40_000)
    for _ in range(5):
        log.write(decisions)
    log.close()
    assert decision_log.size(path) <= 40_000
    found = list(read(path))
    assert found == decisions[-len(found) :]
    assert len(found) > 5
    assert (tmp_path / "decisions.jsonl").stat().st_mode & 0o077 == 0


def test_what_is_cut_off_or_of_another_version_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    good = msgspec.json.encode(some()[0])
    other = msgspec.json.encode(replace(some()[0], schema="rfsched.decision/9"))
    path.write_bytes(b"\n".join([good, b"{}", b"\xff", other, good, good[:50]]))
    assert len(list(read(str(path)))) == 2
    assert list(read(str(tmp_path / "none"))) == []


def test_a_file_that_cannot_be_written_costs_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DecisionLog(str(tmp_path / "decisions.jsonl"), 1000)

    def full(*_arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("researchflow_tmux.adapters.log_files.os.write", full)
    log.write(some())


@pytest.mark.parametrize(("setting", "size"), [("on", 8 << 20), ("off", None), ("2MiB", 2 << 20), ("3", 3 << 20)])
def test_what_the_setting_means(setting: str, size: int | None) -> None:
    assert most_bytes(setting) == size


def test_the_last_ones_about_a_job_are_found() -> None:
    decisions = some()
    wide = next(one.id for each in decisions for one in each.considered if one.answer == "reserved")
    found, later = about(decisions, wide, 3)
    assert 1 <= len(found) <= 3
    assert found[-1].started.count(wide) == 1, "in the end it started"
    assert later == len(decisions) - 1 - decisions.index(found[-1])
    assert about(decisions, 10**6, 3) == ([], len(decisions))
