"""Workloads on which the planner shows what it promises: small ones with a known best, and long ones under backlog."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.simulation.replay.figures import Ran
from researchflow_tmux.simulation.replay.guesses import Guesses
from researchflow_tmux.simulation.replay.replay import replay
from researchflow_tmux.simulation.replay.synthetic import synthetic
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob, made

WITHOUT_SOLVER = "the optimum needs the solver ortools: `uv sync` installs it"
HOUR_S = 3600.0
MOST_SOLVING = 0.5
"""In the solver's own measure, which is the same on every machine: some seconds."""


def ran(
    jobs: Sequence[TraceJob],
    policy: Policy | str,
    gpus: int,
    *,
    noisy: bool = False,
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
) -> list[Ran]:
    """Everything through the real engine; all of it ends."""
    trace = made("case", jobs)
    chosen = POLICIES[policy] if isinstance(policy, str) else policy
    guesses = Guesses(trace, noisy=noisy, seed=seed)
    done = replay(trace, gpus=gpus, policy=chosen, estimator=guesses, weights=weights)
    assert done.unfinished == []
    return done.ran


# -- batches -----------------------------------------------------------------------------------------------------------


def batch(seed: int, *, gpus: int = 8, fewest: int = 4, most: int = 12) -> list[TraceJob]:
    """Jobs that are all there at once; durations are whole seconds."""
    number = fewest + seed % (most - fewest + 1)
    jobs = synthetic(jobs=number, gpus=gpus, seed=seed).jobs
    return [replace(job, submit_s=0.0, duration_s=float(math.ceil(job.duration_s))) for job in jobs]


def packed(seed: int, *, gpus: int = 8, fewest: int = 4, most: int = 12) -> list[TraceJob]:
    """A batch in which no job is much longer than the others: what counts is how they are put beside each other."""
    chance = random.Random(f"packed:{seed}")
    widths = [wide for wide in (1, 1, 2, 3, 4, 6, 8) if wide <= gpus]
    return [
        TraceJob(
            name=str(number),
            submit_s=0.0,
            duration_s=600.0 * chance.randint(6, 72),
            gpus=chance.choice(widths),
        )
        for number in range(fewest + seed % (most - fewest + 1))
    ]


def best_end_s(jobs: Sequence[TraceJob], gpus: int) -> float:
    """When the last one can have ended at best, by a solver; a bound no schedule can beat if it takes too long."""
    from ortools.sat.python import cp_model

    unit = math.gcd(*(int(job.duration_s) for job in jobs))
    lengths = [int(job.duration_s) // unit for job in jobs]
    horizon = sum(lengths)
    model = cp_model.CpModel()
    end = model.new_int_var(0, horizon, "end")
    spans = []
    for job, length in zip(jobs, lengths, strict=True):
        begins = model.new_int_var(0, horizon, f"{job.name} begins")
        spans.append(model.new_fixed_size_interval_var(begins, length, job.name))
        model.add(end >= begins + length)
    model.add_cumulative(spans, [job.gpus for job in jobs], gpus)
    model.add(end * gpus >= sum(length * job.gpus for job, length in zip(jobs, lengths, strict=True)))
    model.minimize(end)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = MOST_SOLVING
    solver.solve(model)
    return unit * float(solver.best_objective_bound)


def gap(jobs: Sequence[TraceJob], policy: str, gpus: int) -> float:
    """By what part a policy ends a batch later than the best there is."""
    return max(one.end_s for one in ran(jobs, policy, gpus)) / best_end_s(jobs, gpus) - 1


# -- deadlines ---------------------------------------------------------------------------------------------------------


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


def all_met(jobs: Sequence[TraceJob], policy: str, gpus: int) -> bool:
    """Whether no job of it ends after its deadline (to the millisecond)."""
    done = ran(jobs, policy, gpus)
    return not any(one.job.deadline_s is not None and one.end_s > one.job.deadline_s + 0.001 for one in done)


def overload(jobs: int, possible: int) -> list[TraceJob]:
    """Jobs of ten seconds for one GPU, due one after the other so early that only some of them can be done."""
    return [
        TraceJob(name=f"j{number}", submit_s=0.0, duration_s=10.0, deadline_s=10.0 * possible + number)
        for number in range(jobs)
    ]


# -- shares ------------------------------------------------------------------------------------------------------------

WEIGHTS: tuple[Mapping[str, float], ...] = (
    {"a": 4.0, "b": 2.0, "c": 1.0, "d": 1.0},
    {"a": 1.0, "b": 1.0},
    {"a": 3.0, "b": 1.0},
    {"a": 8.0, "b": 1.0, "c": 1.0},
)
MIXES: Mapping[str, Sequence[tuple[float, float, Sequence[int]]]] = {
    "as made up": (),
    "one GPU each": ((0.5, 12.0, (1,)),),
    "wide against narrow": ((0.5, 12.0, (4, 8)), (0.5, 12.0, (1,))),
    "long against short": ((12.0, 48.0, (1, 2)), (0.2, 2.0, (1, 2))),
}
"""(hours at least, at most, numbers of GPUs) of the projects in turn; nothing = as `synthetic` makes them."""


def backlog(weights: Mapping[str, float], mix: str, seed: int, *, gpus: int, hours: float) -> list[TraceJob]:
    """Work of every project for half as long again as `hours` would give it by its weight, all there at once."""
    chance = random.Random(f"{seed}:{mix}")
    found: list[TraceJob] = []
    for place, (project, weight) in enumerate(weights.items()):
        wanted = 1.5 * hours * HOUR_S * gpus * weight / sum(weights.values())
        for number, (duration_s, wide) in enumerate(_shapes(mix, place, chance, gpus)):
            if wanted <= 0:
                break
            wanted -= duration_s * wide
            found.append(
                TraceJob(name=f"{project}{number}", submit_s=0.0, duration_s=duration_s, gpus=wide, project=project)
            )
    return found


def _shapes(mix: str, place: int, chance: random.Random, gpus: int) -> list[tuple[float, int]]:
    kinds = MIXES[mix]
    if not kinds:
        made_up: Trace = synthetic(jobs=4000, gpus=gpus, seed=chance.randrange(1 << 30))
        return [(job.duration_s, job.gpus) for job in made_up.jobs]
    low_h, high_h, wide = kinds[place % len(kinds)]
    return [(HOUR_S * chance.uniform(low_h, high_h), min(chance.choice(wide), gpus)) for _ in range(20_000)]


def share_errors(done: Sequence[Ran], weights: Mapping[str, float]) -> dict[str, float]:
    """By how many points each project's part of the GPU time differs from its weight, while all had work waiting."""
    until_s = min(max(one.start_s for one in done if one.job.project == project) for project in weights)
    got = dict.fromkeys(weights, 0.0)
    for one in done:
        got[one.job.project] += one.job.gpus * max(min(one.end_s, until_s) - one.start_s, 0.0)
    total, whole = sum(got.values()), sum(weights.values())
    return {project: 100 * (got[project] / total - weight / whole) for project, weight in weights.items()}
