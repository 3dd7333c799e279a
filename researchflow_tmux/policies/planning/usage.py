"""What each project has used, the less the longer ago: U_p = Σ ∫ g·2^((t − now)/H) dt, H = 28 days.

Decay is common to all, so nothing needs to tick: amounts are kept on an *inflated* clock, in which a GPU-second at t
counts 2^((t − t0)/H). Dividing by 2^((now − t0)/H) gives U_p; for the order of projects that division can be left out.
When the exponent gets large, t0 moves (`rebase`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

HALF_LIFE_S = 28 * 86_400.0
"""Several times the longest jobs: with a week, and jobs of up to a week, a project with half of the weights got 45 % of
the GPUs, because what others got while its wide jobs waited was soon forgiven."""
LARGEST_EXPONENT = 500.0
"""2^500 is far from what a float cannot hold (2^1024), and sums of it are, too."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What of it is kept from one scheduler to the next. Amounts are GPU-seconds as of `at_s`."""

    at_s: float
    used: dict[str, float]
    running: dict[int, tuple[str, float]] = {}
    """By job: its project, and what was charged when it started."""


class Usage:
    """Decayed GPU-seconds by project, and the charges of what runs, which are settled when it ends."""

    def __init__(self, weights: Mapping[str, float] | None = None, half_life_s: float = HALF_LIFE_S) -> None:
        self.weights = dict(weights or {})
        """A project without one weighs 1."""
        self.half_life_s = half_life_s
        self._origin_s: float | None = None
        self._inflated: dict[str, float] = {}
        self._open: dict[int, tuple[str, float]] = {}
        self._others: dict[str, float] = {}
        """What other workspaces of the machine used of the same projects, inflated."""

    def weight(self, project: str) -> float:
        """Its part of the machine, in relation to the others'."""
        return self.weights.get(project, 1.0)

    def inflation(self, at_s: float) -> float:
        """What one GPU-second at `at_s` counts."""
        if self._origin_s is None:
            self._origin_s = at_s
        exponent = (at_s - self._origin_s) / self.half_life_s
        if exponent > LARGEST_EXPONENT:
            self._rebase(at_s, exponent)
            exponent = 0.0
        return math.exp2(max(exponent, -LARGEST_EXPONENT))

    def jumped(self, by_s: float) -> None:
        """The clock was set forward by so much: nothing is forgotten, or comes back, by that."""
        if self._origin_s is not None:
            self._origin_s += by_s

    def used(self, project: str, now_s: float) -> float:
        """U_p in GPU-seconds, decayed to `now_s`; what others used is part of it."""
        inflation = self.inflation(now_s)
        return (self._inflated.get(project, 0.0) + self._others.get(project, 0.0)) / inflation

    def set_others(self, used: Mapping[str, float], now_s: float) -> None:
        """What other workspaces used of projects that are theirs, too: GPU-seconds, decayed to `now_s`."""
        inflation = self.inflation(now_s)
        self._others = {project: amount * inflation for project, amount in used.items()}

    def all_used(self, now_s: float) -> dict[str, float]:
        """U_p of every project that has used anything here."""
        inflation = self.inflation(now_s)
        return {project: amount / inflation for project, amount in sorted(self._inflated.items())}

    def ratio(self, project: str) -> float:
        """U_p/w_p on the inflated clock: for comparing projects with each other."""
        return (self._inflated.get(project, 0.0) + self._others.get(project, 0.0)) / self.weight(project)

    def begin(self, job: int, project: str, gpu_s: float, at_s: float) -> None:
        """A job starts: charge what it is expected to use, at once."""
        charge = gpu_s * self.inflation(at_s)
        self._open[job] = (project, charge)
        self._add(project, charge)

    def is_open(self, job: int) -> bool:
        """Whether the job was charged and has not ended."""
        return job in self._open

    def settle(self, job: int, gpus: float, begin_s: float | None, end_s: float) -> None:
        """It ended: what it really used takes the place of what was expected; `begin_s` None = it used nothing."""
        if job not in self._open:
            return
        self.inflation(end_s)  # may rebase, and with it the charge
        project, charge = self._open.pop(job)
        real = 0.0 if begin_s is None else gpus * self._integral(begin_s, end_s)
        self._add(project, real - charge)

    def lift(self, project: str, active: Iterable[str], most_behind: float, at_s: float) -> None:
        """A project wakes up: what it did not use while it slept is no credit beyond `most_behind` (of U/w)."""
        ratios = [self.ratio(other) for other in active if other != project]
        if ratios:
            least = min(ratios) - most_behind * self.inflation(at_s) / self.weight(project)
            if self.ratio(project) < least:
                self._inflated[project] = least * self.weight(project) - self._others.get(project, 0.0)

    def kept(self, now_s: float) -> Kept:
        """All of it, for keeping."""
        inflation = self.inflation(now_s)
        return Kept(
            at_s=now_s,
            used=self.all_used(now_s),
            running={job: (project, charge / inflation) for job, (project, charge) in sorted(self._open.items())},
        )

    def restore(self, kept: Kept) -> None:
        """Go on from there. What was charged for jobs that run is part of what their projects used."""
        inflation = self.inflation(kept.at_s)
        for project, amount in kept.used.items():
            self._add(project, amount * inflation)
        for job, (project, charge) in kept.running.items():
            self._open[job] = (project, charge * inflation)

    def _integral(self, begin_s: float, end_s: float) -> float:
        """∫ 2^((t − t0)/H) dt over [begin, end]."""
        if end_s <= begin_s:
            return 0.0
        shrunk = -math.expm1(-(end_s - begin_s) / self.half_life_s * math.log(2.0))
        return self.inflation(end_s) * shrunk * self.half_life_s / math.log(2.0)

    def _add(self, project: str, inflated: float) -> None:
        self._inflated[project] = max(self._inflated.get(project, 0.0) + inflated, 0.0)

    def _rebase(self, at_s: float, exponent: float) -> None:
        shrink = 2.0 ** -min(exponent, 1000.0)
        self._origin_s = at_s
        self._inflated = {project: amount * shrink for project, amount in self._inflated.items()}
        self._others = {project: amount * shrink for project, amount in self._others.items()}
        self._open = {job: (project, charge * shrink) for job, (project, charge) in self._open.items()}
