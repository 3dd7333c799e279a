"""R: what the policies come to: `python -m tests.benchmarks --only R [--traces DIR]`, or `--only planner` with P.

Everything runs through the real engine on a virtual clock, so these figures are the same on every machine; only the
overhead is measured on real jobs. The real traces are not part of the project: `--traces DIR` names a directory with
those of TRACES that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from msgspec.structs import replace

from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.simulation.replay.comparing import Run, run
from researchflow_tmux.simulation.replay.figures import Figures
from researchflow_tmux.simulation.replay.reading import read_trace
from researchflow_tmux.simulation.replay.synthetic import synthetic
from researchflow_tmux.simulation.replay.trace import Trace, as_projects, fitting, stretched
from tests.benchmarks import bench_overhead
from tests.benchmarks.measure import Measure
from tests.planner_cases import (
    MIXES,
    WEIGHTS,
    WITHOUT_SOLVER,
    all_met,
    backlog,
    batch,
    gap,
    overload,
    packed,
    ran,
    share_errors,
    with_deadlines,
)

GPUS, DAY_S = 8, 86_400.0
CAPS_D = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 14.0)
RIVALS = ("fifo", "easy_fifo")


class Source(NamedTuple):
    """A trace, and how it is made a load for 8 GPUs."""

    name: str
    file: str
    stretch: float
    used_at_least_pct: float | None
    """Of the GPUs, while at least 20 jobs wait; None = for information."""
    frontier: bool
    recorded: Mapping[str, tuple[float, float]]
    """Mean and longest wait in s that another implementation came to on the same trace, with guesses as bad."""


TRACES = (
    Source(
        "Philly 103959",
        "philly_vc_103959_le8.csv",
        0.36,
        95.0,
        frontier=True,
        recorded={
            "FIFO": (570_976, 1.19e6),
            "EASY-FIFO": (324_651, 1.08e6),
            "least work, EASY": (87_998, 5.4e6),
            "capped age, C = 7 d": (176_216, 1.24e6),
            "capped age, C = 14 d": (102_702, 1.31e6),
        },
    ),
    Source("Philly e13805", "philly_vc_e13805_le8.csv", 1.0, 95.0, frontier=False, recorded={}),
    Source(
        "NASA iPSC",
        "nasa_ipsc_swf.csv",
        1.6,
        None,
        frontier=True,
        recorded={
            "FIFO": (283_134, 0.62e6),
            "EASY-FIFO": (166_429, 0.56e6),
            "least work, EASY": (20_176, 6.4e6),
            "capped age, C = 7 d": (137_734, 1.19e6),
            "capped age, C = 14 d": (86_632, 1.63e6),
        },
    ),
)


def measures(*, quick: bool = False, traces: Path | None = None) -> Iterator[Measure]:
    """Every figure; without `traces` those of made-up workloads."""
    seeds = range(1, 4 if quick else 17)
    for noisy in (False, True):
        made_up = [
            figures(synthetic(jobs=1000, gpus=GPUS, seed=seed), POLICIES["balanced"], noisy=noisy, seed=seed)
            for seed in seeds
        ]
        yield from used("made up", made_up, 95.0, noisy=noisy)
    for source in TRACES:
        path = None if traces is None else traces / source.file
        if path is None or not path.exists():
            why = "needs --traces DIR" if path is None else f"{path} is not there"
            yield Measure(bench="R", what=f"{source.name}", value=None, unit="", note=why)
            continue
        trace = fitting(as_projects(stretched(read_trace(str(path)), source.stretch), "none"), GPUS)[0]
        yield from of_trace(source, trace, [1] if quick else [1, 2, 3])
    yield from shares(quick=quick)
    yield from optimum(quick=quick)
    yield from deadlines(quick=quick)
    yield from bench_overhead.measures(quick=quick)


def figures(trace: Trace, policy: Policy, *, noisy: bool, seed: int) -> Figures:
    """One policy on one workload."""
    return run(Run(trace=trace, gpus=GPUS, noisy=noisy, seed=seed), policy.name, policy)


# -- utilisation, and waits --------------------------------------------------------------------------------------------


def used(name: str, runs: Sequence[Figures], target_pct: float | None, *, noisy: bool) -> Iterator[Measure]:
    """Of the GPUs under backlog; what any schedule could have done by the last arrival; the end."""
    words = f"{name}, {'guessed' if noisy else 'exact'}"
    parts = [100 * (each.utilisation_under_backlog or 0.0) for each in runs]
    note = f"{len(runs)} seeds, least {min(parts):.1f}" if len(runs) > 1 else ""
    yield Measure(
        bench="R", what=f"used under backlog: {words}", value=mean(parts), unit="% of the GPUs", target=target_pct,
        at_least=True, note=note,
    )  # fmt: skip
    bound = mean(100 * (each.utilisation_of_bound or 0.0) for each in runs)
    yield Measure(bench="R", what=f"work done, of what is possible: {words}", value=bound, unit="%")
    late = mean(100 * ((each.makespan_of_bound or 1.0) - 1) for each in runs)
    yield Measure(bench="R", what=f"last end, beyond the bound: {words}", value=late, unit="%")


def of_trace(source: Source, trace: Trace, seeds: Sequence[int]) -> Iterator[Measure]:
    """Utilisation with durations known and guessed, and the frontier of mean against longest wait."""
    balanced = POLICIES["balanced"]
    yield from used(source.name, [figures(trace, balanced, noisy=False, seed=0)], source.used_at_least_pct, noisy=False)
    chosen = [figures(trace, balanced, noisy=True, seed=seed) for seed in seeds]
    yield from used(source.name, chosen, source.used_at_least_pct, noisy=True)
    if not source.frontier:
        return
    rows = {name: _waits(trace, POLICIES[name], seeds) for name in RIVALS}
    for cap_d in CAPS_D:
        own = cap_d * DAY_S == balanced.cap_s
        policy = replace(balanced, cap_s=cap_d * DAY_S)
        rows[f"balanced, C = {cap_d:g} d"] = _mean_waits(chosen) if own else _waits(trace, policy, seeds)
    for name, (mean_s, max_s) in rows.items():
        yield Measure(
            bench="R", what=f"{source.name}, guessed: {name}, mean wait", value=mean_s / 1000, unit="1000 s",
            note=f"longest {max_s / 1000:.0f}",
        )  # fmt: skip
    mine = rows.pop(f"balanced, C = {balanced.cap_s / DAY_S:g} d")
    others = rows | {f"{name} (recorded)": waits for name, waits in source.recorded.items()}
    better = [name for name, other in others.items() if _dominates(other, mine)]
    yield Measure(
        bench="R", what=f"{source.name}: others with no longer mean and longest wait than balanced",
        value=float(len(better)), unit="of them", target=0.0, note=", ".join(better),
    )  # fmt: skip


def _waits(trace: Trace, policy: Policy, seeds: Sequence[int]) -> tuple[float, float]:
    return _mean_waits([figures(trace, policy, noisy=True, seed=seed) for seed in seeds])


def _mean_waits(runs: Sequence[Figures]) -> tuple[float, float]:
    return mean(each.mean_wait_s or 0.0 for each in runs), mean(each.max_wait_s or 0.0 for each in runs)


def _dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


# -- what is promised about shares, batches and deadlines --------------------------------------------------------------


def shares(*, quick: bool) -> Iterator[Measure]:
    """The largest difference of any project's part from its weight, over several weights and seeds."""
    cases = [
        (weights, seed) for weights in (WEIGHTS[:2] if quick else WEIGHTS) for seed in ((1,) if quick else (1, 2, 3))
    ]
    for mix in MIXES:
        days = 120 if mix == "as made up" else 20
        for noisy in (False, True):
            errors = [_share_error(weights, mix, seed, 24.0 * days, noisy=noisy) for weights, seed in cases]
            within = sum(error <= 3 for error in errors)
            yield Measure(
                bench="R", what=f"shares off by at most: {mix}, {'guessed' if noisy else 'exact'}", value=max(errors),
                unit="points", target=3.0, note=f"{within} of {len(errors)} within 3, mean {mean(errors):.1f}",
            )  # fmt: skip


