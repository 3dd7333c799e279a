"""How good predictions were: each was made before the end that it is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

NEAR = 0.15
"""A prediction within 15 % is a good one."""
FAR = 2.0
"""One that is twice too long or too short is a bad one."""

MOMENTS = ("submitted", "started", *(f"{tenth}0%" for tenth in range(1, 10)))
"""When predictions are made: as the job came, as it began, and at each tenth of its progress."""
FROM_10 = "from 10%"
"""All those that were made from progress, together."""


class Made(NamedTuple):
    """One prediction of a whole duration, and what the duration was."""

    ended_at: float
    """Seconds since 1970."""
    job_id: int
    number: int
    """Of the attempt."""
    name: str
    project: str | None
    user: str | None
    moment: str
    """One of MOMENTS."""
    source: str
    """What it was made from: `progress`, `log` or `history`."""
    actual_s: float
    predicted_s: float
    low_s: float | None
    high_s: float | None
    elapsed_s: float = 0.0
    """What it had run when that was said."""

    @property
    def error(self) -> float:
        """|predicted − actual| / actual."""
        return abs(self.predicted_s - self.actual_s) / max(self.actual_s, 1e-3)


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """How good the predictions of one moment were. null = there was none."""

    moment: str
    predictions: int
    median_error: float | None
    """Of |predicted − actual| / actual, for the whole duration."""
    within_15_pct: float | None
    """Part of the predictions, in percent, that were at most 15 % off."""
    off_by_2: float | None
    """In percent: those at least twice too long or too short."""
    coverage: float | None
    """In percent: actual durations that lay in the 80 % interval."""
    width: float | None
    """Median of (high − low) / predicted."""


def accuracy(made: Iterable[Made]) -> list[Accuracy]:
    """One row for each moment of which there are predictions, in the order of MOMENTS; at last one for FROM_10."""
    by_moment: dict[str, list[Made]] = {}
    for one in made:
        by_moment.setdefault(one.moment, []).append(one)
    by_progress = [one for moment in MOMENTS[2:] for one in by_moment.get(moment, ())]
    if by_progress:
        by_moment[FROM_10] = by_progress
    return [of_moment(moment, by_moment[moment]) for moment in (*MOMENTS, FROM_10) if moment in by_moment]


def of_moment(moment: str, made: Sequence[Made]) -> Accuracy:
    """All figures of some predictions."""
    errors = sorted(one.error for one in made)
    spans = [(one, one.low_s, one.high_s) for one in made if one.low_s is not None and one.high_s is not None]
    return Accuracy(
        moment=moment,
        predictions=len(made),
        median_error=_middle(errors),
        within_15_pct=_percent(error <= NEAR for error in errors),
        off_by_2=_percent(_far(one) for one in made),
        coverage=_percent(low_s <= one.actual_s <= high_s for one, low_s, high_s in spans),
        width=_middle(sorted((high_s - low_s) / max(one.predicted_s, 1e-3) for one, low_s, high_s in spans)),
    )


def _far(one: Made) -> bool:
    ratio = max(one.predicted_s, 1e-3) / max(one.actual_s, 1e-3)
    return abs(math.log(ratio)) >= math.log(FAR)


def _middle(ordered: Sequence[float]) -> float | None:
    if not ordered:
        return None
    half = len(ordered) // 2
    middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0
    return round(middle, 4)


def _percent(hits: Iterable[bool]) -> float | None:
    found = list(hits)
    return round(100.0 * sum(found) / len(found), 1) if found else None
