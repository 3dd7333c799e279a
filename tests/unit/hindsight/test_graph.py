"""The graph as data: who needs whom, what is alike, and the critical path of each connected part."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.domain.arrays import Array
from researchflow_tmux.domain.attempt import Exited, OutOfMemory
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.pipelines import circles
from researchflow_tmux.drawing.dag import Node
from researchflow_tmux.hindsight.graph import Graph, Stack, graph
from researchflow_tmux.hindsight.pictures.graph import bundled, description, graph_svg
from researchflow_tmux.hindsight.spans import Expected, spans_of
from tests.pasts import NOW, Past, attempt, job, pipelines

STAGES = [("fetch", 1, []), ("train", 20, ["fetch"]), ("evaluate", 20, ["train"]), ("report", 2, ["evaluate"])]


def made(it: Past, *, stack: Stack = "auto", alone: bool = False, expected: dict[int, Expected] | None = None) -> Graph:
    spans = spans_of(it.jobs, it.attempts, NOW)
    return graph(workspace="/w", jobs=it.jobs, spans=spans, expected=expected or {}, now=NOW, alone=alone, stack=stack)


def of(*jobs: Job) -> Past:
    return Past({each.id: each for each in jobs}, [], {})


def took(number: int, minutes: float) -> Past:
    """A job that took so long, as a past of its own."""
    begin = NOW - timedelta(minutes=minutes)
    return Past({}, [attempt(number, begin=begin, end=NOW)], {})


def test_jobs_without_dependencies_are_left_out_unless_they_are_meant() -> None:
    it = of(job(1, "a"), job(2, "b", after=(1,)), job(3, "c"))
    assert [node.name for node in made(it).nodes] == ["a", "b"]
    assert made(it).left_out == 1
    assert [node.name for node in made(it, alone=True).nodes] == ["a", "b", "c"]


def test_what_it_took_and_what_was_expected_and_how_it_failed_are_there() -> None:
    jobs = {
        1: job(1, "a", attempts=2),
        2: job(2, "b", JobState.FAILED, after=(1,)),
        3: job(3, "c", JobState.QUEUED, after=(2,)),
    }
    attempts = [
        attempt(
            1,
            1,
            begin=NOW - timedelta(minutes=50),
            end=NOW - timedelta(minutes=40),
            outcome=Exited(code=1, succeeded=False),
        ),
        attempt(1, 2, begin=NOW - timedelta(minutes=40), end=NOW - timedelta(minutes=20)),
        attempt(2, begin=NOW - timedelta(minutes=20), end=NOW, outcome=OutOfMemory(where="gpu", line="")),
    ]
    data = made(Past(jobs, attempts, {}), expected={3: Expected(60.0), 1: Expected(900.0)})
    told = [(node.state, node.took_s, node.expected_s) for node in data.nodes]
    assert told == [("succeeded", 1800, 900), ("out_of_memory", 1200, None), ("queued", None, 60)]
    assert [chain.length_s for chain in data.critical] == [1800 + 1200 + 60]
    assert data.unknown == 0


def test_the_critical_path_is_that_of_each_connected_part() -> None:
    jobs = {
        1: job(1, "a"), 2: job(2, "b", after=(1,)), 3: job(3, "c", after=(1,)), 4: job(4, "d", after=(2, 3)),
        5: job(5, "x"), 6: job(6, "y", after=(5,)),
    }  # fmt: skip
    lengths = {1: 10, 2: 30, 3: 20, 4: 5, 5: 1, 6: 1}
    attempts = [each for number, minutes in lengths.items() for each in took(number, minutes).attempts]
    data = made(Past(jobs, attempts, {}))
    assert [chain.jobs for chain in data.critical] == [[1, 2, 4], [5, 6]]
    assert [node.slack_s for node in data.nodes] == [0, 0, 600, 0, 0, 0]
    critical = {(data.nodes[link.before].name, data.nodes[link.after].name) for link in data.links if link.critical}
    assert critical == {("a", "b"), ("b", "d"), ("x", "y")}


def test_where_nothing_is_known_there_is_no_critical_path_and_it_is_said() -> None:
    jobs = of(job(1, "a", JobState.QUEUED), job(2, "b", JobState.QUEUED, after=(1,)))
    assert (made(jobs).critical, made(jobs).unknown) == ([], 2)
    assert "count as nothing" in graph_svg(made(jobs))


def test_what_runs_counts_with_what_is_expected_or_what_it_has_had() -> None:
    jobs = {1: job(1, "a", JobState.ACTIVE, attempts=1), 2: job(2, "b", JobState.QUEUED, after=(1,))}
    it = Past(jobs, [attempt(1, begin=NOW - timedelta(minutes=10))], {})
    assert made(it, expected={1: Expected(900.0)}).critical[0].length_s == 900
    assert made(it, expected={1: Expected(60.0)}).critical[0].length_s == 600


def test_instances_of_a_matrix_are_one_node_when_there_are_many() -> None:
    data = made(pipelines(STAGES))
    assert [(node.name, len(node.jobs)) for node in data.nodes] == [
        ("pipe0_fetch", 1),
        ("train", 20),
        ("evaluate", 20),
        ("report", 2),
    ]
    assert len(data.links) == 3
    assert sum(data.nodes[1].states.values()) == 20
    assert len(made(pipelines(STAGES), stack="never").nodes) == 43
    small = pipelines([("fetch", 1, []), ("train", 3, ["fetch"])])
    assert (len(made(small).nodes), len(made(small, stack="always").nodes)) == (4, 2)


def test_an_array_is_one_node() -> None:
    array = Array(id="a1", name="sweep", count=40, first=0, last=39)
    jobs = [job(1, "before"), *(job(2 + at, f"sweep_{at}", after=(1,), array=array) for at in range(40))]
    data = made(of(*jobs))
    assert [(node.name, len(node.jobs)) for node in data.nodes] == [("before", 1), ("sweep", 40)]


def test_very_many_alike_are_one_node_and_named_by_what_is_common() -> None:
    jobs = [job(1, "first"), *(job(2 + at, f"fold_{at}", after=(1,)) for at in range(200)), job(300, "x", after=(1, 2))]
    data = made(of(*jobs))
    assert [(node.name, len(node.jobs)) for node in data.nodes] == [
        ("first", 1),
        ("fold_0", 1),
        ("fold", 199),
        ("x", 1),
    ]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.lists(st.integers(1, 12), max_size=3)), max_size=12),
    st.lists(st.integers(0, 2), min_size=12, max_size=12),
)
def test_nodes_never_need_each_other_in_a_circle(needs: list[tuple[int, list[int]]], arrays: list[int]) -> None:
    after = {number: tuple(sorted({need for need in below if need < number})) for number, below in needs}
    jobs = [
        job(
            number,
            f"j{number}",
            after=after.get(number, ()),
            array=Array(id=str(kind), name="a", count=9, first=0, last=8),
        )
        for number, kind in enumerate(arrays, 1)
    ]
    data = made(of(*jobs), stack="always", alone=True)
    between: dict[int, list[int]] = {node.id: [] for node in data.nodes}
    for link in data.links:
        between[link.after].append(link.before)
    assert circles(between) == []
    assert sorted(each for node in data.nodes for each in node.jobs) == list(range(1, 13))


def test_links_of_all_with_all_meet_in_a_junction() -> None:
    it = pipelines([("a", 10, []), ("b", 8, ["a"])])
    data = made(it, stack="never")
    assert len(data.links) == 80
    nodes, links = bundled([Node(node.name, []) for node in data.nodes], data.links)
    assert len(links) == 18
    assert [node.junction for node in nodes] == [False] * 18 + [True]
    assert "80 links" in description(data)


@pytest.mark.parametrize("count", [0, 1, 5, 43])
def test_it_can_be_drawn_and_sent(count: int) -> None:
    stages = STAGES if count == 43 else [(f"s{at}", 1, [f"s{at - 1}"] if at else []) for at in range(count)]
    data = made(pipelines(stages), alone=True)
    ElementTree.fromstring(graph_svg(data))
    assert msgspec.json.decode(msgspec.json.encode(data), type=Graph) == data
