"""Figures and bounds, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.simulation.replay.bounds import makespan_bound, work_bound
from researchflow_tmux.simulation.replay.figures import Ran, measure
from researchflow_tmux.simulation.replay.trace import TraceJob


def came(at_s: float, takes_s: float, gpus: int = 1, *, project: str = "", due_s: float | None = None) -> TraceJob:
    return TraceJob(
        name=f"{at_s}/{takes_s}", submit_s=at_s, duration_s=takes_s, gpus=gpus, project=project, deadline_s=due_s
    )


def ran(job: TraceJob, start_s: float) -> Ran:
    return Ran(job=job, start_s=start_s, end_s=start_s + job.duration_s)


def test_the_figures_of_three_jobs() -> None:
    jobs = [came(0, 100, 2, project="a"), came(10, 50, 1, project="b", due_s=140), came(20, 10, 1, due_s=200)]
    found = measure("p", [ran(jobs[0], 0), ran(jobs[1], 100), ran(jobs[2], 100)], 2)
    assert (found.jobs, found.makespan_s) == (3, 150.0)
    assert (found.mean_wait_s, found.p50_wait_s, found.p99_wait_s, found.max_wait_s) == (56.667, 80.0, 90.0, 90.0)
    assert (found.mean_jct_s, found.p50_jct_s, found.p99_jct_s) == (110.0, 100.0, 140.0)
    assert (found.utilisation, found.utilisation_of_bound) == (1.0, 1.0), "of the 20 s until the last one came"
    assert found.shares == {"": 0.0, "a": 1.0, "b": 0.0}
    assert (found.deadline_jobs, found.deadline_misses) == (2, 1)
    assert (found.utilisation_under_backlog, found.backlog_s) == (None, 0.0)


def test_what_is_used_under_backlog() -> None:
    jobs = [came(0, 10) for _ in range(25)]
    found = measure("p", [ran(job, number * 10.0) for number, job in enumerate(jobs)], 2)
    assert found.backlog_s == 50.0, "from 24 that wait down to 20, and at the very begin"
    assert found.utilisation_under_backlog == 0.5


def test_nothing_ran() -> None:
    found = measure("p", [], 2, unfinished=3)
    assert (found.jobs, found.unfinished, found.mean_wait_s, found.utilisation) == (0, 3, None, None)
    assert (found.makespan_s, found.makespan_of_bound, found.shares) == (0.0, None, {})


@pytest.mark.parametrize(
    ("jobs", "by_s", "bound"),
    [
        ([came(0, 100)], 100.0, 100.0),  # one job cannot use more than one GPU
        ([came(0, 100, 2)], 100.0, 200.0),
        ([came(0, 100, 2), came(50, 100, 2)], 100.0, 200.0),
        ([came(50, 100, 2)], 100.0, 100.0),  # nothing to do before it came
        ([came(0, 10)] * 30, 100.0, 200.0),
        ([], 100.0, 0.0),
    ],
)
def test_the_bound_on_work(jobs: list[TraceJob], by_s: float, bound: float) -> None:
    assert work_bound(jobs, 2, by_s) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("jobs", "bound"),
    [
        ([came(0, 100), came(0, 100), came(0, 100)], 150.0),
        ([came(0, 100), came(90, 100)], 190.0),
        ([came(0, 60, 3), came(0, 60, 3)], 120.0),  # each wider than half of 4
        ([], 0.0),
    ],
)
def test_the_bound_on_the_makespan(jobs: list[TraceJob], bound: float) -> None:
    assert makespan_bound(jobs, 4 if jobs and jobs[0].gpus == 3 else 2) == pytest.approx(bound)


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(1, 500)), min_size=1, max_size=20), st.integers(1, 3))
def test_no_schedule_beats_the_bounds(shapes: list[tuple[float, float]], gpus: int) -> None:
    free = [0.0] * gpus
    done = []
    for at_s, takes_s in sorted(shapes):
        start_s = max(min(free), at_s)
        free[free.index(min(free))] = start_s + takes_s
        done.append(ran(came(at_s, takes_s), start_s))
    found = measure("p", done, gpus)
    assert found.makespan_of_bound is not None
    assert found.makespan_of_bound >= 0.9999
    assert found.utilisation_of_bound is None or found.utilisation_of_bound <= 1.0001
