"""Graphs of jobs: circles in them, and which instances of one job another one needs. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

from researchflow_tmux.domain.sweeps.expansion import canonical

Node = TypeVar("Node", bound=Hashable)

Values = Mapping[str, Any]
"""What makes an instance of a job: the value of each of its variables."""


def circles(needs: Mapping[Node, Iterable[Node]]) -> list[list[Node]]:
    """Circles of jobs that need each other, such as [a, b, a]: enough of them that without these there is none.

    Each begins with the one of its jobs that comes first in `needs`, and goes on with what that needs.
    """
    graph = {node: dict.fromkeys(below) for node, below in needs.items()}
    order = {node: place for place, node in enumerate(graph)}
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            # graphlib gives each node before the one that needs it; read the other way, each is followed by its need.
            ring: list[Node] = list(reversed(error.args[1]))[:-1]
            first = min(range(len(ring)), key=lambda place: order.get(ring[place], len(order)))
            circle = [*ring[first:], *ring[:first], ring[first]]
            found.append(circle)
            del graph[circle[0]][circle[1]]
        else:
            return found


def in_order(needs: Mapping[Node, Iterable[Node]]) -> list[Node]:
    """All jobs, each after those it needs, otherwise as they stand. There is no circle in them."""
    nodes = list(needs)
    place = {node: number for number, node in enumerate(nodes)}
    sorter = TopologicalSorter({place[node]: [place[need] for need in below] for node, below in needs.items()})
    sorter.prepare()
    order = []
    ready = list(sorter.get_ready())
    heapify(ready)
    while ready:
        first = heappop(ready)
        order.append(nodes[first])
        sorter.done(first)
        for number in sorter.get_ready():
            heappush(ready, number)
    return order


class Instances:
    """The instances of one job, found by the values of the variables that they share with another."""

    def __init__(self, instances: Sequence[Values]) -> None:
        self._instances = instances
        self._variables = frozenset().union(*instances)
        self._by: dict[tuple[str, ...], dict[tuple[str, ...], list[int]]] = {}

    def partners(self, values: Values) -> list[int]:
        """The places of those that agree with `values` in every variable that both have; all if they share none."""
        shared = tuple(sorted(self._variables & values.keys()))
        if shared not in self._by:
            index: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
            for place, instance in enumerate(self._instances):
                index[_key(shared, instance)].append(place)
            self._by[shared] = index
        return self._by[shared].get(_key(shared, values), [])


def _key(names: Sequence[str], values: Values) -> tuple[str, ...]:
    return tuple(canonical(values[name]) for name in names)
