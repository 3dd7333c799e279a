"""The critical path is the longest chain, and slack is what a job could take longer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.critical_path import critical_path


def chains(needs: dict[int, list[int]], node: int) -> Iterator[list[int]]:
    """All chains that end in `node`."""
    if not needs[node]:
        yield [node]
    for need in needs[node]:
        for chain in chains(needs, need):
            yield [*chain, node]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, float]]:
    count = draw(st.integers(1, 7))
    needs = {
        node: draw(st.lists(st.integers(0, node - 1), unique=True, max_size=3)) if node else [] for node in range(count)
    }
    took = {node: float(draw(st.integers(0, 9))) for node in range(count)}
    return needs, took


@given(graphs())
def test_it_is_the_longest_of_all_chains(graph: tuple[dict[int, list[int]], dict[int, float]]) -> None:
    needs, took = graph
    every = [chain for node in needs for chain in chains(needs, node)]
    lengths = [sum(took[node] for node in chain) for chain in every]
    found = critical_path(needs, took)
    assert found.length_s == pytest.approx(max(lengths))
    assert sum(took[node] for node in found.nodes if isinstance(node, int)) == pytest.approx(found.length_s)
    steps = zip(found.nodes, found.nodes[1:], strict=False)
    assert all(before in needs[after] for before, after in steps if isinstance(after, int))


@given(graphs(), st.data())
def test_within_its_slack_a_job_delays_nothing_and_beyond_it_the_end(
    graph: tuple[dict[int, list[int]], dict[int, float]], data: st.DataObject
) -> None:
    needs, took = graph
    found = critical_path(needs, took)
    node = data.draw(st.sampled_from(sorted(needs)))
    within = critical_path(needs, took | {node: took[node] + found.slack_s[node]})
    beyond = critical_path(needs, took | {node: took[node] + found.slack_s[node] + 1})
    assert within.length_s == pytest.approx(found.length_s)
    assert beyond.length_s == pytest.approx(found.length_s + 1)
    assert all(found.slack_s[each] == 0 for each in found.nodes)


def test_what_is_not_known_is_ignored_and_nothing_has_no_path() -> None:
    assert critical_path({}, {}).nodes == ()
    assert critical_path({"b": ["gone"], "a": []}, {"a": 2.0}).nodes == ("a",)
