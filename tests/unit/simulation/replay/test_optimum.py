"""Small workloads against the best there is: when a batch ends, whether all deadlines are met."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean

import pytest

from researchflow_tmux.simulation.replay.trace import TraceJob
from tests.planner_cases import WITHOUT_SOLVER, all_met, batch, best_end_s, gap, overload, packed, ran, with_deadlines

BATCHES = 36
Batch = list[TraceJob]


def shaped(*shapes: tuple[float, int]) -> list[TraceJob]:
    """(seconds, GPUs) each."""
    return [
        TraceJob(name=str(number), submit_s=0.0, duration_s=takes_s, gpus=wide)
        for number, (takes_s, wide) in enumerate(shapes)
    ]


def test_the_solver_finds_what_is_known() -> None:
    pytest.importorskip("ortools", reason=WITHOUT_SOLVER)
    assert best_end_s(shaped(*[(1.0, 1)] * 8, (4.0, 2)), 4) == 4.0
    assert best_end_s(shaped((3.0, 2), (2.0, 1), (1.0, 1)), 2) == 5.0


@pytest.mark.parametrize("made", [batch, packed])
def test_batches_end_within_five_percent_of_the_best_on_average(made: Callable[..., Batch]) -> None:
    pytest.importorskip("ortools", reason=WITHOUT_SOLVER)
    batches = [made(seed, most=9) for seed in range(BATCHES)]
    gaps = [gap(jobs, "makespan", 8) for jobs in batches]
    assert min(gaps) >= 0.0
    assert mean(gaps) <= 0.05
    assert mean(gap(jobs, "sjf", 8) for jobs in batches) > 0.05, "so it is no matter of course"


def test_deadlines_that_can_be_met_are_met_in_95_of_100_small_cases() -> None:
    cases = [with_deadlines(seed) for seed in range(200)]
    assert sum(all_met(jobs, "balanced", gpus) for jobs, gpus in cases) >= 190
    assert sum(all_met(jobs, "easy_fifo", gpus) for jobs, gpus in cases) < 120, "so it is no matter of course"


@pytest.mark.parametrize(("jobs", "possible"), [(10, 5), (40, 10)])
def test_overload_is_no_domino(jobs: int, possible: int) -> None:
    """Many are due when only some can be done: so many are, and not one after the other too late."""
    done = ran(overload(jobs, possible), "balanced", 1)
    assert sum(one.end_s <= (one.job.deadline_s or 0.0) for one in done) >= possible
