"""The real decisions on a clock that runs ahead."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Running
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.engine.capacity import capacity
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.simulation.foresight import Foreseen, go_on
from researchflow_tmux.simulation.replay.guesses import Guesses
from researchflow_tmux.simulation.replay.replay import replay
from researchflow_tmux.simulation.replay.synthetic import synthetic
from tests.unit.engine.samples import NOW, at, attempt, device, job, slots


def foreseen(
    *jobs: Job, gpus: int = 1, policy: str | None = None, took_s: float = 10.0, running: dict[int, float] | None = None,
    **wanted: Any,
) -> Foreseen:  # fmt: skip
    live = [attempt(number, 1, Running(started_at=NOW, runner_pid=1), allocation=slots(0)) for number in running or ()]
    workload = Workload(jobs, live)
    devices = [device(index) for index in range(gpus)]
    choice = Choice(workload)
    if policy is not None:
        rules = PlanRules(policy=POLICIES[policy])
        choice.use(Planner(workload, rules, History(), devices=devices, share=1.0, now=NOW))
    ends = {(number, 1): at(left_s) for number, left_s in (running or {}).items()}

    def room(_now: datetime) -> Any:
        return capacity(workload, devices, share=1.0, max_cpu_jobs=1)

    return go_on(choice, room, NOW, lengths=lambda _job: took_s, ends=ends, **wanted)


def starts(found: Foreseen) -> dict[int, float]:
    return {job_id: (stay.start_at - NOW).total_seconds() for job_id, stay in found.stays.items()}


@pytest.mark.parametrize("policy", [None, "balanced", "easy_fifo"])
def test_one_after_another_as_places_get_free(policy: str | None) -> None:
    found = foreseen(job(1, queued_s=1), job(2, queued_s=2), job(3, queued_s=3), gpus=2, policy=policy)
    assert starts(found) == {1: 0.0, 2: 0.0, 3: 10.0}
    assert found.complete
    assert [stay.gpus for stay in found.stays.values()] == [(0,), (1,), (0,)]


def test_what_runs_keeps_its_place_until_its_own_end() -> None:
    found = foreseen(job(1, JobState.ACTIVE, attempts=1), job(2), running={1: 25.0})
    assert starts(found) == {1: 0.0, 2: 25.0}
    assert found.stays[1].running
    overdue = foreseen(job(1, JobState.ACTIVE, attempts=1), job(2), running={1: -99.0})
    assert starts(overdue)[2] == 0.0, "what should have ended long ago ends now, not in the past"


def test_jobs_that_need_each_other_follow_each_other() -> None:
    found = foreseen(job(1), job(2, after=(1,)), job(3, after=(2,)), gpus=4)
    assert starts(found) == {1: 0.0, 2: 10.0, 3: 20.0}


def test_what_is_for_failures_is_skipped_and_what_is_held_stays() -> None:
    found = foreseen(job(1), job(2, after=(1,), when="failure"), job(3, JobState.HELD), gpus=4)
    assert set(found.stays) == {1}
    assert found.complete


def test_backoffs_are_waited_for() -> None:
    assert starts(foreseen(job(1, not_before=at(40.0)))) == {1: 40.0}


def test_it_ends_when_enough_is_known() -> None:
    many = [job(number, queued_s=number) for number in range(1, 20)]
    assert set(foreseen(*many, wanted=[3]).stays) == {1, 2, 3}
    few = foreseen(*many, most=5)
    assert len(few.stays) == 5
    assert not few.complete


def test_what_can_never_start_ends_it() -> None:
    found = foreseen(job(1, gpus=9), job(2), policy="balanced")
    assert set(found.stays) == {2}
    assert found.complete


# -- the plan is what happens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["balanced", "easy_fifo", "makespan"])
def test_what_is_foreseen_is_what_the_scheduler_then_does(policy: str) -> None:
    """The whole engine on a virtual clock, with launches and exit records, against the quick look ahead."""
    made = synthetic(jobs=60, gpus=4, seed=7)
    trace = replace(
        made, jobs=tuple(replace(each, submit_s=0.0, project=f"p{n % 3}") for n, each in enumerate(made.jobs))
    )
    known = Guesses(trace, noisy=False, seed=0)
    ran = replay(trace, gpus=4, policy=POLICIES[policy], estimator=known).ran
    jobs = [
        job(number, name=each.name, gpus=each.gpus, project=each.project, queued_s=0.0)
        for number, each in enumerate(trace.jobs, 1)
    ]
    workload, devices = Workload(jobs), [device(index) for index in range(4)]
    choice = Choice(workload)
    rules = PlanRules(policy=POLICIES[policy])
    choice.use(Planner(workload, rules, known, devices=devices, share=1.0, now=NOW))
    lengths = {each.name: each.duration_s for each in trace.jobs}
    found = go_on(
        choice,
        lambda _now: capacity(workload, devices, share=1.0, max_cpu_jobs=4),
        NOW,
        lengths=lambda one: lengths[one.name],
        ends={},
    )
    by_name = {workload.jobs[job_id].name: stay for job_id, stay in found.stays.items()}
    assert len(ran) == len(by_name) == 60
    for one in ran:
        start_s = (by_name[one.job.name].start_at - NOW).total_seconds()
        assert start_s == pytest.approx(one.start_s, abs=1.0), one.job.name
