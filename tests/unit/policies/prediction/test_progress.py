"""What is left of a job that says how far it is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.policies.prediction.accuracy import Made
from researchflow_tmux.policies.prediction.history import History, Prediction
from researchflow_tmux.policies.prediction.progress import Track
from researchflow_tmux.policies.prediction.running import Foresight, Wrong, foresee, moment_of
from tests.unit.policies.prediction.samples import job


def track(*reports: tuple[float, float], source: str = "progress") -> Track:
    made = Track(source=source)
    for fraction, at_s in reports:
        made.see(fraction, at_s)
    return made


def even(upto: float, *, per_pct_s: float = 10.0, source: str = "progress") -> Track:
    """One report for each percent."""
    return track(*((pct / 100, pct * per_pct_s) for pct in range(round(upto * 100) + 1)), source=source)


def known(*taken: float) -> Prediction | None:
    history = History()
    for took_s in taken:
        history.learn(job(), took_s)
    return history.predict(job())


def test_an_even_job_is_told_exactly() -> None:
    left = even(0.25).left(250.0)
    assert left is not None
    assert left.seconds == pytest.approx(750.0)
    assert left.spread == pytest.approx(0.0, abs=1e-9)


def test_it_is_silent_until_there_is_enough_to_go_by() -> None:
    assert even(0.01).left(10.0) is None, "too little is done"
    assert track((0.0, 0.0), (0.5, 1.0)).left(1.0) is None, "too few reports"
    assert track((0.0, 0.0), (0.1, 1.0), (0.1, 2.0), (0.1, 3.0)).left(3.0) is None, "these say nothing new"
    assert even(0.03).left(30.0) is not None


def test_a_slow_begin_is_left_out() -> None:
    slow = track((0.0, 0.0), *((pct / 100, 1000.0 + pct * 10.0) for pct in range(1, 31)))
    left = slow.left(1300.0)
    assert left is not None
    assert left.seconds == pytest.approx(700.0, rel=0.02)


def test_pauses_count_more_the_more_of_them_were_seen() -> None:
    """100 s of pause after each tenth: what is left of 60 % is 600 s of work and 6 pauses."""
    reports = [(pct / 100, pct * 10.0 + (pct - 1) // 10 * 100.0) for pct in range(1, 41)]
    left = track((0.0, 0.0), *reports).left(reports[-1][1])
    assert left is not None
    assert 1000.0 < left.seconds < 1300.0


def test_what_is_left_shrinks_between_reports_but_not_while_it_stalls() -> None:
    steady = even(0.5)
    now, soon, stalled = (steady.left(500.0 + later_s) for later_s in (0.0, 5.0, 5000.0))
    assert now is not None
    assert soon is not None
    assert stalled is not None
    assert soon.seconds == pytest.approx(now.seconds - 5.0)
    assert stalled.seconds == pytest.approx(now.seconds - 10.0), "one usual pause between reports at most"


def test_what_goes_on_from_a_checkpoint_goes_by_its_own_rate() -> None:
    resumed = track(*((pct / 100, (pct - 50) * 10.0) for pct in range(50, 61)))
    left = resumed.left(100.0)
    assert left is not None
    assert left.seconds == pytest.approx(400.0)


def test_progress_that_goes_back_begins_anew_and_a_bar_that_does_says_nothing() -> None:
    for source, usable in (("progress", True), ("log", False)):
        again = even(0.5, source=source)
        for pct in range(11):
            again.see(pct / 100, 1000.0 + pct * 20.0)
        left = again.left(1200.0)
        assert (left is not None) is usable
        if left is not None:
            assert left.seconds == pytest.approx(1800.0)


def test_nonsense_is_no_report() -> None:
    made = even(0.1)
    for fraction, at_s in ((-0.1, 200.0), (1.5, 200.0), (math.nan, 200.0), (0.2, math.inf), (0.2, 50.0)):
        assert not made.see(fraction, at_s)
    assert made.last == 0.1


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e9)), max_size=120), st.floats(0, 2e9))
def test_nothing_that_is_reported_makes_an_end_in_the_past(reports: list[tuple[float, float]], now_s: float) -> None:
    made = track(*sorted(reports, key=lambda report: report[1]))
    left = made.left(now_s)
    assert left is None or (left.seconds >= 0.0 and left.spread >= 0.0 and math.isfinite(left.seconds))
    found = foresee(made, None, 5.0, now_s=now_s, wrong=Wrong())
    assert found is None or found.low_s <= found.total_s + 0.002 <= found.high_s + 0.004
    assert len(made.steps) <= 50
    assert len(made.marks) <= 201


# -- the end -----------------------------------------------------------------------------------------------------------


def foreseen(made: Track | None, elapsed_s: float, **facts: object) -> Foresight | None:
    return foresee(made, facts.pop("known", None), elapsed_s, now_s=elapsed_s, wrong=Wrong(), **facts)  # type: ignore[arg-type]


def test_progress_speaks_before_history_and_history_before_silence() -> None:
    past = known(10.0, 10.0, 10.0)
    by_progress = foreseen(even(0.5), 500.0, known=past)
    assert by_progress is not None
    assert (by_progress.source, by_progress.fraction) == ("progress", 0.5)
    assert by_progress.total_s == pytest.approx(1000.0)
    assert by_progress.low_s < 1000.0 < by_progress.high_s
    by_history = foreseen(even(0.01), 4.0, known=past)
    assert by_history is not None
    assert (by_history.source, by_history.total_s, by_history.fraction) == ("history", 10.0, 0.01)
    assert foreseen(None, 4.0) is None


def test_no_end_lies_behind_the_limit() -> None:
    found = foreseen(even(0.5), 500.0, limit_s=800.0)
    assert found is not None
    assert (found.low_s, found.total_s, found.high_s) == (800.0, 800.0, 800.0)
    late = foreseen(even(0.5), 900.0, limit_s=800.0)
    assert late is not None
    assert late.total_s == 900.0, "never in the past"


def test_intervals_come_from_what_was_wrong_at_the_same_tenth() -> None:
    wrong = Wrong()
    for factor in [1.0, 1.1, 1.2, 1.3, 1.4] * 8:
        wrong.learn(_made("50%", predicted_s=200.0, elapsed_s=100.0, actual_s=100.0 + 100.0 * factor))
        wrong.learn(_made("submitted", predicted_s=1.0, elapsed_s=0.0, actual_s=1000.0))
    found = foresee(even(0.5), None, 500.0, now_s=500.0, wrong=wrong)
    assert found is not None
    assert found.low_s == pytest.approx(1000.0)
    assert found.high_s == pytest.approx(1200.0)
    assert foresee(even(0.9), None, 900.0, now_s=900.0, wrong=wrong) != found


def _made(moment: str, *, predicted_s: float, elapsed_s: float, actual_s: float) -> Made:
    facts = (0.0, 1, 1, "n", None, None, moment, "progress")
    return Made(*facts, actual_s, predicted_s, None, None, elapsed_s)


@pytest.mark.parametrize(
    ("fraction", "moment"), [(0.0, None), (0.0999, None), (0.1, "10%"), (0.3, "30%"), (1.0, "90%")]
)
def test_moments_are_tenths(fraction: float, moment: str | None) -> None:
    assert moment_of(fraction) == moment
