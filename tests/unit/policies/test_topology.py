"""Which of the free GPUs are connected best."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.hardware import GpuLink
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.policies.topology import EXACT, NO_LINKS, Links, _score, best, closest, groups, loose


def machine(number: int, ways: dict[tuple[int, int], str], other: str = "SYS") -> Links:
    """GPUs `g0`…; `ways` by pairs: `NV4`, or a path."""

    def link(one: int, two: int) -> GpuLink:
        way = ways.get((min(one, two), max(one, two)), other)
        return GpuLink(f"g{two}", "PIX", int(way[2:])) if way.startswith("NV") else GpuLink(f"g{two}", way)

    return Links(
        [
            GpuDevice(
                uuid=f"g{one}",
                index=one,
                name="GPU",
                kind="simulated",
                links=tuple(link(one, two) for two in range(number) if two != one),
            )
            for one in range(number)
        ]
    )


def uuids(*numbers: int) -> list[str]:
    return [f"g{number}" for number in numbers]


PAIRS = machine(4, {(0, 1): "NV2", (2, 3): "NV4"})
ISLANDS = machine(
    8,
    dict.fromkeys(combinations(range(4), 2), "NV4") | dict.fromkeys(combinations(range(4, 6), 2), "NV4"),
)


@pytest.mark.parametrize(
    ("number", "free", "links", "chosen"),
    [
        (2, (0, 1, 2, 3), PAIRS, (2, 3)),  # more links
        (2, (0, 1, 2), PAIRS, (0, 1)),
        (2, (0, 2), PAIRS, (0, 2)),  # there is no choice
        (3, (0, 1, 2, 3), PAIRS, (0, 2, 3)),
        (2, tuple(range(8)), ISLANDS, (4, 5)),  # the four are left whole
        (4, tuple(range(8)), ISLANDS, (0, 1, 2, 3)),
        (2, (0, 1, 2, 3, 6, 7), ISLANDS, (0, 1)),
        (1, tuple(range(8)), ISLANDS, (6,)),  # nobody is connected to it
        (2, (3, 2, 1), NO_LINKS, (3, 2)),  # nothing is known: the order decides
        (2, (3, 1, 2), machine(4, {}), (3, 1)),  # all alike: so too
        (0, (1, 2), PAIRS, ()),
    ],
)
def test_the_best_connected_are_chosen(
    number: int, free: tuple[int, ...], links: Links, chosen: tuple[int, ...]
) -> None:
    assert sorted(best(number, uuids(*free), links) or []) == sorted(uuids(*chosen))


def test_where_too_few_are_free_or_none_are_as_close_as_they_must_be_there_is_no_set() -> None:
    assert best(3, uuids(0, 1), PAIRS) is None
    assert best(2, uuids(0, 2), PAIRS, least=3) is None
    assert best(2, uuids(0, 1, 2), PAIRS, least=3) == uuids(0, 1)
    assert best(3, uuids(0, 1, 2, 3), PAIRS, least=1) is None


def test_the_least_connected_two_count_before_the_number_of_links() -> None:
    # three GPUs on one switch, or two with many links and a third far away
    links = machine(5, {(0, 1): "NV12", (2, 3): "PIX", (3, 4): "PIX", (2, 4): "PIX"})
    assert best(3, uuids(0, 1, 2, 3, 4), links) == uuids(2, 3, 4)


@given(st.data())
def test_nothing_is_better_than_what_is_chosen(data: st.DataObject) -> None:
    number = data.draw(st.integers(2, 7))
    way = st.sampled_from(["NV1", "NV2", "NV4", "PIX", "NODE", "SYS"])
    links = machine(number, {pair: data.draw(way) for pair in combinations(range(number), 2)})
    size = data.draw(st.integers(1, number))
    all_ = uuids(*range(number))
    matrix = links.matrix(all_)
    found = best(size, all_, links)
    assert found is not None
    score = _score(tuple(sorted(all_.index(uuid) for uuid in found)), matrix)
    assert score[:3] == max(_score(chosen, matrix)[:3] for chosen in combinations(range(number), size))


def test_among_more_than_can_be_tried_out_groups_are_found_too() -> None:
    number = EXACT + 8
    ways = dict.fromkeys(combinations(range(8, 16), 2), "NV4") | dict.fromkeys(combinations(range(8), 2), "PIX")
    found = best(8, uuids(*range(number)), machine(number, ways))
    assert found == uuids(*range(8, 16))


def test_sixteen_gpus_without_any_symmetry_are_no_trouble() -> None:
    ways = {(one, two): f"NV{1 + (one * 7 + two * 13) % 5}" for one, two in combinations(range(16), 2)}
    found = best(8, uuids(*range(16)), machine(16, ways))
    assert found is not None
    assert len(found) == 8


def test_groups_are_all_that_are_as_close_as_needed() -> None:
    assert groups(uuids(*range(8)), ISLANDS, 3, 2) == (frozenset(uuids(0, 1, 2, 3)), frozenset(uuids(4, 5)))
    assert groups(uuids(*range(8)), ISLANDS, 3, 3) == (frozenset(uuids(0, 1, 2, 3)),)
    assert groups(uuids(*range(8)), ISLANDS, 3, 5) == ()
    chain = machine(3, {(0, 1): "NV1", (1, 2): "NV1"})
    assert set(groups(uuids(0, 1, 2), chain, 3, 2)) == {frozenset(uuids(0, 1)), frozenset(uuids(1, 2))}


def test_how_close_a_set_is_and_what_a_single_gpu_is_connected_to() -> None:
    assert (closest(uuids(0, 1), PAIRS), closest(uuids(0, 1, 2), PAIRS), closest(uuids(0), PAIRS)) == (3, 0, 3)
    assert (loose("g0", uuids(0, 1, 2), PAIRS), loose("g0", uuids(0, 2), PAIRS)) == (5, 0)
