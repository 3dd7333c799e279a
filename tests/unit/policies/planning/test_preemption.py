"""Whom to stop for a job with a deadline: the cheapest set that opens enough, and no project below its share."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.policies.planning import preemption
from researchflow_tmux.policies.planning.estimates import certain
from researchflow_tmux.policies.planning.floor import Need
from researchflow_tmux.policies.planning.preemption import MOST_TIMES, RESTART_S, PreemptRules, Running, choose
from tests.unit.policies.planning.samples import HOUR, entry

RULES = PreemptRules(save_s=60.0, stop_s=10.0, after_s=600.0)
PLENTY = {"": 99, "a": 99, "b": 99}


def running(number: int, *gpus: int, share: float = 1.0, project: str = "", **fields: Any) -> Running:
    made = Running(number, project, frozenset(f"g{gpu}" for gpu in gpus), share, 0.0, 0, certain(HOUR))
    return made._replace(**fields)


def free(gpus: int, **parts: float) -> dict[str, float]:
    return {f"g{index}": 0.0 for index in range(gpus)} | parts


def chosen(
    need: Need, room: dict[str, float], *able: Running, left: dict[str, int] | None = None, **costs: float
) -> list[int] | None:
    found = choose(need, room, able, left or PLENTY, lambda one: costs.get(f"j{one.job}", float(one.job)))
    return None if found is None else sorted(each.running.job for each in found)


# -- when ------------------------------------------------------------------------------------------------------------


def test_room_is_made_no_sooner_than_it_has_to_be_and_not_for_what_is_late_all_the_same() -> None:
    urgent = entry(1, takes_s=1000.0, deadline_s=10_000.0)
    begin_s = preemption.must_begin_s(urgent, RULES)
    assert begin_s == 10_000 - 1250 - 70
    assert preemption.would_make_it(urgent, RULES, begin_s)
    assert preemption.would_make_it(urgent, RULES, 10_000 - 1070)
    assert not preemption.would_make_it(urgent, RULES, 10_000 - 1069)
    assert not preemption.would_make_it(entry(2), RULES, 0.0)
    assert [preemption.comes_too_late(urgent, at_s) for at_s in (9000.0, 9001.0, None)] == [False, True, True]


def test_whoever_just_began_is_left_alone_for_longer_each_time_and_at_last_for_good() -> None:
    until = [preemption.protected_until_s(running(1, 0, times=times), RULES) for times in range(MOST_TIMES + 1)]
    assert until == [600.0, 1200.0, 2400.0, 4800.0, float("inf")]
    assert not preemption.may_be_stopped(running(1, 0), RULES, 599.0)
    assert preemption.may_be_stopped(running(1, 0), RULES, 600.0)


@pytest.mark.parametrize(
    ("deadline_s", "expected"),
    [(None, True), (700.0 + 8 * HOUR, True), (699.0 + 8 * HOUR, False), (701.0, False), (699.0, True)],
)
def test_whoever_would_have_to_hurry_then_is_left_alone(deadline_s: float | None, expected: bool) -> None:
    """What is late already has nothing to lose."""
    assert preemption.may_be_stopped(running(1, 0, deadline_s=deadline_s), RULES, 700.0) is expected


# -- whom ------------------------------------------------------------------------------------------------------------


def test_the_cheapest_set_and_not_the_cheapest_jobs() -> None:
    wide, narrow = running(1, 0, 1), [running(2, 2), running(3, 3)]
    assert chosen(Need(2), free(4), wide, *narrow, j1=5.0, j2=3.0, j3=3.0) == [1]
    assert chosen(Need(2), free(4), wide, *narrow, j1=7.0, j2=3.0, j3=3.0) == [2, 3]
    assert chosen(Need(2), free(4, g3=1.0), wide, narrow[0], j1=7.0, j2=3.0) == [2], "one is free"
    assert chosen(Need(1), free(4, g3=1.0), wide) == []
    assert chosen(Need(4), free(4), wide, *narrow) == [1, 2, 3]
    assert chosen(Need(4), free(5), wide, narrow[0]) is None


def test_jobs_that_share_a_gpu_open_it_together() -> None:
    pairs = [running(1, 0, share=0.5), running(2, 0, share=0.5), running(3, 1, share=0.5)]
    assert chosen(Need(1), free(2), *pairs, j1=1.0, j2=1.0, j3=3.0) == [1, 2], "the other half of GPU 1 stays taken"
    assert chosen(Need(1), free(2, g1=0.5), *pairs, j1=1.0, j2=1.0, j3=1.5) == [3]
    assert chosen(Need(1, share=0.5), free(2), *pairs) == [1]
    linked = [running(1, 0, 1, share=0.5), running(2, 0, share=0.5), running(3, 1, share=0.5)]
    assert chosen(Need(2), free(2), *linked) == [1, 2, 3]


def test_only_gpus_that_it_may_have_count() -> None:
    able = [running(1, 0), running(2, 1), running(3, 2)]
    assert chosen(Need(1, may=frozenset({"g1", "g2"})), free(3), *able) == [2]
    assert chosen(Need(2, must=frozenset({"g2"})), free(3), *able) == [1, 3]
    assert chosen(Need(2, must=frozenset({"g2"})), free(3, g2=1.0), *able[:2]) == [1]
    assert chosen(Need(1, must=frozenset({"g9"})), free(3), *able) is None
    groups = (frozenset({"g0", "g1"}), frozenset({"g1", "g2"}))
    assert chosen(Need(2, groups=groups), free(3), *able, j1=9.0) == [2, 3]
    assert chosen(Need(1), {"g0": 0.0}, running(1, 0, 1)) is None, "GPU 1 is closed: nothing is known of it"


def test_the_gpus_that_are_opened_are_kept_and_free_ones_where_that_is_not_enough() -> None:
    room = free(4, g3=1.0)
    found = choose(Need(2), room, [running(1, 1)], PLENTY, lambda _one: 1.0)
    assert found is not None
    assert preemption.keeps(Need(2), room, found) == {"g1", "g3"}
    assert preemption.keeps(Need(1), room, found) == {"g1"}
    assert preemption.keeps(Need(2, must=frozenset({"g3"})), room, found) == {"g1", "g3"}
    assert preemption.keeps(Need(3), room, found) == frozenset()


def test_what_it_costs() -> None:
    one = running(1, 0, 1, started_s=1000.0)
    assert preemption.cost_of(one, None, 5000.0) == 2 * (4000 + RESTART_S)
    assert preemption.cost_of(one, 4500.0, 5000.0) == 2 * (500 + RESTART_S)
    assert preemption.cost_of(one, 10.0, 5000.0) == 2 * (4000 + RESTART_S), "that was an attempt before"


# -- whose -----------------------------------------------------------------------------------------------------------


def test_a_project_keeps_its_share_of_the_gpus_in_use() -> None:
    def spare(has: dict[str, int], **weights: float) -> dict[str, int]:
        return preemption.spare(has, lambda project: weights.get(project, 1.0), {"a", "b"}, "b")

    assert spare({"a": 6, "b": 2}) == {"a": 2, "b": 2}, "what b takes from itself is its own affair"
    assert spare({"a": 4, "b": 4}) == {"a": 0, "b": 4}
    assert spare({"a": 6, "b": 2}, a=3.0) == {"a": 0, "b": 2}
    assert spare({"a": 2, "b": 1}) == {"a": 1, "b": 1}, "half of 3 is 1 whole GPU"
    assert spare({"a": 1}) == {"a": 1}
    assert spare({"gone": 3}) == {"gone": 3}, "it neither waits nor runs any more"


def test_where_the_cheapest_takes_too_much_of_one_project_the_next_is_taken() -> None:
    able = [running(1, 0, project="a"), running(2, 1, project="a"), running(3, 2, project="b")]
    assert chosen(Need(2), free(3), *able) == [1, 2]
    assert chosen(Need(2), free(3), *able, left={"a": 1, "b": 1}) == [1, 3]
    assert chosen(Need(2), free(3), *able, left={"a": 1}) is None


JOBS = st.lists(
    st.tuples(
        st.frozensets(st.integers(0, 4), min_size=1, max_size=3),
        st.sampled_from([0.5, 1.0]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 50),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(JOBS, st.integers(1, 4), st.sampled_from([0.5, 1.0]), st.fixed_dictionaries({"a": st.integers(0, 6)}))
def test_no_cheaper_set_opens_enough(
    jobs: list[tuple[frozenset[int], float, str, int]], gpus: int, share: float, left: dict[str, int]
) -> None:
    """As good as trying all sets, where no project loses too much; and never more of one than it may lose."""
    room = {f"g{index}": 1.0 for index in range(5)}
    able = []
    for number, (places, part, project, _) in enumerate(jobs):
        names = {f"g{place}" for place in places}
        if all(room[name] >= part for name in names):
            for name in names:
                room[name] -= part
            able.append(running(number, *places, share=part, project=project))
    costs = {one.job: float(jobs[one.job][3]) for one in able}
    need = Need(gpus, share)

    def opens(some: tuple[Running, ...]) -> bool:
        after = {uuid: part + sum(one.share for one in some if uuid in one.gpus) for uuid, part in room.items()}
        return sum(part >= share - 1e-6 for part in after.values()) >= gpus

    sets = [some for size in range(len(able) + 1) for some in combinations(able, size) if opens(some)]
    best = min((sum(costs[one.job] for one in some) for some in sets), default=None)
    found = choose(need, room, able, PLENTY, lambda one: costs[one.job])
    assert (None if found is None else sum(each.cost_gpu_s for each in found)) == best
    bounded = choose(need, room, able, left | {"b": 99}, lambda one: costs[one.job])
    if bounded is not None:
        assert opens(tuple(each.running for each in bounded))
        assert sum(len(each.running.gpus) for each in bounded if each.running.project == "a") <= left["a"]
