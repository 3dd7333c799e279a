"""The graph of jobs that need each other as data: nodes, links, and the critical path."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Literal

import msgspec

from researchflow_tmux.domain.critical_path import critical_path
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.pipelines import circles
from researchflow_tmux.drawing.dag import components
from researchflow_tmux.hindsight.spans import Expected, Span

SCHEMA = "rfsched.graph/1"
Stack = Literal["auto", "always", "never"]
STACK_ABOVE = 30
"""With more jobs than these, instances of one job are one node."""
ALIKE_ABOVE = 120
"""With more nodes than these, jobs that need the same and are needed by the same are one node."""


class GraphNode(msgspec.Struct, kw_only=True):
    """A job, or several that are alike."""

    id: int
    """Its place in the list of nodes."""
    name: str
    jobs: list[int]
    """Ids of its jobs."""
    cluster: str | None
    """Their group, if all have the same: the pipeline."""
    state: str
    """Of a single job its state, or how it failed (`out_of_memory`, …); of several the one that most have."""
    states: dict[str, int]
    """How many are in which."""
    took_s: float | None
    """Seconds it ran in all attempts, so far; of several the longest. null = did not run."""
    expected_s: float | None
    """How long it should take; of several the longest. null = nothing is known of its like."""
    critical: bool
    slack_s: float
    """How much longer it could take before the end is later; of several the least."""


class GraphLink(msgspec.Struct, kw_only=True):
    """One node comes after another."""

    before: int
    after: int
    when: str
    """On what it waits: `success`, `failure` or `always`."""
    critical: bool


class CriticalChain(msgspec.Struct, kw_only=True):
    """A critical path."""

    jobs: list[int]
    """Ids, in order. What has ended counts with what it took, everything else with what is expected."""
    length_s: float
    """The sum of their lengths."""


class Graph(msgspec.Struct, kw_only=True, rename={"schema_name": "schema"}):
    """What needs what."""

    schema_name: str = SCHEMA
    at: datetime
    workspace: str
    nodes: list[GraphNode]
    links: list[GraphLink]
    critical: list[CriticalChain]
    """Of each connected part of the graph the critical path, the longest first."""
    unknown: int
    """Jobs whose length is not known: they count as nothing."""
    left_out: int
    """Jobs that need nothing and are needed by nothing, and were not asked for."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one job."""

    state: str
    took_s: float | None
    expected_s: float | None
    length_s: float | None
    """What it counts with on the critical path."""


def graph(
    *,
    workspace: str,
    jobs: Mapping[int, Job],
    spans: Sequence[Span],
    expected: Mapping[int, Expected],
    now: datetime,
    alone: bool,
    stack: Stack = "auto",
) -> Graph:
    """The graph of these jobs. `alone` = also those that are connected with no other."""
    needs = {job.id: [need for need in dict.fromkeys(job.spec.after) if need in jobs] for job in jobs.values()}
    connected = {job_id for job_id, below in needs.items() if below} | {n for below in needs.values() for n in below}
    kept = {job_id: below for job_id, below in needs.items() if alone or job_id in connected}
    facts = _facts(jobs, spans, expected)
    lengths = {job_id: facts[job_id].length_s or 0.0 for job_id in kept}
    chains, slack_s = _critical(kept, lengths)
    critical = {job_id for chain in chains for job_id in chain.jobs}
    nodes = _stacked(kept, jobs, stack)
    node_of = {job_id: number for number, members in enumerate(nodes) for job_id in members}
    return Graph(
        at=now,
        workspace=workspace,
        nodes=[_node(number, members, jobs, facts, critical, slack_s) for number, members in enumerate(nodes)],
        links=_links(kept, jobs, node_of, {pair for chain in chains for pair in pairwise(chain.jobs)}),
        critical=chains,
        unknown=sum(facts[job_id].length_s is None for job_id in kept),
        left_out=len(needs) - len(kept),
    )


def _critical(
    needs: Mapping[int, Sequence[int]], lengths: Mapping[int, float]
) -> tuple[list[CriticalChain], dict[int, float]]:
    """The critical path of each connected part, and what each job has to spare within its own."""
    order = list(needs)
    place = {job_id: at for at, job_id in enumerate(order)}
    edges = [(place[need], place[job_id]) for job_id, below in needs.items() for need in below]
    chains: list[CriticalChain] = []
    slack_s: dict[int, float] = {}
    for part in components(len(order), edges):
        members = [order[at] for at in part]
        path = critical_path({job_id: needs[job_id] for job_id in members}, lengths)
        slack_s |= path.slack_s
        if path.length_s > 0 and len(members) > 1:
            chains.append(CriticalChain(jobs=list(path.nodes), length_s=path.length_s))
    return sorted(chains, key=lambda chain: -chain.length_s), slack_s


def _facts(jobs: Mapping[int, Job], spans: Iterable[Span], expected: Mapping[int, Expected]) -> dict[int, Facts]:
    of: defaultdict[int, list[Span]] = defaultdict(list)
    for span in spans:
        of[span.job.id].append(span)
    return {job.id: _fact(job, of[job.id], expected.get(job.id)) for job in jobs.values()}


