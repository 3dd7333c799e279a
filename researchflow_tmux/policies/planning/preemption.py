"""Preemption: which running jobs make room for one with a deadline that would miss it otherwise.

A waiting job j of the urgent lane is given room only if

    now + σ + P50 ≤ d           it then makes its deadline d; σ = the longest that stopping takes
    T_s > s* = d − P80          by the expected ends of what runs, room would come too late
    now ≥ s* − σ − P80/4        and it cannot wait any longer: until then something may end by itself

Then that set of preemptible jobs i is stopped whose ends open enough GPUs at the least cost

    Σ g_i·(now − saved_i + 60 s)      GPU-seconds that are done again, and what a start anew takes

where saved_i is when its last checkpoint was saved, or else when it started. Nobody is stopped who

- has run for less than A·2^n since its start, A = `preempt_after`, n = how often it was stopped before; or n = 4;
- has a deadline of its own that it would then have to hurry for: d_i − now < 8·P80_i, as in the lane;
- belongs to another project, which would have less than its share of the GPUs in use: G_used·w_p/Σw, rounded down,
  where Σw is over the projects that wait or run. What a project takes from itself is its own affair.

So the same job is stopped four times at most, each time after twice as long. If no set opens enough, nobody is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import combinations
from math import floor
from typing import NamedTuple

import msgspec

from researchflow_tmux.domain.resources import SHARE_TOLERANCE
from researchflow_tmux.policies.planning.classes import Entry
from researchflow_tmux.policies.planning.estimates import Estimate
from researchflow_tmux.policies.planning.floor import Need
from researchflow_tmux.policies.planning.urgency import LEAD, MARGIN

RESTART_S = 60.0
"""What a job is believed to need until it is where it was: start, imports, loading."""
MOST_TIMES = 4
"""How often one job is stopped for others, at most."""
TOGETHER = 10
"""Jobs that share GPUs with each other of which all sets are tried; of more, the cheapest ones."""


MOST_TRIES = 16
"""Sets that are looked at if the cheapest ones take too much of a project: then nobody is stopped for now."""


class PreemptRules(msgspec.Struct, frozen=True, kw_only=True):
    """What people decide about it."""

    save_s: float = 60.0
    """`preempt_grace`: how long a job may take to save itself."""
    stop_s: float = 10.0
    """`stop_grace`: how long it may take to end after that."""
    after_s: float = 600.0
    """`preempt_after`."""

    @property
    def grace_s(self) -> float:
        """σ: until a job that is stopped has surely ended."""
        return self.save_s + self.stop_s


class Running(NamedTuple):
    """A running job that says it may be stopped."""

    job: int
    project: str
    gpus: frozenset[str]
    share: float
    """Of each of its GPUs."""
    started_s: float
    times: int
    """How often it was stopped for others before."""
    estimate: Estimate
    deadline_s: float | None = None


class Victim(NamedTuple):
    """One of those that are stopped, and what that costs."""

    running: Running
    cost_gpu_s: float


Best = dict[int, tuple[float, tuple[Victim, ...]]]
"""By how many GPUs it opens: the cheapest set, after what it costs."""


def must_begin_s(entry: Entry, rules: PreemptRules) -> float:
    """When room has to be made for an urgent job at the latest; it has a deadline."""
    return (entry.deadline_s or 0.0) - entry.estimate.p80_s * (1.0 + LEAD) - rules.grace_s


def would_make_it(entry: Entry, rules: PreemptRules, now_s: float) -> bool:
    """Whether it meets its deadline if everybody who is stopped now takes all the time that is allowed."""
    return entry.deadline_s is not None and now_s + rules.grace_s + entry.estimate.p50_s <= entry.deadline_s


def comes_too_late(entry: Entry, room_s: float | None) -> bool:
    """Whether room at T_s is after its latest start; None = there never is room."""
    return entry.deadline_s is not None and (room_s is None or room_s > entry.deadline_s - entry.estimate.p80_s)


def protected_until_s(running: Running, rules: PreemptRules) -> float:
    """Until when it is left alone."""
    if running.times >= MOST_TIMES:
        return float("inf")
    return running.started_s + rules.after_s * 2.0**running.times


def may_be_stopped(running: Running, rules: PreemptRules, now_s: float) -> bool:
    """Whether it has run for long enough and has no deadline to hurry for."""
    if now_s < protected_until_s(running, rules):
        return False
    if running.deadline_s is None or running.deadline_s < now_s:
        return True
    return running.deadline_s - now_s >= MARGIN * running.estimate.p80_s


def spare(has: Mapping[str, int], weight: Callable[[str], float], active: Collection[str], mine: str) -> dict[str, int]:
    """GPUs that may be taken from each project for a job of `mine`: what it has beyond its share of those in use."""
    used, weights = sum(has.values()), sum(weight(project) for project in active)
    found = {}
    for project, gpus in has.items():
        protected = project != mine and project in active and weights > 0
        share = floor(used * weight(project) / weights) if protected else 0
        found[project] = max(gpus - share, 0)
    return found


def choose(
    need: Need,
    free: Mapping[str, float],
    running: Iterable[Running],
    left: Mapping[str, int],
    cost_gpu_s: Callable[[Running], float],
) -> tuple[Victim, ...] | None:
    """The cheapest set whose end gives `need` room on the GPUs of `free` (UUID: the free share); None = no set does.

    `left` = what each project may lose, from `spare`. If the cheapest set takes more from one, the search goes on
    without the dearest of that project's. No victims = there is room already.
    """
    victims = [Victim(one, cost_gpu_s(one)) for one in running if one.gpus <= free.keys()]
    found = [_within(kind, free, victims, left) for kind in _kinds(need)]
    return min((each for each in found if each is not None), key=_total, default=None)


def keeps(need: Need, free: Mapping[str, float], victims: Iterable[Victim]) -> frozenset[str]:
    """The GPUs to keep for a job until it starts: those that are opened for it first, then such as are free."""
    after = dict(free)
    for each in victims:
        for uuid in each.running.gpus:
            after[uuid] += each.running.share
    least = need.share - SHARE_TOLERANCE
    able = sorted((free[uuid] >= least, uuid) for uuid, part in after.items() if part >= least)
    for kind in _kinds(need):
        others = [uuid for _, uuid in able if uuid not in kind.must and (kind.may is None or uuid in kind.may)]
        chosen = kind.must.union(others[: max(kind.gpus - len(kind.must), 0)])
        if len(chosen) >= kind.gpus:
            return chosen
    return frozenset()


def cost_of(running: Running, saved_s: float | None, now_s: float) -> float:
    """GPU-seconds that stopping it now costs; `saved_s` = when its last checkpoint was saved, None = not known."""
    since_s = running.started_s if saved_s is None else max(saved_s, running.started_s)
    return len(running.gpus) * running.share * (max(now_s - since_s, 0.0) + RESTART_S)


def _kinds(need: Need) -> list[Need]:
    return [need.within(group) for group in need.groups] if need.groups else [need]


def _total(victims: Iterable[Victim]) -> float:
    return sum(each.cost_gpu_s for each in victims)


def _within(
    need: Need, free: Mapping[str, float], victims: list[Victim], left: Mapping[str, int]
) -> tuple[Victim, ...] | None:
    able = [each for each in victims if len(each.running.gpus) <= left.get(each.running.project, 0)]
    for _ in range(MOST_TRIES):
        found = _cheapest(need, free, able)
        if found is None:
            return None
        over = _overdrawn(found, left)
        if over is None:
            return found
        dearest = max((each for each in found if each.running.project == over), key=lambda each: each.cost_gpu_s)
        able = [each for each in able if each is not dearest]
    return None


def _overdrawn(victims: Iterable[Victim], left: Mapping[str, int]) -> str | None:
    """A project that would lose more than it may."""
    taken: dict[str, int] = {}
    for each in victims:
        project = each.running.project
        taken[project] = taken.get(project, 0) + len(each.running.gpus)
        if taken[project] > left.get(project, 0):
            return project
    return None


def _cheapest(need: Need, free: Mapping[str, float], victims: list[Victim]) -> tuple[Victim, ...] | None:
    """By the number of GPUs opened: the cheapest set for each, group by group of jobs that share GPUs."""
    least = need.share - SHARE_TOLERANCE
    opened = {uuid for uuid, part in free.items() if part >= least}
    others = {uuid for uuid in free if uuid not in need.must and (need.may is None or uuid in need.may)}
    wanted = max(need.gpus - len(need.must) - len(opened & others), 0)
    missing = need.must - opened
    best: Best = {0: (0.0, ())}
    for group in _groups(victims):
        touched = frozenset().union(*(each.running.gpus for each in group))
        options: list[tuple[int, float, tuple[Victim, ...]]] = []
        for some in _sets(group):
            opens = _opens(free, some, least) - opened
            if missing & touched <= opens:
                options.append((len(opens & others), _total(some), some))
        best = _merged(best, options, wanted)
        missing -= touched
    return best[wanted][1] if wanted in best and not missing else None


def _merged(best: Best, options: Iterable[tuple[int, float, tuple[Victim, ...]]], wanted: int) -> Best:
    merged: Best = {}
    for more, cost, some in options:
        for gpus, (cost_before, before) in best.items():
            reached, together = min(gpus + more, wanted), cost_before + cost
            if reached not in merged or together < merged[reached][0]:
                merged[reached] = (together, before + some)
    return merged


def _sets(group: list[Victim]) -> Iterable[tuple[Victim, ...]]:
    for size in range(len(group) + 1):
        yield from combinations(group, size)


def _opens(free: Mapping[str, float], victims: Iterable[Victim], least: float) -> set[str]:
    """The GPUs that have enough free once these have ended."""
    gained: dict[str, float] = {}
    for each in victims:
        for uuid in each.running.gpus:
            gained[uuid] = gained.get(uuid, 0.0) + each.running.share
    return {uuid for uuid, share in gained.items() if free[uuid] + share >= least}


def _groups(victims: Iterable[Victim]) -> list[list[Victim]]:
    """Those that share GPUs with each other, directly or by others: their ends open GPUs only together."""
    groups: list[tuple[set[str], list[Victim]]] = []
    for each in sorted(victims, key=lambda each: each.cost_gpu_s):
        gpus, members = set(each.running.gpus), [each]
        apart = []
        for group in groups:
            if group[0] & gpus:
                gpus |= group[0]
                members = group[1] + members
            else:
                apart.append(group)
        groups = [*apart, (gpus, members)]
    return [sorted(members, key=lambda each: each.cost_gpu_s)[:TOGETHER] for _, members in groups]
