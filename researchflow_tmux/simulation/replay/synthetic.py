"""A workload made up by rule: short and long jobs of 1 to 8 GPUs, coming at random."""

from __future__ import annotations

import math

from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob, made

GPUS = {1: 0.70, 2: 0.10, 4: 0.15, 8: 0.05}
SHORT_CHANCE = 0.8
LOAD = 1.2
"""Work that comes, as a part of what the machine can do: a little more than it can."""


def synthetic(*, jobs: int, gpus: int, seed: int, load: float = LOAD) -> Trace:
    """Durations 60·10^U(1.5, 3) s with probability 0.8, else 60·10^U(3, 4); Poisson arrivals.

    The arrivals are as dense as makes the work that comes `load` times what `gpus` GPUs can do.
    """
    chance = Chance(seed, "synthetic")
    shapes = [(_duration_s(chance), min(chance.pick(GPUS), gpus)) for _ in range(jobs)]
    work = sum(duration_s * wanted for duration_s, wanted in shapes)
    gap_s = work / (max(jobs, 1) * gpus * load)
    found, at_s = [], 0.0
    for number, (duration_s, wanted) in enumerate(shapes):
        found.append(TraceJob(name=f"s{number}", submit_s=at_s, duration_s=duration_s, gpus=wanted))
        at_s += chance.exponential(gap_s)
    return made("synthetic", found)


def _duration_s(chance: Chance) -> float:
    exponent = chance.uniform(1.5, 3.0) if chance.uniform() < SHORT_CHANCE else chance.uniform(3.0, 4.0)
    return 60.0 * math.pow(10.0, exponent)
