"""Figures of how good predictions were."""

from __future__ import annotations

from researchflow_tmux.policies.prediction.accuracy import Made, accuracy


def made(predicted_s: float, actual_s: float = 100.0, moment: str = "started", spread: float | None = 0.2) -> Made:
    low_s = None if spread is None else predicted_s * (1 - spread)
    high_s = None if spread is None else predicted_s * (1 + spread)
    return Made(0.0, 1, 1, "n", None, None, moment, "history", actual_s, predicted_s, low_s, high_s)


def test_each_moment_has_its_figures() -> None:
    rows = accuracy([made(100.0), made(110.0), made(200.0), made(40.0), made(99.0, moment="10%")])
    started, tenth, together = rows
    assert (started.moment, started.predictions) == ("started", 4)
    assert started.median_error == 0.35
    assert (started.within_15_pct, started.off_by_2, started.coverage) == (50.0, 50.0, 50.0)
    assert started.width == 0.4
    assert (tenth.moment, tenth.within_15_pct) == ("10%", 100.0)
    assert (together.moment, together.predictions) == ("from 10%", 1)


def test_without_intervals_nothing_is_said_of_them() -> None:
    [row] = accuracy([made(100.0, spread=None)])
    assert (row.coverage, row.width) == (None, None)
    assert accuracy([]) == []


def test_an_instant_is_no_division_by_nothing() -> None:
    [row] = accuracy([made(0.0, actual_s=0.0)])
    assert (row.median_error, row.off_by_2) == (0.0, 0.0)
