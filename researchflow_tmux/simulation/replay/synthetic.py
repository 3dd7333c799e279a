"""A workload made up by rule: short and long jobs of 1 to 8 GPUs, coming at random."""

from __future__ import annotations

import math
from collections.abc import Mapping

from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob, made

GPUS = {1: 0.70, 2: 0.10, 4: 0.15, 8: 0.05}
HOUR_S, DAY_S = 3600.0, 86_400.0
JOBS_PER_GPU_AND_DAY = 4.6
MOST_GPUS = max(GPUS)
SHORT_CHANCE = 0.8
LOAD = 1.2
"""Work that comes, as a part of what the machine can do: a little more than it can."""


def synthetic(
    *, jobs: int, gpus: int, seed: int, load: float = LOAD, kinds: Mapping[str, tuple[float, int]] | None = None
) -> Trace:
    """Durations 60·10^U(1.5, 3) s with probability 0.8, else 60·10^U(3, 4); Poisson arrivals.

    The arrivals are as dense as makes the work that comes `load` times what `gpus` GPUs can do.

    `kinds` = by type of GPU the part of the jobs that need it, and how many GPUs of it there are.
    """
    chance = Chance(seed, "synthetic")
    shapes = [(_duration_s(chance), min(chance.pick(GPUS), gpus)) for _ in range(jobs)]
    by_kind = Chance(seed, "kinds")
    types = [_kind(by_kind, kinds or {}) for _ in range(jobs)]
    shapes = [(length_s, min(wanted, most)) for (length_s, wanted), (_, most) in zip(shapes, types, strict=True)]
    work = sum(duration_s * wanted for duration_s, wanted in shapes)
    gap_s = work / (max(jobs, 1) * gpus * load)
    found, at_s = [], 0.0
    for number, ((duration_s, wanted), (kind, _)) in enumerate(zip(shapes, types, strict=True)):
        found.append(TraceJob(name=f"s{number}", submit_s=at_s, duration_s=duration_s, gpus=wanted, gpu_type=kind))
        at_s += chance.exponential(gap_s)
    return made("synthetic", found)


def daily(*, jobs: int, gpus: int, seed: int, kinds: Mapping[str, tuple[float, int]] | None = None) -> Trace:
    """Days with a peak: jobs that run on any GPU come in two hours of the morning, those that need a type all day.

    The former take 1 to 8 hours and one in ten needs two GPUs; the latter half an hour to 4, and one in eight.
    """
    chance = Chance(seed, "daily")
    each_day = max(round(JOBS_PER_GPU_AND_DAY * gpus), 1)
    found = []
    for number in range(jobs):
        day_s = number // each_day * DAY_S
        kind, most = _kind(chance, kinds or {})
        if kind:
            at_s, length_s, wide = chance.uniform(8, 20) * HOUR_S, chance.uniform(0.5, 4) * HOUR_S, 1 / 8
        else:
            at_s, length_s, wide = chance.uniform(9, 11) * HOUR_S, chance.uniform(1, 8) * HOUR_S, 1 / 10
        wanted = min(2 if chance.uniform() < wide else 1, most)
        name = f"d{number}"
        found.append(TraceJob(name=name, submit_s=day_s + at_s, duration_s=length_s, gpus=wanted, gpu_type=kind))
    return made("daily peaks", found)


def _kind(chance: Chance, kinds: Mapping[str, tuple[float, int]]) -> tuple[str, int]:
    """The type that a job needs, and how many GPUs it may ask for; mostly any."""
    point = chance.uniform()
    for name, (part, gpus) in kinds.items():
        if point < part:
            return name, gpus
        point -= part
    return "", MOST_GPUS


def _duration_s(chance: Chance) -> float:
    exponent = chance.uniform(1.5, 3.0) if chance.uniform() < SHORT_CHANCE else chance.uniform(3.0, 4.0)
    return 60.0 * math.pow(10.0, exponent)
