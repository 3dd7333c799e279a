"""GPUs of which there are few are left to jobs that cannot run on others: a machine of A100 and T4 with peaks."""

from __future__ import annotations

import functools

import pytest

from researchflow_tmux.domain.simulated_gpus import simulated_gpus
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.simulation.replay.by_type import by_type as of_types
from researchflow_tmux.simulation.replay.comparing import Run, run
from researchflow_tmux.simulation.replay.figures import OfType, Piece, Ran
from researchflow_tmux.simulation.replay.synthetic import daily
from researchflow_tmux.simulation.replay.trace import TraceJob

SEEDS = (0, 1)


@functools.cache
def by_type(policy: str, *, keep: bool) -> list[dict[str, OfType]]:
    """The days of `rfsched simulate --gpus 4xA100,12xT4 --gpu-type A100=0.32 --daily --jobs 450`."""
    found = []
    for seed in SEEDS:
        trace = daily(jobs=450, gpus=16, seed=seed, kinds={"A100": (0.32, 4)})
        devices = tuple(simulated_gpus("4xA100,12xT4"))
        it = Run(trace=trace, gpus=16, devices=devices, keep_scarce=keep, seed=seed)
        figures = run(it, policy, POLICIES[policy])
        assert figures.unfinished == 0
        found.append({kind.gpu_type: kind for kind in figures.types})
    return found


def mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    assert known
    return sum(known) / len(known)


@pytest.mark.parametrize("policy", ["balanced", "easy_fifo"])
def test_choosy_jobs_wait_less_others_do_not_wait_longer_and_nothing_is_wasted(policy: str) -> None:
    kept, not_kept = by_type(policy, keep=True), by_type(policy, keep=False)
    waits = [mean([each["A100"].mean_wait_s for each in runs]) for runs in (kept, not_kept)]
    assert waits[0] < 0.85 * waits[1], f"choosy jobs: {waits}"
    others = [mean([each["any"].mean_wait_s for each in runs]) for runs in (kept, not_kept)]
    assert others[0] < 1.15 * others[1], f"others: {others}"
    for each in kept:
        assert (each["A100"].utilisation_when_wanted or 0) > 0.8
        assert each["A100"].utilisation_under_backlog is None or each["A100"].utilisation_under_backlog > 0.8
    assert all(each["T4"].jobs == 0 and each["A100"].jobs > 40 for each in kept)


def test_a_job_that_was_stopped_counts_where_it_was() -> None:
    jobs = (
        TraceJob(name="a", submit_s=0.0, duration_s=20.0, gpus=1),
        TraceJob(name="b", submit_s=20.0, duration_s=1.0),
    )
    first = Ran(job=jobs[0], start_s=0.0, end_s=20.0, stopped=(Piece(0.0, 10.0, 0.0, (0,)),), resumed_s=10.0, on=(1,))
    rows = of_types([first, Ran(job=jobs[1], start_s=20.0, end_s=21.0, on=(1,))], {0: "A100", 1: "T4"})
    assert {row.gpu_type: row.utilisation for row in rows} == {"A100": 0.5, "T4": 0.5, "any": 0.5}


def test_figures_by_type_add_up() -> None:
    for each in by_type("balanced", keep=True):
        assert (each["A100"].gpus, each["T4"].gpus, each["any"].gpus) == (4, 12, 16)
        parts = [(each[name].utilisation or 0) * each[name].gpus for name in ("A100", "T4")]
        assert sum(parts) == pytest.approx((each["any"].utilisation or 0) * 16, abs=0.01)
