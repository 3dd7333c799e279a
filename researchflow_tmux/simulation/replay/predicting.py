"""How good predictions are, measured as they are made: each from what had ended before, then compared with the truth.

Of a trace: the durations of its jobs, by what their like took (the application, or the project, is the script). Of
made-up trainings: what is left of them, by the progress they report.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.fingerprint import Fingerprint
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.policies.prediction.progress import Track
from researchflow_tmux.policies.prediction.running import Wrong, foresee, moment_of
from researchflow_tmux.simulation.replay.chance import Chance
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob

REPORTS = 400
"""Reports of progress of one made-up training, at most: a scheduler looks every few seconds."""
LOOK_S = 2.0


def by_history(trace: Trace) -> list[Made]:
    """One prediction for each job of a trace that comes when something is known of its like. It starts at once."""
    history = History()
    running: list[tuple[float, int, TraceJob]] = []
    found: list[Made] = []
    for number, job in enumerate(trace.jobs):
        while running and running[0][0] <= job.submit_s:
            _, _, ended = heapq.heappop(running)
            history.remember(history.lesson(_mark(ended), ended.duration_s))
        known = history.by_fingerprint(_mark(job))
        if known is not None:
            end_s = job.submit_s + job.duration_s
            facts = (end_s, number, 1, job.name, job.project or None, job.user or None, "submitted", "history")
            found.append(Made(*facts, job.duration_s, known.p50_s, known.low_s, known.high_s))
        heapq.heappush(running, (job.submit_s + job.duration_s, number, job))
    return found


def _mark(job: TraceJob) -> Fingerprint:
    return Fingerprint(job.user, job.project, "", job.gpus, "")


def by_progress(*, jobs: int, seed: int) -> list[Made]:
    """Predictions at each tenth of `jobs` made-up trainings, one after another, with intervals from those before."""
    chance = Chance(seed, "progress")
    wrong = Wrong()
    found: list[Made] = []
    for number in range(jobs):
        made = list(_of_one(number, chance, wrong))
        for one in made:
            wrong.learn(one)
        found += made
    return found


def _of_one(number: int, chance: Chance, wrong: Wrong) -> Iterator[Made]:
    reports = list(training(chance))
    end_s = reports[-1][1] + chance.uniform(0.0, 0.01) * reports[-1][1]  # saving the model
    track, said = Track(source="progress"), set[str]()
    last_look_s = -math.inf
    for fraction, at_s in reports:
        if at_s - last_look_s < LOOK_S or at_s >= end_s:
            continue
        last_look_s = at_s
        track.see(fraction, at_s + 1.0)
        moment = moment_of(fraction)
        found = foresee(track, None, at_s, now_s=at_s + 1.0, wrong=wrong) if moment and moment not in said else None
        if moment is None or found is None:
            continue
        said.add(moment)
        facts = (float(number), number, 1, f"training {number}", None, None, moment, "progress")
        yield Made(*facts, end_s, found.total_s, found.low_s, found.high_s, at_s)


def training(chance: Chance) -> Iterator[tuple[float, float]]:
    """(fraction, second) of the reports of one training that is not even.

    It loads data first; its first steps are slower; each step takes another time; the whole gets slower and faster as
    others use the machine; after each epoch it is evaluated.
    """
    steps = int(chance.log_uniform(REPORTS / 4, REPORTS))
    step_s = chance.log_uniform(1.0, 60.0)
    at_s = chance.uniform(5.0, 30.0)
    warm_up = int(steps * chance.uniform(0.0, 0.02)) + 1
    epochs = int(chance.uniform(5.0, 40.0))
    pause_s = step_s * steps / epochs * chance.uniform(0.0, 0.2)
    noise, drift = chance.uniform(0.05, 0.5), 0.0
    yield 0.0, at_s
    for step in range(1, steps + 1):
        drift = 0.98 * drift + chance.uniform(-0.03, 0.03)
        slow = 1.0 + chance.uniform(0.5, 3.0) if step <= warm_up else 1.0
        at_s += step_s * slow * math.exp(drift + noise * (chance.uniform() + chance.uniform() - 1.0))
        yield step / steps, at_s
        if step * epochs // steps != (step - 1) * epochs // steps:
            at_s += pause_s * chance.uniform(0.7, 1.3)
