"""What is believed about the durations of a trace: the truth, or the guesses people make."""

from __future__ import annotations

from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.planning.estimates import Estimate, certain
from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.trace import Trace

ERRORS: tuple[tuple[float, float, float], ...] = (
    (0.10, 0.0, 0.1),
    (0.40, 0.1, 0.5),
    (0.20, 0.5, 1.0),
    (0.20, 1.0, 10.0),
    (0.10, 10.0, 100.0),
)
"""(part of the jobs, least error, largest error), errors relative to the truth."""
LEAST_S = 1.0


class Guesses:
    """An Estimator that knows each job of a trace by its name, and learns nothing."""

    def __init__(self, trace: Trace, *, noisy: bool, seed: int) -> None:
        chance = Chance(seed, "estimates")
        self._by_name = {
            job.name: certain(_guess(job.duration_s, chance) if noisy else max(job.duration_s, LEAST_S))
            for job in trace.jobs
        }

    def of(self, job: Job) -> Estimate:
        """The guess that was made when the trace was read."""
        return self._by_name[job.name]

    def learn(self, job: Job, took_s: float) -> None:
        """Nothing: each guess was made beforehand."""


def _guess(truth_s: float, chance: Chance) -> float:
    """Errors up to once the truth go either way; larger ones can only be too long."""
    band = chance.pick(dict(enumerate(part for part, _, _ in ERRORS)))
    _, low, high = ERRORS[band]
    error = chance.uniform(low, high) if high <= 1.0 else chance.log_uniform(low, high)
    sign = -1.0 if high <= 1.0 and chance.uniform() < 0.5 else 1.0
    return max(truth_s * (1.0 + sign * error), LEAST_S)