def _share_error(weights: Mapping[str, float], mix: str, seed: int, hours: float, *, noisy: bool) -> float:
    asked = backlog(weights, mix, seed, gpus=GPUS, hours=hours)
    done = ran(asked, "balanced", GPUS, noisy=noisy, seed=seed, weights=weights)
    return max(abs(points) for points in share_errors(done, weights).values())


def optimum(*, quick: bool) -> Iterator[Measure]:
    """How much later `makespan` ends a batch of 4 to 12 jobs than the best there is."""
    for name, made in (("made up", batch), ("packed", packed)):
        try:
            gaps = [100 * gap(made(seed), "makespan", GPUS) for seed in range(18 if quick else 90)]
        except ImportError:
            yield Measure(bench="R", what=f"batches, {name}", value=None, unit="%", note=WITHOUT_SOLVER)
            continue
        yield Measure(
            bench="R", what=f"batches end later than the optimum: {name}", value=mean(gaps), unit="%", target=5.0,
            note=f"{len(gaps)} batches, most {max(gaps):.0f}",
        )  # fmt: skip


def deadlines(*, quick: bool) -> Iterator[Measure]:
    """Sets in which all deadlines can be met, and one in which they cannot."""
    cases = [with_deadlines(seed) for seed in range(100 if quick else 400)]
    for policy in ("balanced", "easy_fifo"):
        met = 100 * mean(all_met(jobs, policy, gpus) for jobs, gpus in cases)
        yield Measure(
            bench="R", what=f"sets without a miss that could be avoided: {policy}", value=met, unit="%",
            target=95.0 if policy == "balanced" else None, at_least=True, note=f"{len(cases)} sets of 4 to 8 jobs",
        )  # fmt: skip
    done = ran(overload(40, 10), "balanced", 1)
    met_all = sum(one.end_s <= (one.job.deadline_s or 0.0) for one in done)
    yield Measure(
        bench="R", what="deadlines met of 40, of which 10 to 14 can be", value=float(met_all), unit="jobs", target=10.0,
        at_least=True,
    )  # fmt: skip