def _fact(job: Job, spans: Sequence[Span], expected: Expected | None) -> Facts:
    last = spans[-1] if spans else None
    state = str(job.state)
    if job.state is JobState.FAILED and last is not None:
        state = last.kind
    # Before it ran: what is believed now. Since: what was believed when its last attempt began.
    said = expected if last is None else last.expected or expected
    took_s = sum(span.ran_s for span in spans) if any(span.ran for span in spans) else None
    expected_s = None if said is None else said.p50_s
    if job.state.ended:
        length_s: float | None = took_s or 0.0
    elif expected_s is None:
        length_s = took_s
    else:
        earlier_s = sum(span.ran_s for span in spans if not span.going_on)
        length_s = earlier_s + max(expected_s, last.ran_s if last is not None and last.going_on else 0.0)
    return Facts(state=state, took_s=took_s, expected_s=expected_s, length_s=length_s)


def _node(
    number: int,
    members: Sequence[int],
    jobs: Mapping[int, Job],
    facts: Mapping[int, Facts],
    critical: Collection[int],
    slack_s: Mapping[int, float],
) -> GraphNode:
    states = Counter(facts[job_id].state for job_id in members)
    groups = {jobs[job_id].spec.group for job_id in members}
    return GraphNode(
        id=number,
        name=_name([jobs[job_id] for job_id in members]),
        jobs=list(members),
        cluster=groups.pop() if len(groups) == 1 else None,
        state=states.most_common(1)[0][0],
        states=dict(states.most_common()),
        took_s=max((took for job_id in members if (took := facts[job_id].took_s) is not None), default=None),
        expected_s=max((said for job_id in members if (said := facts[job_id].expected_s) is not None), default=None),
        critical=any(job_id in critical for job_id in members),
        slack_s=min(slack_s[job_id] for job_id in members),
    )


def _name(members: Sequence[Job]) -> str:
    """Of several jobs what their names have in common."""
    first = members[0]
    if len(members) == 1:
        return first.name
    if first.spec.array is not None:
        return first.spec.array.name
    if first.spec.source == "pipeline" and "job" in first.spec.labels:
        return first.spec.labels["job"]
    names = [job.name for job in members]
    common = 0
    while common < min(map(len, names)) and len({name[common] for name in names}) == 1:
        common += 1
    return names[0][:common].rstrip("_-.0123456789 ") or first.spec.group or names[0]


def _links(
    needs: Mapping[int, Sequence[int]],
    jobs: Mapping[int, Job],
    node_of: Mapping[int, int],
    critical: Collection[tuple[int, int]],
) -> list[GraphLink]:
    found: dict[tuple[int, int], GraphLink] = {}
    for job_id, below in needs.items():
        for need in below:
            ends = (node_of[need], node_of[job_id])
            if ends not in found:
                found[ends] = GraphLink(before=ends[0], after=ends[1], when=jobs[job_id].spec.when, critical=False)
            if (need, job_id) in critical:
                found[ends].critical = True
    return list(found.values())


# -- jobs that are one node --------------------------------------------------------------------------------------------


def _stacked(needs: Mapping[int, Sequence[int]], jobs: Mapping[int, Job], stack: Stack) -> list[list[int]]:
    """The jobs of each node; there is no circle of nodes."""
    singles = [[job_id] for job_id in needs]
    if stack == "never" or (stack == "auto" and len(needs) <= STACK_ABOVE):
        return singles
    nodes = _without_circles(needs, _by_key(needs, lambda job_id: _instance_of(jobs[job_id])))
    if len(nodes) > ALIKE_ABOVE:
        nodes = _without_circles(needs, _alike(needs, nodes, jobs))
    return nodes


def _instance_of(job: Job) -> Hashable:
    spec = job.spec
    if spec.array is not None:
        return ("array", spec.array.id)
    if spec.source == "pipeline" and "job" in spec.labels:
        return ("pipeline", spec.group, spec.labels["job"])
    return job.id


def _by_key(needs: Mapping[int, Sequence[int]], key: Callable[[int], Hashable]) -> list[list[int]]:
    found: dict[Hashable, list[int]] = {}
    for job_id in needs:
        found.setdefault(key(job_id), []).append(job_id)
    return list(found.values())


def _alike(needs: Mapping[int, Sequence[int]], nodes: list[list[int]], jobs: Mapping[int, Job]) -> list[list[int]]:
    """Single jobs that need the same nodes and are needed by the same nodes, in one group, are one."""
    node_of = {job_id: number for number, members in enumerate(nodes) for job_id in members}
    users: defaultdict[int, set[int]] = defaultdict(set)
    for job_id, below in needs.items():
        for need in below:
            users[need].add(node_of[job_id])
    found: dict[Hashable, list[int]] = {}
    for number, members in enumerate(nodes):
        key: Hashable = number
        if len(members) == 1:
            (job_id,) = members
            above = frozenset(node_of[need] for need in needs[job_id])
            key = (jobs[job_id].spec.group, jobs[job_id].spec.when, above, frozenset(users[job_id]))
        found.setdefault(key, []).extend(members)
    return list(found.values())


def _without_circles(needs: Mapping[int, Sequence[int]], nodes: list[list[int]]) -> list[list[int]]:
    """The same nodes; those that would need each other in a circle are taken apart."""
    while True:
        node_of = {job_id: number for number, members in enumerate(nodes) for job_id in members}
        between: dict[int, list[int]] = {number: [] for number in range(len(nodes))}
        for job_id, below in needs.items():
            between[node_of[job_id]] += [node_of[need] for need in below]
        wrong = {number for circle in circles(between) for number in circle if len(nodes[number]) > 1}
        if not wrong:
            return nodes
        nodes = [
            part
            for number, members in enumerate(nodes)
            for part in ([[job_id] for job_id in members] if number in wrong else [members])
        ]
