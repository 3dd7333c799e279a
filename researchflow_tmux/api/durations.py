"""How long the jobs of a workspace will take, each from the best that is known of it; and drawn anew, for intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from researchflow_tmux.adapters.foreseen_file import ForeseenAttempt
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Running, Stopping
from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.prediction.forward import between
from researchflow_tmux.policies.prediction.history import ASSUMED_S, History
from researchflow_tmux.policies.prediction.running import Foresight, Wrong, foresee

UNKNOWN = math.log(4.0)
"""Of what nothing is known is drawn between a quarter and four times of what is assumed, so that others see it."""


class Length(NamedTuple):
    """Seconds that a job takes from its start, with the 80 % interval."""

    middle_s: float
    low_s: float
    high_s: float
    source: str
    fraction: float | None = None

    @property
    def known(self) -> bool:
        """Whether anything is known of it."""
        return self.source != "assumed"

    def drawn(self, chance: float, elapsed_s: float = 0.0) -> float:
        """One that it could be; `chance` from 0 to 1. What has been had already is not drawn."""
        middle, low, high = (max(each - elapsed_s, 0.0) for each in (self.middle_s, self.low_s, self.high_s))
        return elapsed_s + between(middle, low, high, chance)


class Durations:
    """`foreseen` = what the scheduler found out about running attempts; `fresh` = a moment ago."""

    def __init__(
        self, history: History, foreseen: Mapping[AttemptKey, ForeseenAttempt], now: datetime, *, fresh: bool
    ) -> None:
        self.history = history
        self._foreseen, self._now, self._fresh = foreseen, now, fresh

    def of(self, job: Job) -> Length:
        """A job that waits."""
        limit_s = job.spec.request.time_limit_s
        known = self.history.predict(job)
        if known is not None:
            known = known.limited(limit_s)
            return Length(known.p50_s, known.low_s, known.high_s, "history")
        if limit_s is not None:
            return Length(limit_s, limit_s, limit_s, "limit")
        return Length(ASSUMED_S, ASSUMED_S / math.exp(UNKNOWN), ASSUMED_S * math.exp(UNKNOWN), "assumed")

    def of_running(self, job: Job, attempt: Attempt) -> Length:
        """A job that runs."""
        elapsed_s = max((self._now - began(attempt)).total_seconds(), 0.0)
        found = self._foreseen_of(job, attempt, elapsed_s)
        if found is not None:
            return Length(found.total_s, found.low_s, found.high_s, found.source, found.fraction)
        whole = self.of(job)
        middle, low, high = (max(each, elapsed_s) for each in (whole.middle_s, whole.low_s, whole.high_s))
        return Length(middle, low, high, whole.source)

    def _foreseen_of(self, job: Job, attempt: Attempt, elapsed_s: float) -> Foresight | None:
        kept = self._foreseen.get(attempt.key)
        if kept is not None and kept.foresight is not None and self._fresh and kept.foresight.total_s >= elapsed_s:
            return kept.foresight
        followed = None if kept is None else kept.followed
        return foresee(
            None if followed is None else followed.track,
            self.history.predict(job),
            elapsed_s,
            now_s=self._now.timestamp(),
            wrong=Wrong(),
            limit_s=job.spec.request.time_limit_s,
        )


def began(attempt: Attempt) -> datetime:
    """When it started, or was meant to."""
    phase = attempt.phase
    started = phase.started_at if isinstance(phase, Running | Stopping) else None
    return started or attempt.planned_at
