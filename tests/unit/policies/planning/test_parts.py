"""Estimates, history, orders, usage, floors, classes, deadlines: each formula by itself."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.policies.planning.classes import Classes, bucket, class_of, least_s
from researchflow_tmux.policies.planning.estimates import Estimate, certain
from researchflow_tmux.policies.planning.floor import Floor, Need, Stay
from researchflow_tmux.policies.planning.orders import CAP_S, POLICIES, work_of
from researchflow_tmux.policies.planning.urgency import Deadlines
from researchflow_tmux.policies.planning.usage import HALF_LIFE_S, Usage
from tests.unit.policies.planning.samples import DAY, HOUR, entry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(name: str = "j", *, group: str | None = None, limit_s: float | None = None, project: str | None = None) -> Job:
    spec = JobSpec(
        source="command", key=name, name=name, argv=("true",), workdir="/", env_digest="e", group=group,
        project=project, request=ResourceRequest(time_limit_s=limit_s),
    )  # fmt: skip
    return Job(id=1, spec=spec, slug=name, state=JobState.QUEUED, queued_at=NOW)


# -- estimates ---------------------------------------------------------------------------------------------------------


def test_the_limit_is_certain_and_p80_is_not() -> None:
    guess = Estimate(p50_s=10.0, p80_s=20.0, p90_s=30.0)
    assert guess.most_s == 20.0
    assert Estimate(p50_s=10.0, p80_s=20.0, p90_s=30.0, limit_s=99.0).most_s == 99.0


@pytest.mark.parametrize(("elapsed", "total"), [(0.0, 30.0), (29.0, 30.0), (40.0, 50.0), (1000.0, 1250.0)])
def test_a_job_over_its_p90_is_believed_to_need_a_quarter_more(elapsed: float, total: float) -> None:
    assert Estimate(p50_s=10.0, p80_s=20.0, p90_s=30.0).total_s(elapsed) == total


def test_a_limit_ends_every_belief() -> None:
    limited = certain(10.0, limit_s=15.0)
    assert (limited.total_s(12.0), limited.total_s(16.0)) == (15.0, 16.0)


# -- orders ------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 1e8), st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1.0, 1e6))
def test_nothing_that_comes_more_than_c_later_passes(ready_s: float, work: float, other: float, later_s: float) -> None:
    policy = POLICIES["balanced"]
    first = policy.key(ready_s, work, policy)
    assert first < policy.key(ready_s + CAP_S + later_s, other, policy)
    assert ready_s <= first <= ready_s + CAP_S


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("fifo", ["early", "small", "large"]),
        ("easy_fifo", ["early", "small", "large"]),
        ("fair_share", ["early", "small", "large"]),
        ("sjf", ["small", "early", "large"]),
        ("makespan", ["large", "early", "small"]),
        ("balanced", ["small", "early", "large"]),
    ],
)
def test_each_policy_has_its_order(name: str, order: list[str]) -> None:
    policy = POLICIES[name]
    waiting = {"early": (0.0, 5 * HOUR), "small": (HOUR, HOUR), "large": (2 * HOUR, 90 * HOUR)}
    keys = {what: policy.key(ready_s, work, policy) for what, (ready_s, work) in waiting.items()}
    assert sorted(keys, key=keys.__getitem__) == order


def test_work_is_gpus_times_the_median_and_a_cpu_job_counts_as_one() -> None:
    assert (work_of(4, certain(10.0)), work_of(0, certain(10.0))) == (40.0, 10.0)


# -- usage -------------------------------------------------------------------------------------------------------------


def test_usage_halves_in_a_week() -> None:
    usage = Usage()
    usage.begin(1, "a", 100.0, 0.0)
    assert usage.used("a", HALF_LIFE_S) == pytest.approx(50.0)
    assert usage.used("nobody", 0.0) == 0.0


def test_at_the_end_what_was_really_used_takes_the_place_of_the_guess() -> None:
    usage = Usage()
    usage.begin(1, "a", 1e9, 0.0)
    usage.settle(1, 2, 100.0, 160.0)
    assert usage.used("a", 160.0) == pytest.approx(120.0, rel=1e-3)
    usage.begin(2, "a", 500.0, 160.0)
    usage.settle(2, 2, None, 170.0)
    assert usage.used("a", 170.0) == pytest.approx(120.0, rel=1e-3)
    usage.settle(9, 1, 0.0, 5.0)
    assert usage.used("a", 170.0) == pytest.approx(120.0, rel=1e-3)


@given(st.floats(0, 100 * HALF_LIFE_S), st.floats(1.0, 1e6), st.floats(0.0, 10 * HALF_LIFE_S))
def test_the_charge_is_the_integral_of_the_formula(begin_s: float, took_s: float, after_s: float) -> None:
    usage = Usage()
    usage.inflation(0.0)
    usage.begin(1, "a", 1.0, begin_s)
    usage.settle(1, 1, begin_s, begin_s + took_s)
    now_s = begin_s + took_s + after_s
    steps = 200
    middle = [begin_s + took_s * (step + 0.5) / steps for step in range(steps)]
    expected = sum(2.0 ** ((t - now_s) / HALF_LIFE_S) for t in middle) * took_s / steps
    assert usage.used("a", now_s) == pytest.approx(expected, rel=1e-3)


def test_it_goes_on_for_ever() -> None:
    usage = Usage({"a": 2.0})
    for week in range(0, 5000, 50):
        at_s = week * HALF_LIFE_S
        usage.begin(week, "a", 10.0, at_s)
        usage.begin(-week - 1, "b", 10.0, at_s)
        assert math.isfinite(usage.ratio("b"))
        assert usage.ratio("a") * 2 == pytest.approx(usage.ratio("b"))
        assert usage.used("a", at_s) == pytest.approx(10.0, rel=1e-3)


def test_who_slept_gets_credit_only_up_to_a_bound() -> None:
    usage = Usage({"a": 1.0, "b": 2.0})
    usage.begin(1, "a", 1000.0, 0.0)
    usage.lift("b", ["a", "b"], 300.0, 0.0)
    assert usage.ratio("b") == pytest.approx(1000.0 - 150.0)
    usage.lift("a", ["b"], 300.0, 0.0)
    assert usage.ratio("a") == pytest.approx(1000.0), "nobody is ever lowered"
    usage.lift("c", ["c"], 300.0, 0.0)
    assert usage.ratio("c") == 0.0


def test_usage_is_kept_and_taken_up_again() -> None:
    usage = Usage()
    usage.begin(1, "a", 80.0, 0.0)
    again = Usage()
    again.restore(usage.kept(HALF_LIFE_S))
    assert again.is_open(1)
    assert again.used("a", HALF_LIFE_S) == pytest.approx(40.0)
    again.settle(1, 1, None, HALF_LIFE_S)
    assert again.used("a", HALF_LIFE_S) == pytest.approx(0.0)


# -- floors and classes ------------------------------------------------------------------------------------------------


def test_shares_of_a_gpu_add_up() -> None:
    half = Floor({"a": 0.5, "b": 0.25})
    assert (half.count(0.5), half.count(0.25), half.count(1 / 3)) == (1, 2, 1)
    half.take(Need(1, 0.25), ["a"], 9.0)
    assert half.count(0.5) == 0


def test_a_reservation_keeps_the_gpus_that_open_last() -> None:
    room = Floor({"a": 0.0, "b": 1.0, "c": 0.0}, [Stay("a", 1.0, 5.0), Stay("c", 1.0, 7.0)])
    found = room.reserve(Need(2), 0.0)
    assert found is not None
    assert (found.at_s, found.uuids) == (5.0, frozenset({"a", "b"}))
    assert room.reserve(Need(4), 0.0) is None
    only = room.reserve(Need(1, may=frozenset({"c"})), 0.0)
    assert only is not None
    assert (only.at_s, only.uuids) == (7.0, frozenset({"c"}))
    must = room.reserve(Need(2, must=frozenset({"c"})), 0.0)
    assert must is not None
    assert (must.at_s, "c" in must.uuids, len(must.uuids)) == (7.0, True, 2)
    assert room.reserve(Need(1, must=frozenset({"z"})), 0.0) is None


@pytest.mark.parametrize(
    ("seconds", "number"), [(0.0, 0), (1.0, 0), (1.99, 0), (2.0, 1), (3600.0, 11), (4095.0, 11), (4096.0, 12)]
)
def test_buckets_are_powers_of_two(seconds: float, number: int) -> None:
    assert bucket(seconds) == number


def test_what_has_an_enforced_limit_is_in_another_class() -> None:
    assert class_of(entry(1, limit_s=HOUR)) != class_of(entry(2, takes_s=HOUR))
    assert least_s(entry(1, takes_s=5000.0)) == 4096.0


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.floats(1, 1e6), st.sampled_from("ab")), max_size=60))
def test_classes_hold_exactly_what_waits_in_order(changes: list[tuple[int, bool, float, str]]) -> None:
    made, known = Classes(), {}
    for number, comes, takes_s, project in changes:
        if comes:
            known[number] = entry(number, takes_s=takes_s, project=project)
            made.add(known[number])
        else:
            assert (made.remove(number) is None) == (known.pop(number, None) is None)
    held = [key[-1] for shelf in made.shelves() for key in shelf.keys]
    assert sorted(held) == sorted(known)
    assert len(made) == len(known)
    for shelf in made.shelves():
        assert shelf.keys == sorted(shelf.keys)
        assert shelf.keys, "no empty class is kept"
    assert set(made.projects) == {one.project for one in known.values()}


# -- deadlines ---------------------------------------------------------------------------------------------------------


def lane(*entries: object, gpus: int = 1, now_s: float = 0.0) -> list[int]:
    made = Deadlines()
    for one in entries:
        made.add(one)  # type: ignore[arg-type]
    return [one.id for one in made.lane(gpus, now_s)]


def test_urgent_is_what_has_no_slack_left_and_can_still_make_it() -> None:
    assert lane(entry(1, takes_s=HOUR, deadline_s=10 * HOUR)) == [], "2·W/G + 8·P80 is 10 h"
    assert lane(entry(1, takes_s=HOUR, deadline_s=9.9 * HOUR)) == [1]
    assert lane(entry(1, takes_s=HOUR, deadline_s=HOUR)) == [1]
    assert lane(entry(1, takes_s=HOUR, deadline_s=HOUR - 1)) == [], "too late: its room goes to others"
    assert lane(entry(1, takes_s=HOUR)) == []


def test_the_work_of_all_that_is_due_earlier_takes_slack_away() -> None:
    many = [entry(number, takes_s=HOUR, deadline_s=12 * HOUR) for number in range(1, 8)]
    assert lane(*many) == [3, 4, 5, 6, 7], "8 h of margin, and from the third one on 2 h for each"
    assert lane(*many, gpus=7) == []
    lost = [entry(number, takes_s=9 * HOUR, deadline_s=8 * HOUR) for number in range(1, 8)]
    assert lane(*lost, entry(9, takes_s=HOUR, deadline_s=11 * HOUR)) == [], "what cannot make it takes no slack"


def test_the_earliest_latest_start_comes_first() -> None:
    assert lane(
        entry(1, takes_s=2 * HOUR, deadline_s=4 * HOUR), entry(2, takes_s=3 * HOUR, deadline_s=4.5 * HOUR)
    ) == [2, 1]  # fmt: skip


def test_what_left_is_urgent_no_longer() -> None:
    made = Deadlines()
    one = entry(1, takes_s=HOUR, deadline_s=HOUR + 1)
    made.add(one)
    made.remove(1)
    made.remove(1)
    assert list(made.lane(1, 0.0)) == []


def test_days_are_days() -> None:
    assert CAP_S == 5 * DAY
