"""The graph of jobs as boxes in layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from researchflow_tmux.drawing.dag import Drawing, Link, Node
from researchflow_tmux.drawing.dag_ink import dag
from researchflow_tmux.drawing.looks import look
from researchflow_tmux.hindsight.graph import Graph, GraphLink, GraphNode
from researchflow_tmux.hindsight.pictures.words import brief, counted, lasted


def graph_svg(data: Graph, *, width: float = 1200.0) -> str:
    """The picture."""
    return dag(_drawing(data), description(data), width=width)


def description(data: Graph) -> str:
    """In words, for those who do not see it."""
    jobs = sum(len(node.jobs) for node in data.nodes)
    parts = [f"{counted(jobs, 'job')} in {counted(len(data.nodes), 'node')}, {counted(len(data.links), 'link')}"]
    if data.critical:
        longest = data.critical[0]
        which = "critical path" if len(data.critical) == 1 else f"longest of {len(data.critical)} critical paths"
        parts.append(f"{which}: {counted(len(longest.jobs), 'job')}, {lasted(longest.length_s)}")
    return "; ".join(parts) + "."


def _drawing(data: Graph) -> Drawing:
    notes = [f"{data.workspace} · {description(data)}"]
    if data.unknown:
        notes.append(f"Of {counted(data.unknown, 'job')} it is not known how long they take: they count as nothing.")
    if data.left_out:
        notes.append(f"{counted(data.left_out, 'job')} without any dependency not shown; name them to see them.")
    nodes, links = bundled([_node(node) for node in data.nodes], data.links)
    return Drawing("What needs what", notes, nodes, links)


def bundled(nodes: list[Node], links: Sequence[GraphLink]) -> tuple[list[Node], list[Link]]:
    """Where several nodes need the same several ones, all these links meet in a junction: m + n instead of m · n."""
    into: defaultdict[int, list[GraphLink]] = defaultdict(list)
    for link in links:
        into[link.after].append(link)
    alike: defaultdict[tuple[frozenset[int], str], list[int]] = defaultdict(list)
    for after, own in into.items():
        alike[(frozenset(link.before for link in own), own[0].when)].append(after)
    nodes, found = list(nodes), []
    for (before, when), users in alike.items():
        own = [link for each in users for link in into[each]]
        if len(own) <= len(before) + len(users) + 2:
            found += [Link(link.before, link.after, link.critical, link.when) for link in own]
            continue
        junction = len(nodes)
        critical = [link for link in own if link.critical]
        tip = (f"each of {len(users)} needs all of {len(before)}",)
        nodes.append(Node("", (), tip=tip, junction=True))
        found += [Link(each, junction, any(link.before == each for link in critical), when) for each in sorted(before)]
        found += [Link(junction, each, any(link.after == each for link in critical), when) for each in users]
    return nodes, found


def _node(node: GraphNode) -> Node:
    many = len(node.jobs) > 1
    took = None if node.took_s is None else lasted(node.took_s)
    expected = None if node.expected_s is None else lasted(node.expected_s)
    most = "up to " if many else ""
    first = look(node.state).words if node.took_s is None else most + brief(node.took_s)
    details = first if node.expected_s is None else f"{first} · exp. {brief(node.expected_s)}"
    states = ", ".join(
        f"{count} {look(state).words}" if many else look(state).words for state, count in node.states.items()
    )
    which = f"{node.name} ({len(node.jobs)} jobs)" if many else f"{node.name} (job {node.jobs[0]})"
    tip = [which, states]
    tip += [f"took {most}{took}"] if took else []
    tip += [f"expected {most}{expected}"] if expected else []
    tip.append("on the critical path" if node.critical else f"{lasted(node.slack_s)} to spare")
    prefix = f"{node.cluster}_"
    short = node.name.removeprefix(prefix) if node.cluster else node.name
    return Node(
        name=short or node.name,
        parts=list(node.states.items()),
        details=details,
        tip=tuple(tip),
        took=node.took_s,
        expected=node.expected_s,
        critical=node.critical,
        cluster=node.cluster or "",
    )
