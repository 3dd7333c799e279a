"""How long a job may take: what is known beforehand, and what is left to believe once it runs."""

from __future__ import annotations

from typing import Protocol

import msgspec

from researchflow_tmux.domain.job import Job

OVERRUN = 1.25
"""A job that runs longer than its P90 is believed to need a quarter more than it has had: the guess grows with it."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of one job's duration in seconds, and the limit at which it is stopped, if it has one."""

    p50_s: float
    p80_s: float
    p90_s: float
    limit_s: float | None = None
    """Enforced by the runner; None = it may run for ever."""

    @property
    def most_s(self) -> float:
        """What the plan counts with: the limit, which is certain, else P80, which is not."""
        return self.p80_s if self.limit_s is None else self.limit_s

    def total_s(self, elapsed_s: float) -> float:
        """The duration to expect of a job that has run for `elapsed_s` and has not ended."""
        believed = self.p90_s if elapsed_s < self.p90_s else elapsed_s * OVERRUN
        return believed if self.limit_s is None else max(self.limit_s, elapsed_s)


def certain(seconds: float, limit_s: float | None = None) -> Estimate:
    """The same value for all quantiles: all that is known is one figure."""
    return Estimate(p50_s=seconds, p80_s=seconds, p90_s=seconds, limit_s=limit_s)


class Estimator(Protocol):
    """Who knows how long jobs take."""

    def of(self, job: Job) -> Estimate:
        """The estimate for one job; asked once, when it begins to wait."""
        ...

    def learn(self, job: Job, took_s: float) -> None:
        """A job like this succeeded after `took_s`."""
        ...
