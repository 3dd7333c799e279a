"""The critical path of jobs that need each other: the chain that takes longest, on which the end depends. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from researchflow_tmux.domain.pipelines import in_order

Node = TypeVar("Node", bound=Hashable)


class CriticalPath(NamedTuple, Generic[Node]):
    """The longest chain, and how much time all others have to spare."""

    nodes: tuple[Node, ...]
    """From the first to the last; empty without any node."""
    length_s: float
    """The sum of their durations."""
    slack_s: Mapping[Node, float]
    """By node: how much longer it could take before the end is later. 0 on the path."""


def critical_path(needs: Mapping[Node, Iterable[Node]], took_s: Mapping[Node, float]) -> CriticalPath[Node]:
    """By the critical path method: the earliest end forwards, the longest rest backwards.

    `needs` has every node, with those that it comes after (unknown ones are ignored), and no circle; `took_s` its
    duration, at least 0 (0 where none is given). Of several longest chains the one whose nodes come first in `needs`.
    """
    known = {node: [need for need in dict.fromkeys(below) if need in needs] for node, below in needs.items()}
    order = in_order(known)
    ends: dict[Node, float] = {}
    before: dict[Node, Node | None] = {}
    for node in order:
        last = max(known[node], key=lambda need: ends[need], default=None)
        before[node] = last
        ends[node] = took_s.get(node, 0.0) + (0.0 if last is None else ends[last])
    rest = dict.fromkeys(order, 0.0)
    for node in reversed(order):
        behind = rest[node] + took_s.get(node, 0.0)
        for need in known[node]:
            rest[need] = max(rest[need], behind)
    length = max(ends.values(), default=0.0)
    chain: list[Node] = []
    at = max(order, key=lambda node: ends[node], default=None)
    while at is not None:
        chain.append(at)
        at = before[at]
    # Differences of sums: what is nothing up to rounding is nothing.
    slack = {node: max(length - ends[node] - rest[node], 0.0) for node in order}
    return CriticalPath(tuple(reversed(chain)), length, {n: 0.0 if s < 1e-9 * length else s for n, s in slack.items()})
