"""How long a job will take by what its like took: the median of the last durations on the nearest level that knows any.

Durations are compared by their logarithms: a job that takes twice as long is as far off as one that takes half.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from researchflow_tmux.domain.attempt import Attempt, Ended, Exited
from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.planning.estimates import OVERRUN, Estimate, certain
from researchflow_tmux.policies.prediction.conformal import HIGH, LEAST_S, LOW, lower, pooled, residual, upper
from researchflow_tmux.policies.prediction.fingerprint import KINDS, Fingerprint, Level, fingerprint

K = TypeVar("K")
ENOUGH = 3
"""Successes from which on a level speaks."""
LAST = 32
"""Durations remembered on each level: what a job took a hundred versions ago says little."""
LAST_RESIDUALS = 400
ASSUMED_S = 3600.0
"""What a policy counts with for a job of which nothing is known and that has no time limit. Never shown as known."""
AT_FIRST = {"arguments": 1.25, "script": 2.0, "any GPUs": 3.0, "user": 4.0, "all": 4.0}
"""By kind of level: while too few predictions of it came true to say how wrong they are, the interval that is shown
reaches at least to this factor on either side. Three alike say little about a fourth, and nothing about a stranger."""
AT_LIMIT = 0.999
"""A success that took so much of its time limit was cut off by it."""


class Lesson(NamedTuple):
    """One success, and how wrong one was about it."""

    fingerprint: Fingerprint
    took_s: float
    kind: str | None = None
    """Of the level that had spoken before; None = none had."""
    residual: float | None = None
    """ln(took / predicted)."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What is believed of a duration in seconds: the middle, and the interval that it is in four times of five."""

    p50_s: float
    low_s: float
    high_s: float
    kind: str
    """The level that speaks: one of KINDS."""
    known: int
    """Durations on that level."""
    residuals: tuple[float, ...] = ()
    """What the interval is made of, ascending: ln(actual / predicted) of earlier predictions."""
    least: float = 0.0
    """As a logarithm: how far it reaches at least on either side, see AT_FIRST."""

    def upper_s(self, part: float) -> float:
        """What is not exceeded with this probability."""
        return _times(self.p50_s, upper(self.residuals, part))

    def after(self, elapsed_s: float) -> Prediction:
        """The duration of a job that has run for `elapsed_s` and has not ended: only what is longer counts."""
        if elapsed_s <= 0:
            return self
        gone = math.log(max(elapsed_s, LEAST_S) / max(self.p50_s, LEAST_S))
        left = tuple(one for one in self.residuals if one > gone)
        if not left:  # longer than everything before: it is believed to need a quarter more than it has had
            return msgspec.structs.replace(
                self, p50_s=elapsed_s * OVERRUN, low_s=elapsed_s, high_s=elapsed_s * 2.0 * OVERRUN, residuals=(0.0,)
            )
        shift = _half(left)
        middle_s = _times(self.p50_s, shift)
        low = min(lower(left, LOW), shift - self.least)
        low_s = max(_times(self.p50_s, low), min(elapsed_s, middle_s))
        high_s = _times(self.p50_s, max(upper(left, HIGH), shift + self.least))
        wrong = tuple(one - shift for one in left)
        return msgspec.structs.replace(self, p50_s=middle_s, low_s=low_s, high_s=high_s, residuals=wrong)

    def limited(self, limit_s: float | None) -> Prediction:
        """The same for a job that is stopped after `limit_s`."""
        if limit_s is None or self.high_s <= limit_s:
            return self
        low_s, p50_s = min(self.low_s, limit_s), min(self.p50_s, limit_s)
        return msgspec.structs.replace(self, p50_s=p50_s, low_s=low_s, high_s=limit_s)


