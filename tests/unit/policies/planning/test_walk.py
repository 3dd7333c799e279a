"""The start loop: who starts, who has the reservation, and who may pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.accounts import NO_USE, AccountUse, Hours, Owner, Rate
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Accounts, Claim, Claims, Purse
from researchflow_tmux.policies.planning.classes import Entry, class_of
from researchflow_tmux.policies.planning.floor import Need
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.policies.planning.walk import Facts, Promise, Walk, Why
from tests.unit.policies.planning.samples import DAY, HOUR, classes, entry, floor, walk

EASY = POLICIES["easy_fifo"]


def test_what_fits_starts_in_the_order_of_the_keys() -> None:
    waiting = [entry(1, takes_s=9 * HOUR), entry(2, takes_s=1 * HOUR), entry(3, takes_s=3 * HOUR)]
    assert walk(waiting, floor(2)).started == [2, 3]


def test_priority_comes_before_the_key() -> None:
    assert walk([entry(1), entry(2, takes_s=9 * HOUR, priority=1)], floor(1)).started == [2]


def test_the_project_that_used_least_by_its_weight_comes_first_and_pays() -> None:
    waiting = [entry(number, project="a") for number in (1, 2, 3)] + [entry(4, project="b")]
    found = walk(waiting, floor(3), ratios={"a": 0.0, "b": 1.5 * HOUR})
    assert found.started == [1, 2, 4], "a is charged an hour for each start"


def test_without_fair_shares_projects_do_not_matter() -> None:
    waiting = [entry(1, project="a", ready_s=5, policy=EASY), entry(2, project="b", policy=EASY)]
    assert walk(waiting, floor(1), policy=EASY, ratios={"a": 0.0, "b": 99.0}).started == [2]


def test_the_first_that_does_not_fit_gets_the_reservation_and_only_that_one() -> None:
    wide, wider = entry(1, 3, ready_s=0.0), entry(2, 4, ready_s=1.0)
    found = walk([wide, wider], floor(4, 2 * HOUR, 5 * HOUR), policy=EASY)
    assert (found.started, found.reserved) == ([], 1)
    assert found.walk.reservation is not None
    assert found.walk.reservation.at_s == 2 * HOUR
    assert found.why(wider) is Why.CAPACITY


def test_a_short_job_passes_and_a_long_one_does_not() -> None:
    wide = entry(1, 4, policy=EASY)
    short, long = (
        entry(2, takes_s=2 * HOUR, policy=EASY, ready_s=1),
        entry(3, takes_s=2.1 * HOUR, policy=EASY, ready_s=2),
    )
    found = walk([wide, short, long], floor(4, 2 * HOUR, 2 * HOUR), policy=EASY)
    assert (found.started, found.reserved) == ([2], 1)
    assert found.why(long) is Why.WOULD_DELAY


def test_a_long_job_passes_on_what_is_left_over_when_the_reservation_comes_true() -> None:
    wide, long = entry(1, 3, policy=EASY), entry(2, takes_s=90 * HOUR, policy=EASY)
    found = walk([wide, long], floor(5, 2 * HOUR, 4 * HOUR, 6 * HOUR), policy=EASY)
    assert found.started == [], "at 2 h three are free: none to spare"
    found = walk([wide, long], floor(5, 2 * HOUR, 2 * HOUR, 6 * HOUR), policy=EASY)
    assert found.started == [2], "at 2 h four are free: one to spare"
    assert len(found.avoided[2]) == 3


def test_it_looks_beyond_the_first_job_of_a_class_that_is_partly_too_long() -> None:
    wide = entry(1, 2, policy=EASY)
    same_class = [entry(2, takes_s=4000.0, policy=EASY, ready_s=1), entry(3, takes_s=3000.0, policy=EASY, ready_s=2)]
    assert class_of(same_class[0]) == class_of(same_class[1])
    assert walk([wide, *same_class], floor(2, 3500.0), policy=EASY).started == [3]


def test_for_a_batch_nothing_is_kept_free() -> None:
    batch = POLICIES["makespan"]
    wide, narrow = entry(1, 2, takes_s=9 * HOUR, policy=batch), entry(2, takes_s=8 * HOUR, policy=batch)
    found = walk([wide, narrow], floor(2, HOUR), policy=batch)
    assert (found.started, found.reserved) == ([2], None)
    assert found.why(wide) is Why.CAPACITY


def test_in_strict_order_nobody_passes() -> None:
    fifo = POLICIES["fifo"]
    waiting = [entry(1, 2, policy=fifo), entry(2, takes_s=1.0, policy=fifo, ready_s=1)]
    found = walk(waiting, floor(2, HOUR), policy=fifo)
    assert (found.started, found.reserved) == ([], 1)


A = Owner("project", "a")


def account_of_a(bounds: Bounds, use: AccountUse = NO_USE) -> Accounts:
    return Accounts(Claims({A: bounds}), now=datetime(2026, 1, 10, tzinfo=UTC), uses={A: use}, zone=UTC)


def with_left(hours: float) -> Accounts:
    """The account of a, with so many of its GPU-hours left."""
    used = AccountUse(settled={"month 2026-01-01": Hours(gpu=10.0 - hours)})
    return account_of_a(Bounds(gpu=10.0), used)


def on_account(number: int, gpus: int = 1, *, need_s: float = 0.0, **fields: Any) -> Entry:
    claim = Claim(Purse((A,), Rate(gpus=gpus, cpus=1)), need_s, need_s, need_s, unknown=not need_s)
    return entry(number, gpus, project="a", claim=claim, **fields)


def test_a_full_project_is_passed_and_never_gets_the_reservation() -> None:
    waiting = [on_account(1, 2), entry(2, 2, project="b")]
    has_two = AccountUse(running=Rate(gpus=2, cpus=2))
    found = walk(waiting, floor(2), accounts=account_of_a(Bounds(gpus=3), has_two), ratios={"b": 9.0})
    assert found.started == [2]
    assert found.why(waiting[0]) is Why.CAP
    found = walk(waiting, floor(2, HOUR), accounts=account_of_a(Bounds(gpus=3), has_two), ratios={"b": 9.0})
    assert found.reserved == 2


def test_starts_count_towards_the_cap() -> None:
    waiting = [on_account(number) for number in (1, 2, 3)]
    assert walk(waiting, floor(3), accounts=account_of_a(Bounds(gpus=2))).started == [1, 2]


def test_what_no_budget_is_left_for_is_passed_with_its_class_and_a_shorter_one_is_not() -> None:
    hours = [(1, 2, HOUR), (2, 1, HOUR), (3, 1, HOUR), (4, 1, HOUR / 2)]
    waiting = [on_account(number, gpus, need_s=each, limit_s=each) for number, gpus, each in hours]
    found = walk(waiting, floor(4), accounts=with_left(1.75))
    assert found.started == [2, 4]
    assert found.reserved is None
    assert found.why(waiting[0]) is found.why(waiting[2]) is Why.CAP


def test_jobs_of_one_class_of_which_only_the_later_ones_have_budget_start() -> None:
    waiting = [on_account(number, need_s=HOUR - number, limit_s=HOUR - number) for number in range(70)]
    assert len({class_of(one) for one in waiting}) == 1
    assert walk(waiting, floor(1), accounts=with_left((HOUR - 50) / HOUR)).started == [50]
    far = [on_account(number, need_s=HOUR - number, limit_s=HOUR - number) for number in range(200)]
    assert walk(far, floor(1), accounts=with_left((HOUR - 150) / HOUR)).started == [], "looked at 64"


def test_cpu_jobs_have_places_of_their_own() -> None:
    waiting = [entry(1, 2), entry(2, 0), entry(3, 0)]
    found = walk(waiting, floor(2, HOUR, cpu_places=1))
    assert (found.started, found.reserved) == ([2], 1)


def test_what_can_never_fit_gets_no_reservation() -> None:
    found = walk([entry(1, 9), entry(2, 2, ready_s=1)], floor(2, HOUR))
    assert found.reserved == 2


def test_a_pinned_job_waits_for_its_own_gpu() -> None:
    pinned = entry(1, need=Need(1, must=frozenset({"g0"})), policy=EASY)
    other = entry(2, takes_s=9 * HOUR, policy=EASY, ready_s=1)
    found = walk([pinned, other], floor(2, HOUR), policy=EASY)
    assert (found.started, found.reserved) == ([2], 1)
    assert found.avoided[2] == {"g0"}


def test_urgent_jobs_come_first_and_are_not_offered_twice() -> None:
    waiting = [entry(1, takes_s=1.0), entry(2, takes_s=9 * HOUR), entry(3, takes_s=2.0)]
    assert walk(waiting, floor(3), lane=[waiting[1]]).started == [2, 1, 3]


def test_an_urgent_job_may_have_the_reservation() -> None:
    waiting = [entry(1, takes_s=9 * HOUR), entry(2, 2)]
    found = walk(waiting, floor(2, HOUR), lane=[waiting[1]])
    assert (found.started, found.reserved) == ([], 2)


@pytest.mark.parametrize(("first_s", "drains"), [(HOUR, False), (HOUR - EASY.cap_s, False), (-EASY.cap_s, True)])
def test_a_reservation_that_was_put_off_too_far_lets_only_enforced_limits_pass(first_s: float, drains: bool) -> None:
    wide, guessed = entry(1, 2, policy=EASY), entry(2, takes_s=60.0, policy=EASY, ready_s=1)
    promises = {1: Promise(first_s)}
    found = walk([wide, guessed], floor(2, HOUR), policy=EASY, promises=promises)
    assert found.started == ([] if drains else [2])
    if drains:
        assert found.why(guessed) is Why.DRAIN
    limited = entry(3, limit_s=60.0, policy=EASY, ready_s=2)
    found = walk([wide, guessed, limited], floor(2, HOUR), policy=EASY, promises=promises)
    assert found.started == ([3] if drains else [2])


def test_the_first_promise_is_kept() -> None:
    assert walk([entry(1, 2)], floor(2, HOUR)).walk.promise == Promise(HOUR)
    assert walk([entry(1, 2)], floor(2, HOUR), promises={1: Promise(60.0)}).walk.promise == Promise(60.0)


C = POLICIES["balanced"].cap_s


def test_while_there_is_room_for_a_wide_job_one_goes_before_its_turn() -> None:
    narrow, wide, wider = entry(1), entry(2, 3, takes_s=9 * DAY), entry(3, 4, takes_s=99 * DAY)
    assert walk([narrow, wide, wider], floor(4)).started == [2, 1]
    assert walk([narrow, wide], floor(4, HOUR)).started == [2]
    assert walk([narrow, entry(2, 2, takes_s=9 * DAY)], floor(4)).started == [1, 2], "half of the GPUs is not wide"
    assert walk([entry(1, 0), entry(2, takes_s=9 * DAY)], floor(1, cpu_places=1)).started == [1, 2], "nor is one GPU"
    assert walk([narrow, entry(2, 3, takes_s=9 * DAY)], floor(4, HOUR, HOUR)).started == [1], "no room: no turn"


@pytest.mark.parametrize(
    "wide",
    [
        entry(2, 4, takes_s=9 * DAY, ready_s=10 * HOUR + 1.0),
        entry(2, 4, takes_s=9 * DAY, priority=-1),
        entry(2, 4, takes_s=9 * DAY, project="other"),
    ],
    ids=["came after K of the first", "is of lower priority", "is of a project that has had more"],
)
def test_a_wide_job_does_not_go_before_those_it_may_not_pass(wide: Entry) -> None:
    first = entry(1)
    assert first.key[2] == 10 * HOUR
    assert walk([first, wide], floor(4), ratios={"other": 9 * DAY}).started == [1]


def test_a_wide_job_that_is_stopped_before_its_turn_is_looked_at_once() -> None:
    narrow, wide = on_account(1), on_account(2, 4, takes_s=9 * DAY)
    found = walk([narrow, wide], floor(4), accounts=account_of_a(Bounds(gpus=3)))
    assert found.started == [1]
    assert found.why(wide) is Why.CAP
    in_the_lane = walk([narrow, wide], floor(4), accounts=account_of_a(Bounds(gpus=3)), lane=[wide])
    assert in_the_lane.started == [1]


@pytest.mark.parametrize("name", sorted(POLICIES.keys() - {"balanced"}))
def test_under_the_other_policies_each_one_waits_for_its_turn(name: str) -> None:
    policy = POLICIES[name]
    first, last = sorted([entry(1, policy=policy), entry(2, 4, takes_s=99 * DAY, policy=policy)], key=lambda e: e.key)
    assert walk([first, last], floor(4), policy=policy).started == [first.id]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.floats(1.0, 20 * DAY), st.floats(0.0, 20 * DAY)), min_size=1, max_size=25),
    st.integers(0, 4),
)
def test_what_goes_before_its_turn_came_no_more_than_c_after_those_it_passes(
    wanted: list[tuple[int, float, float]], busy: int
) -> None:
    waiting = [entry(number, gpus, takes_s, ready_s=ready_s) for number, (gpus, takes_s, ready_s) in enumerate(wanted)]
    walked = Walk(classes(*waiting), floor(4, *[HOUR] * busy), Facts(policy=POLICIES["balanced"], now_s=0.0))
    first = walked.offer()
    if first is not None and walked.reservation is None:
        passed = [one for one in waiting if one.key < first.entry.key]
        assert all(first.entry.ready_s <= one.ready_s + C for one in passed)


def test_a_refusal_is_for_the_job_alone_or_for_all_that_ask_for_the_same() -> None:
    for alone, left in ((True, [2]), (False, [])):
        started = Walk(classes(entry(1), entry(2, ready_s=1)), floor(2), Facts(policy=EASY, now_s=0.0))
        offer = started.offer()
        assert offer is not None
        started.refused(offer, alone=alone)
        found = []
        while (offer := started.offer()) is not None:
            found.append(offer.entry.id)
            started.started(offer, [f"g{len(found)}"])
        assert found == left


jobs = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.floats(1.0, 1e6),
        st.floats(0.0, 1e6),
        st.sampled_from("abc"),
        st.one_of(st.none(), st.floats(1.0, 1e6)),
    ),
    max_size=25,
)


@given(jobs, st.lists(st.floats(1.0, 1e5), max_size=4), st.sampled_from(sorted(POLICIES)))
def test_no_decision_starts_more_than_fits_or_delays_the_reservation(
    wanted: list[tuple[int, float, float, str, float | None]], busy: list[float], name: str
) -> None:
    policy = POLICIES[name]
    waiting = [
        entry(number, gpus, takes_s, ready_s=ready_s, project=project, limit_s=limit_s, policy=policy)
        for number, (gpus, takes_s, ready_s, project, limit_s) in enumerate(wanted)
    ]
    room = floor(4, *busy, cpu_places=2)
    found = walk(waiting, room, policy=policy)
    by_id = {one.id: one for one in waiting}
    started = [by_id[job_id] for job_id in found.started]
    assert len(set(found.started)) == len(started)
    assert sum(one.need.gpus for one in started) <= 4 - len(busy)
    assert sum(one.need.gpus == 0 for one in started) <= 2
    reserved = found.walk.reserved
    if reserved is not None and found.walk.reservation is not None:
        later = floor(4, *busy)
        names = iter(f"g{index}" for index in range(len(busy), 4))
        for one in started:
            later.take(one.need, [next(names) for _ in range(one.need.gpus)], one.estimate.most_s)
        again = later.reserve(reserved.need, 0.0)
        assert again is not None
        assert again.at_s <= found.walk.reservation.at_s, "what started has not moved the reserved time"
