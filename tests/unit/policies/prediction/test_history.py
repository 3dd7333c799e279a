"""What durations of the past say."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Ended, Exited, Outcome, TimedOut, UpToDate
from researchflow_tmux.policies.planning.estimates import certain
from researchflow_tmux.policies.prediction.fingerprint import Fingerprint, fingerprint
from researchflow_tmux.policies.prediction.history import ASSUMED_S, History, Prediction, duration_of
from tests.unit.policies.prediction.samples import NOW, job


def learned(*taken: float, command: str = "python train.py") -> History:
    history = History()
    for took_s in taken:
        history.learn(job(command), took_s)
    return history


def predicted(history: History, command: str = "python train.py") -> Prediction:
    found = history.predict(job(command))
    assert found is not None
    return found


def test_it_speaks_from_three_successes_on() -> None:
    history = learned(10.0, 30.0)
    assert history.predict(job()) is None
    assert history.of(job()) == certain(ASSUMED_S)
    assert history.of(job(limit_s=50.0)) == certain(50.0, 50.0)
    history.learn(job(), 20.0)
    found = predicted(history)
    assert (round(found.p50_s, 6), found.kind, found.known) == (20.0, "arguments", 3)
    assert history.of(job(limit_s=50.0)).limit_s == 50.0


def test_the_middle_is_that_of_the_logarithms() -> None:
    assert predicted(learned(10.0, 10.0, 1000.0, 1000.0)).p50_s == pytest.approx(100.0)


def test_the_nearest_level_that_knows_enough_speaks() -> None:
    history = learned(10.0, 20.0, 30.0)
    for took_s in (100.0, 200.0, 300.0):
        history.learn(job("python train.py --epochs 9"), took_s)
    assert predicted(history, "python train.py --epochs 9").p50_s == pytest.approx(200.0)
    other = predicted(history, "python train.py --epochs 3")
    assert (other.kind, other.known) == ("script", 6)
    assert predicted(history, "python eval.py").kind == "user"
    stranger = history.predict(job("python eval.py", project="theirs"))
    assert stranger is not None
    assert stranger.kind == "all"


def test_what_is_old_is_forgotten() -> None:
    assert predicted(learned(*[1.0] * 32, *[9.0] * 32)).p50_s == pytest.approx(9.0)


def test_what_the_limit_cut_off_is_not_learned() -> None:
    history = History()
    for _ in range(5):
        history.learn(job(limit_s=60.0), 60.0)
    assert history.predict(job(limit_s=60.0)) is None


@pytest.mark.parametrize(
    ("outcome", "limit_s", "told"),
    [
        (Exited(code=0, succeeded=True), None, 60.0),
        (Exited(code=0, succeeded=True), 60.0, None),
        (Exited(code=1, succeeded=False), None, None),
        (UpToDate(), None, None),
        (TimedOut(limit_s=60.0), 60.0, None),
    ],
)
def test_only_whole_successes_tell_a_duration(outcome: Outcome, limit_s: float | None, told: float | None) -> None:
    ended = Ended(outcome=outcome, started_at=NOW, ended_at=NOW + timedelta(seconds=60))
    assert duration_of(job(limit_s=limit_s), None, ended) == told
    assert duration_of(job(limit_s=limit_s), None, replace(ended, started_at=None)) is None


def test_the_interval_is_made_of_what_was_wrong_before() -> None:
    history = learned(*([100.0, 200.0] * 60))
    found = predicted(history)
    assert found.low_s <= 100.0 * 1.001
    assert found.high_s >= 200.0 * 0.999
    assert found.high_s / found.low_s < 4.1, "no wider than what there was"


def test_three_alike_say_little_about_a_fourth_and_less_about_a_stranger() -> None:
    history = learned(100.0, 100.0, 100.0)
    near, far = predicted(history), predicted(history, "python eval.py")
    assert near.low_s == pytest.approx(80.0)
    assert near.high_s == pytest.approx(125.0)
    assert far.low_s == pytest.approx(25.0)
    assert far.high_s == pytest.approx(400.0)
    assert near.after(90.0).low_s == pytest.approx(90.0)
    assert far.after(90.0).high_s == pytest.approx(400.0)
    assert history.of(job()).p80_s == 100.0, "a policy goes by what was seen"


def test_a_script_with_few_runs_borrows_intervals_from_others() -> None:
    history = History()
    for number in range(200):
        history.learn(job("python wild.py"), 100.0 if number % 2 else 1000.0)
    for _ in range(4):
        history.learn(job("python new.py"), 50.0)
    found = predicted(history, "python new.py")
    assert found.p50_s == pytest.approx(50.0)
    assert found.high_s > 100.0, "pooled: one does not know yet that it is always the same"


@given(st.lists(st.floats(0.0, 1e7), min_size=3, max_size=60), st.floats(0.0, 1e7))
def test_quantiles_are_in_order_and_no_end_lies_in_the_past(taken: list[float], elapsed_s: float) -> None:
    history = learned(*taken)
    estimate = history.of(job())
    assert 0 < estimate.p50_s <= estimate.p80_s <= estimate.p90_s
    found = predicted(history)
    assert found.low_s <= found.p50_s <= found.high_s
    later = found.after(elapsed_s)
    slack = 2e-6  # everything is to the microsecond
    assert later.low_s <= later.p50_s + slack
    assert later.p50_s <= later.high_s + slack
    assert later.p50_s >= elapsed_s - slack
    assert later.limited(elapsed_s + 1.0).high_s <= elapsed_s + 1.0


def test_a_job_that_outruns_everything_is_believed_to_need_a_quarter_more() -> None:
    later = predicted(learned(10.0, 11.0, 12.0)).after(100.0)
    assert later.p50_s == pytest.approx(125.0)
    assert later.low_s == 100.0
    assert later.high_s == pytest.approx(250.0)


def test_running_on_raises_the_prediction_step_by_step() -> None:
    history = learned(*[math.exp(number / 10) for number in range(60)])
    found = predicted(history)
    ends = [found.after(elapsed_s).p50_s for elapsed_s in (0.0, 50.0, 100.0, 200.0)]
    assert ends == sorted(ends)


def test_lessons_that_were_kept_make_the_same_history() -> None:
    first, second = History(), History()
    for number in range(50):
        lesson = first.lesson(_mark(number), 10.0 + number)
        first.remember(lesson)
        second.remember(lesson)
    assert predicted(first) == predicted(second)


def _mark(number: int) -> Fingerprint:

    return fingerprint(job("python train.py" if number % 3 else "python other.py").spec)


def test_a_history_is_empty_until_something_succeeded() -> None:
    history = History()
    assert history.empty
    history.learn(job(), 60.0)
    assert not history.empty