class History:
    """An Estimator that learns. `remember` what was stored, `learn` what happens."""

    def __init__(self) -> None:
        self._taken: dict[Level, deque[float]] = {}
        self._wrong: dict[Level | str, deque[float]] = {}
        """Residuals by level and by kind of level: what was wrong about strangers says nothing about an old friend."""
        self._known: dict[Level, Prediction] = {}
        """By the level that speaks, as of the last lesson."""
        self._estimates: dict[Level, Estimate] = {}

    @property
    def empty(self) -> bool:
        """Nothing was learned yet: nothing is known of any job."""
        return not self._taken

    def of(self, job: Job) -> Estimate:
        """The quantiles of what its like took; else its time limit; else an hour."""
        limit_s = job.spec.request.time_limit_s
        level = self._speaks(fingerprint(job.spec))
        if level is None:
            return certain(ASSUMED_S if limit_s is None else limit_s, limit_s)
        found = self._estimates.get(level)
        if found is None:
            known = self._of_level(level)
            p80_s, p90_s = (max(known.upper_s(part), known.p50_s) for part in (0.8, 0.9))
            found = self._estimates[level] = Estimate(p50_s=known.p50_s, p80_s=p80_s, p90_s=p90_s)
        return found if limit_s is None else msgspec.structs.replace(found, limit_s=limit_s)

    def predict(self, job: Job) -> Prediction | None:
        """How long it will take; None = nothing is known of its like. Time limits do not count."""
        return self.by_fingerprint(fingerprint(job.spec))

    def by_fingerprint(self, mark: Fingerprint) -> Prediction | None:
        """The same, by what the duration goes by."""
        level = self._speaks(mark)
        return None if level is None else self._of_level(level)

    def learn(self, job: Job, took_s: float) -> None:
        """A job succeeded after `took_s`, of which its time limit has cut nothing off."""
        if not censored(job, took_s):
            self.remember(self.lesson(fingerprint(job.spec), took_s))

    def lesson(self, mark: Fingerprint, took_s: float) -> Lesson:
        """What there is to learn from one duration, by what is known before it is learned."""
        found = self.by_fingerprint(mark)
        if found is None:
            return Lesson(mark, took_s)
        return Lesson(mark, took_s, found.kind, residual(took_s, found.p50_s))

    def remember(self, lesson: Lesson) -> None:
        """Take a lesson in: on every level, and in every pool of residuals."""
        self._known.clear()
        self._estimates.clear()
        levels = lesson.fingerprint.levels()
        for level in levels:
            _put(self._taken, level, max(lesson.took_s, LEAST_S), LAST)
        if lesson.residual is not None and lesson.kind in KINDS:
            spoke = levels[KINDS.index(lesson.kind)]
            for pool in (spoke, lesson.kind):
                _put(self._wrong, pool, lesson.residual, LAST_RESIDUALS)

    def _speaks(self, mark: Fingerprint) -> Level | None:
        """The nearest level that knows enough."""
        return next((level for level in mark.levels() if len(self._taken.get(level, ())) >= ENOUGH), None)

    def _of_level(self, level: Level) -> Prediction:
        known = self._known.get(level)
        if known is None:
            known = self._known[level] = self._predict(level, self._taken[level])
        return known

    def _predict(self, level: Level, taken: Collection[float]) -> Prediction:
        kind = str(level[0])
        p50_s = middle(taken)
        pools = (list(self._wrong.get(pool, ())) for pool in (level, kind))
        known = sorted(pooled(*pools))
        wrong = known or sorted(residual(one, p50_s) for one in taken)
        least = 0.0 if known else math.log(AT_FIRST[kind])
        return Prediction(
            p50_s=p50_s,
            low_s=min(_times(p50_s, min(lower(wrong, LOW), -least)), p50_s),
            high_s=max(_times(p50_s, max(upper(wrong, HIGH), least)), p50_s),
            kind=kind,
            known=len(taken),
            residuals=tuple(wrong),
            least=least,
        )


def duration_of(job: Job, attempt: Attempt | None, ended: Ended) -> float | None:
    """How long a job like this takes, by one attempt; None = it tells nothing.

    Only what succeeded by its own program tells anything: not what was up to date, what went on from a checkpoint, or
    what its time limit has cut off.
    """
    outcome, began = ended.outcome, ended.started_at
    if not isinstance(outcome, Exited) or not outcome.succeeded or began is None:
        return None
    if attempt is not None and attempt.resumed_step is not None:
        return None
    took_s = max((ended.ended_at - began).total_seconds(), 0.0)
    return None if censored(job, took_s) else took_s


def censored(job: Job, took_s: float) -> bool:
    """Whether a duration only says that it takes at least so long."""
    limit_s = job.spec.request.time_limit_s
    return limit_s is not None and took_s >= limit_s * AT_LIMIT


def _put(pools: dict[K, deque[float]], key: K, value: float, most: int) -> None:
    found = pools.get(key)
    if found is None:
        found = pools[key] = deque(maxlen=most)
    found.append(value)


def middle(durations: Iterable[float]) -> float:
    """The median of the logarithms, as a duration: one that was seen, or the geometric mean of two."""
    ordered = sorted(durations)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else math.sqrt(ordered[half - 1]) * math.sqrt(ordered[half])


def _half(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def _times(seconds: float, logarithm: float) -> float:
    """Seconds by a factor that is given as a logarithm, to the microsecond."""
    return round(seconds * math.exp(logarithm), 6)
