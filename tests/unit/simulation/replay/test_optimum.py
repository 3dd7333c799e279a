"""Small workloads against the best there is, found by trying: when a batch ends, whether all deadlines are met."""

from __future__ import annotations

import random
from statistics import mean

from msgspec.structs import replace

from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.simulation.replay.figures import Ran
from researchflow_tmux.simulation.replay.guesses import Guesses
from researchflow_tmux.simulation.replay.replay import replay
from researchflow_tmux.simulation.replay.synthetic import synthetic
from researchflow_tmux.simulation.replay.trace import TraceJob, made

Shape = tuple[float, int]
"""(seconds, GPUs)."""


def ran(jobs: list[TraceJob], policy: str, gpus: int) -> list[Ran]:
    trace = made("small", jobs)
    done = replay(trace, gpus=gpus, policy=POLICIES[policy], estimator=Guesses(trace, noisy=False, seed=0))
    assert done.unfinished == []
    return done.ran


def best_end(shapes: list[Shape], gpus: int, known_s: float) -> float:
    """The earliest end of all of them in any order of starting: the best schedule is among those. `known_s` = one."""
    least_s = max(sum(takes_s * wide for takes_s, wide in shapes) / gpus, max(takes_s for takes_s, _ in shapes))
    best_s = known_s

    def go_on(free_at: tuple[float, ...], left: frozenset[int], end_s: float) -> None:
        nonlocal best_s
        if not left:
            best_s = min(best_s, end_s)
            return
        work = sum(shapes[index][0] * shapes[index][1] for index in left)
        if best_s <= least_s * (1 + 1e-9) or (sum(free_at) + work) / gpus >= best_s:
            return
        for index in left:
            takes_s, wide = shapes[index]
            ends_s = free_at[wide - 1] + takes_s
            if ends_s < best_s:
                go_on(tuple(sorted((ends_s,) * wide + free_at[wide:])), left - {index}, max(end_s, ends_s))

    go_on((0.0,) * gpus, frozenset(range(len(shapes))), 0.0)
    return best_s


def test_the_search_finds_what_is_known() -> None:
    assert best_end([(1.0, 1)] * 8 + [(4.0, 2)], 4, 99.0) == 4.0
    assert best_end([(3.0, 2), (2.0, 1), (1.0, 1)], 2, 99.0) == 5.0


def test_batches_end_within_five_percent_of_the_best_on_average() -> None:
    gaps = []
    for seed in range(30):
        batch = [replace(job, submit_s=0.0) for job in synthetic(jobs=4 + seed % 5, gpus=8, seed=seed).jobs]
        end_s = max(one.end_s for one in ran(batch, "makespan", 8))
        best_s = best_end([(job.duration_s, job.gpus) for job in batch], 8, end_s)
        gaps.append(end_s / best_s - 1)
    assert mean(gaps) <= 0.05
    assert mean(gaps) >= 0.0


def with_deadlines(seed: int) -> tuple[list[TraceJob], int]:
    """Jobs whose deadlines can all be met: a schedule at random says when each may end, and some have more time."""
    chance = random.Random(seed)
    gpus = chance.choice([2, 4, 8])
    jobs = list(synthetic(jobs=chance.randint(4, 8), gpus=gpus, seed=seed).jobs)
    chance.shuffle(jobs)
    free_at, slack, found = [0.0] * gpus, chance.choice([0.1, 0.5, 1.0, 2.0]), []
    for job in jobs:
        free_at.sort()
        end_s = free_at[job.gpus - 1] + job.duration_s
        free_at[: job.gpus] = [end_s] * job.gpus
        deadline_s = end_s * (1 + slack * chance.random()) if chance.random() < 0.7 else None
        found.append(replace(job, submit_s=0.0, deadline_s=deadline_s))
    return sorted(found, key=lambda job: int(job.name[1:])), gpus


def test_deadlines_that_can_be_met_are_met_in_95_of_100_small_cases() -> None:
    met = {"balanced": 0, "easy_fifo": 0}
    for seed in range(200):
        jobs, gpus = with_deadlines(seed)
        for policy in met:
            late = [one for one in ran(jobs, policy, gpus) if one.end_s > (one.job.deadline_s or 1e18) + 0.001]
            met[policy] += not late
    assert met["balanced"] >= 190
    assert met["easy_fifo"] < 120, "so it is no matter of course"


def test_overload_is_no_domino() -> None:
    """Ten jobs are due when only five can be done: five are, and not one after the other too late."""
    due = [TraceJob(name=f"j{n}", submit_s=0.0, duration_s=10.0, deadline_s=50.0 + n) for n in range(10)]
    assert sum(one.end_s <= (one.job.deadline_s or 0.0) for one in ran(due, "balanced", 1)) >= 5
