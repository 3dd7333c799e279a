"""Jobs that wait for success, for failure, or for an end of any kind: histories, and any graph of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from researchflow_tmux.domain.attempt import Exited
from researchflow_tmux.domain.events import AttemptPlanned
from researchflow_tmux.domain.job import Condition, Job, JobState
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.conditions import Standing, standing
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_history
from tests.scenario.world import World

BAD = Exited(code=1, succeeded=False)
FAILS, WORKS = Script(duration_s=1.0, outcome=BAD), Script(duration_s=1.0)


def watched(a: Script | tuple[Script, ...]) -> World:
    """One job, and one behind it for each condition; one more behind those."""
    world = World({"a": a}, cpu_places=2)
    world.add("a")
    world.add("b", after=["a"])
    world.add("alarm", after=["a"], when="failure")
    world.add("late alarm", after=["b"], when="failure")
    world.add("report", after=["b", "alarm"], when="always")
    world.add("after alarm", after=["alarm"])
    return world


@pytest.mark.parametrize(
    ("script", "ends"),
    [
        (WORKS, ["succeeded", "succeeded", "skipped", "skipped", "succeeded", "skipped"]),
        (FAILS, ["failed", "skipped", "succeeded", "succeeded", "succeeded", "succeeded"]),
    ],
)
def test_each_condition(script: Script, ends: list[str]) -> None:
    world = watched(script)
    world.finish()
    assert list(world.states().values()) == ends
    check_history(world)


def test_a_cancelled_job_is_no_failure_but_an_end() -> None:
    world = watched(WORKS)
    world.at(0.5, lambda: world.tell("cancel", "a"))
    world.finish()
    ends = ["cancelled", "skipped", "skipped", "skipped", "succeeded", "skipped"]
    assert list(world.states().values()) == ends
    assert str(world.job("alarm").reason) == "nothing that it waits for failed: a (cancelled)"
    assert str(world.job("after alarm").reason) == "an earlier job did not succeed: alarm (skipped)"


def test_a_requeued_job_revives_whom_its_new_end_may_concern() -> None:
    world = watched((FAILS, WORKS))
    world.finish()
    world.tell("requeue", "a")
    world.finish()
    ends = ["succeeded", "succeeded", "succeeded", "succeeded", "succeeded", "succeeded"]
    assert list(world.states().values()) == ends, "what ran before stays as it is"
    assert (world.starts("alarm"), world.starts("report")) == (1, 1)

    world = watched((WORKS, FAILS))
    world.finish()
    world.tell("requeue", "a")
    world.finish()
    assert world.state("alarm") is JobState.SUCCEEDED
    assert world.starts("alarm") == 1


def test_what_another_failure_keeps_skipped_is_not_revived() -> None:
    world = World({"a": (FAILS, WORKS), "b": FAILS})
    world.add("a")
    world.add("b")
    world.add("c", after=["a", "b"])
    world.finish()
    world.tell("requeue", "a")
    world.finish(limit_s=60.0)
    assert world.states() == {"a": "succeeded", "b": "failed", "c": "skipped"}


def test_an_alarm_that_is_queued_by_hand_says_what_it_waits_for() -> None:
    world = watched(WORKS)
    world.finish()
    world.tell("requeue", "alarm")
    world.run(5.0)
    assert world.state("alarm") is JobState.QUEUED
    unmet = world.engine.workload.unmet(world.job("alarm").spec)
    assert [job.name for job in unmet] == ["a"]


def test_a_retry_is_no_failure_yet() -> None:
    world = World({"a": (FAILS, WORKS)})
    world.add("a", retries=1)
    world.add("alarm", after=["a"], when="failure")
    world.finish()
    assert world.states() == {"a": "succeeded", "alarm": "skipped"}


JOBS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 9), max_size=3),
        st.sampled_from(["success", "failure", "always"]),
        st.sampled_from([FAILS, WORKS, Script(duration_s=7.0)]),
    ),
    min_size=1,
    max_size=10,
)


def _build(jobs: list[tuple[set[int], Condition, Script]]) -> World:
    world = World({f"j{number}": script for number, (_, _, script) in enumerate(jobs)}, gpus=3)
    for number, (needs, when, _) in enumerate(jobs):
        above = sorted({f"j{need % number}" for need in needs}) if number else []
        world.add(f"j{number}", after=above, when=when if above else "success")
    return world


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(
    jobs=JOBS,
    crash=st.none() | st.tuples(st.sampled_from(["planned", "intent saved", "after commit"]), st.integers(1, 9)),
    cancelled=st.none() | st.integers(0, 9),
    again=st.none() | st.integers(0, 9),
)
def test_any_graph(jobs: Any, crash: Any, cancelled: int | None, again: int | None) -> None:
    world = _build(jobs)
    if crash is not None:
        world.crash_at(*crash)
    if cancelled is not None:
        world.at(0.5, lambda: world.tell("cancel", f"j{cancelled % len(jobs)}"))
    world.finish(limit_s=2_000.0)
    _nothing_began_before_its_condition_held(world)
    _all_ended_as_their_conditions_say(world)
    if again is not None:
        world.tell("requeue", f"j{again % len(jobs)}")
        alone = standing(world.engine.workload.jobs, world.job(f"j{again % len(jobs)}").spec) is Standing.NEVER
        if not alone:  # else: by hand in spite of what it needs; it waits
            world.finish(limit_s=2_000.0)
            _nothing_began_before_its_condition_held(world)


def _nothing_began_before_its_condition_held(world: World) -> None:
    """The history, played again: whenever an attempt was planned, the condition of its job was met."""
    replayed = Workload()
    for event in world.store.events():
        if isinstance(event.payload, AttemptPlanned):
            job = replayed.jobs[event.payload.attempt.job_id]
            assert _may_begin(replayed.jobs, job), job.name
        replayed.apply(event.payload, event.at)


def _may_begin(jobs: Mapping[int, Job], job: Job) -> bool:
    """The promise in other words than the engine's."""
    states = [jobs[need].state for need in job.spec.after]
    if job.spec.when == "success":
        return states.count(JobState.SUCCEEDED) == len(states)
    if any(state in (JobState.QUEUED, JobState.HELD, JobState.ACTIVE) for state in states):
        return False
    return job.spec.when == "always" or any(_went_wrong(jobs, jobs[need]) for need in job.spec.after)


def _went_wrong(jobs: Mapping[int, Job], job: Job) -> bool:
    skipped = job.state is JobState.SKIPPED
    return job.state is JobState.FAILED or (skipped and any(_went_wrong(jobs, jobs[need]) for need in job.spec.after))


def _all_ended_as_their_conditions_say(world: World) -> None:
    jobs = world.engine.workload.jobs
    for job in jobs.values():
        stands = standing(jobs, job.spec)
        assert stands is not Standing.OPEN, job.name
        if job.state is not JobState.CANCELLED:
            assert (job.state is JobState.SKIPPED) is (stands is Standing.NEVER), (job.name, world.states())
