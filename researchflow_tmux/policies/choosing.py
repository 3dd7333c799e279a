"""Which of the GPUs that admit a job it gets. Pure.

First by kind: the type that the job prefers, then what is wanted least by jobs that cannot run everywhere. Then, for a
job for several, what is connected best, of one kind where that is possible. Then in the order of `gpu_order`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from researchflow_tmux.domain.hardware import CLOSENESS
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.policies import hardware, topology
from researchflow_tmux.policies.gpu_view import GpuView
from researchflow_tmux.policies.ordering import is_custom, key_of
from researchflow_tmux.policies.topology import Links

BALANCING = ("spread", "pack")
"""Orders that break ties by index only: there a single GPU may as well be one that nobody is connected to."""


def choose(
    request: ResourceRequest, must: Sequence[GpuView], free: Sequence[GpuView], order: str, links: Links
) -> list[GpuView] | None:
    """The GPUs for the job: all of `must`, and the best of `free`; None = they are not connected as it needs."""
    number = request.gpus - len(must)
    if number <= 0:
        return list(must)
    ordered = _ordered(request, free, order, links)
    tiers = [list(tier) for _, tier in groupby(ordered, key=lambda view: _tier(view, request, order))]
    if number == 1 and not must:
        return [tiers[0][0]]
    if must or not _minds_links(request, order, links):
        return _first(request, must, ordered, number, links)
    return _connected_best(request, tiers, number, links)


def connected(request: ResourceRequest, must: Sequence[GpuView], may: Sequence[GpuView], links: Links) -> bool:
    """Whether enough of these are connected as the job needs, if it needs them to be."""
    return not _requires(request) or any(True for _ in _groups(request, must, may, links))


def to_reserve(
    request: ResourceRequest, must: Sequence[GpuView], may: Sequence[GpuView], links: Links
) -> list[GpuView]:
    """The GPUs to keep for the job until it can start; of `may` the first ones that will do."""
    number = request.gpus - len(must)
    for group in _groups(request, must, may, links) if _requires(request) else [list(may)]:
        return [*must, *group[:number]]
    return list(must)


def widest(views: Sequence[GpuView], links: Links, least: int) -> str:
    """How many of these GPUs are so close to each other at most, in words."""
    if not links.known:
        return "how the GPUs here are connected is not known"
    groups = topology.groups([view.device.uuid for view in views], links, least, 2)
    return f"here at most {len(groups[0])} are" if groups else "here no two are"


def _requires(request: ResourceRequest) -> bool:
    return request.gpus > 1 and request.hardware.least_closeness > 0


def _minds_links(request: ResourceRequest, order: str, links: Links) -> bool:
    """The user's own order decides alone, unless the job says how its GPUs should be connected."""
    return links.known and (request.hardware.topology is not None or not is_custom(order))


def _tier(view: GpuView, request: ResourceRequest, order: str) -> tuple[float, ...]:
    """Of the GPUs of one tier any is as good by its kind."""
    preferred = hardware.rank(view.device, request.hardware)
    return (preferred,) if is_custom(order) else (preferred, *view.wanted)


def _ordered(request: ResourceRequest, free: Sequence[GpuView], order: str, links: Links) -> list[GpuView]:
    key = key_of(order)
    if request.gpus > 1 or order not in BALANCING or not links.known:
        return sorted(free, key=lambda view: (*_tier(view, request, order), *key(view)))
    uuids = [view.device.uuid for view in free]
    return sorted(
        free,
        key=lambda view: (
            *_tier(view, request, order),
            *key(view)[:-1],
            topology.loose(view.device.uuid, uuids, links),
            view.device.index,
        ),
    )


def _first(
    request: ResourceRequest, must: Sequence[GpuView], ordered: Sequence[GpuView], number: int, links: Links
) -> list[GpuView] | None:
    """The first ones; those of one group if they have to be connected."""
    if not _requires(request):
        return [*must, *ordered[:number]]
    for group in _groups(request, must, ordered, links):
        return [*must, *group[:number]]
    return None


def _groups(
    request: ResourceRequest, must: Sequence[GpuView], may: Sequence[GpuView], links: Links
) -> Iterator[list[GpuView]]:
    """What may be taken besides `must`, group by group in which all are connected as the job needs; order is kept."""
    fixed = {view.device.uuid for view in must}
    uuids = [*fixed, *(view.device.uuid for view in may)]
    for group in topology.groups(uuids, links, request.hardware.least_closeness, request.gpus):
        if fixed <= group:
            yield [view for view in may if view.device.uuid in group]


def _connected_best(
    request: ResourceRequest, tiers: Sequence[list[GpuView]], number: int, links: Links
) -> list[GpuView] | None:
    """Of the best tier that has enough, else of the first tiers together: the set that is connected best."""
    asked = request.hardware
    good_enough = CLOSENESS[asked.topology] if asked.topology is not None else 0
    fallback: list[GpuView] | None = None
    for views in _pools(tiers, number):
        by_uuid = {view.device.uuid: view for view in views}
        found = topology.best(number, list(by_uuid), links, asked.least_closeness)
        if found is None:
            continue
        chosen = [by_uuid[uuid] for uuid in found]
        if topology.closest(found, links) >= good_enough:
            return chosen
        fallback = fallback or chosen
    return fallback


def _pools(tiers: Sequence[list[GpuView]], number: int) -> Iterator[list[GpuView]]:
    """From where to take so many: each tier that has them, then several, the best ones first."""
    yield from (tier for tier in tiers if len(tier) >= number)
    together: list[GpuView] = []
    for tier in tiers:
        together = together + tier
        if len(together) >= number and len(together) > len(tier):
            yield together
