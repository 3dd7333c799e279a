"""Which GPUs a job gets. Pure: the views are the whole world, and taking slots changes only them."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.domain.hardware import NO_HARDWARE
from researchflow_tmux.domain.limits import NO_RULES, RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, ResourceRequest
from researchflow_tmux.domain.units import counted
from researchflow_tmux.policies import hardware
from researchflow_tmux.policies.admission import Need, admits, fits_when_empty, gib, need_of, refusal, together
from researchflow_tmux.policies.choosing import choose, connected, to_reserve, widest
from researchflow_tmux.policies.gpu_view import GpuView
from researchflow_tmux.policies.ordering import spread
from researchflow_tmux.policies.topology import NO_LINKS, Links

__all__ = ["GpuView", "place"]


def place(
    request: ResourceRequest,
    views: Sequence[GpuView],
    share: float,
    name: str,
    rules: RoomRules = NO_RULES,
    links: Links = NO_LINKS,
) -> Allocation | Reason:
    """Slots for one job, booked in `views`; or why there are none.

    Every GPU that the job may have is looked at: of those that admit it, the ones that `choosing.choose` prefers are
    taken. A job for several GPUs that is blocked only by running jobs reserves the GPUs that it will get, so that
    narrow jobs behind it cannot starve it.

    Args:
        request: What the job asks for.
        views: The GPUs.
        share: What one job gets of a GPU by default; 0 = unlimited.
        name: What the job is called.
        rules: What the workspace says where the job says nothing.
        links: How these GPUs are connected.
    """
    need = need_of(request, share, rules)
    candidates = _candidates(request, views, need, links)
    if isinstance(candidates, Reason):
        return candidates
    must, may = candidates
    chosen = _choose(request, must, may, need, rules.order, links)
    if chosen is not None:
        taken = [view.take(need.share, name, need.memory_mib) for view in chosen]
        return Allocation(gpus=tuple(sorted(taken, key=lambda gpu: gpu.index)))
    reason = _explain(request, must, may, need, name, links)
    if request.hardware == NO_HARDWARE:
        return reason
    picky = request.hardware.least_closeness or len(must) + len(may) < len(views)
    return _of_hardware(request, reason) if picky else reason


def _candidates(
    request: ResourceRequest, views: Sequence[GpuView], need: Need, links: Links
) -> tuple[list[GpuView], list[GpuView]] | Reason:
    """The GPUs the job must have and those it may have; or why it can never run here."""
    pinned = [_pinned(pin, views) for pin in request.pinned]
    missing = [str(pin) for pin, view in zip(request.pinned, pinned, strict=True) if view is None]
    if missing:
        text = f"it is pinned to GPU {', '.join(missing)}; this workspace has {_have(views)}"
        return Reason(code=ReasonCode.IMPOSSIBLE, text=text)
    if request.gpus > len(views) and not request.hardware.choosy:
        wanted = counted(request.gpus, "GPU")
        return Reason(code=ReasonCode.IMPOSSIBLE, text=f"it needs {wanted}; this workspace has {_have(views)}")
    must = list(dict.fromkeys(view.device.uuid for view in pinned if view is not None))
    chosen = [view for uuid in must for view in views if view.device.uuid == uuid]
    others = [view for view in views if view.device.uuid not in must]
    must_have, may_have = ([], chosen) if len(chosen) >= request.gpus else (chosen, others)
    if request.hardware != NO_HARDWARE:
        good = [view for view in may_have if hardware.fits(view.device, request.hardware)]
        reason = _unfit(request, chosen, must_have + good, views)
        if reason is not None:
            return reason
        may_have = good
    return (
        _large_enough(request.gpus, must_have, may_have, need)
        or _unconnected(request, must_have, [view for view in may_have if fits_when_empty(view, need)], links)
        or (must_have, may_have)
    )


def _unfit(
    request: ResourceRequest, pinned: list[GpuView], usable: list[GpuView], views: Sequence[GpuView]
) -> Reason | None:
    """Why too few GPUs here are of the kind that the job needs; None = there are enough."""
    asked = request.hardware
    bad = [view.device for view in pinned if not hardware.fits(view.device, asked)]
    if bad and (len(pinned) < request.gpus or len(usable) < request.gpus):
        text = f"it is pinned to GPU {bad[0].index} ({hardware.short(bad[0].name)}) and needs {asked}"
        return Reason(code=ReasonCode.IMPOSSIBLE, text=text)
    if len(usable) >= request.gpus:
        return None
    text = hardware.lacking([view.device for view in views], asked, request.gpus)
    return Reason(code=ReasonCode.IMPOSSIBLE, text=text)


def _unconnected(request: ResourceRequest, must: list[GpuView], large: list[GpuView], links: Links) -> Reason | None:
    """Why no GPUs here that could hold the job are connected as it needs; None = some are, or it does not matter."""
    if connected(request, must, large, links):
        return None
    asked = request.hardware
    text = f"it needs {counted(request.gpus, 'GPU')} ({asked}); {widest(must + large, links, asked.least_closeness)}"
    return Reason(code=ReasonCode.IMPOSSIBLE, text=text)


def _large_enough(gpus: int, must: list[GpuView], may: list[GpuView], need: Need) -> Reason | None:
    """Why these GPUs could not hold the job even if they were empty."""
    if not need.memory_mib:
        return None
    large = sum(fits_when_empty(view, need) for view in may)
    if large >= gpus - len(must) and all(fits_when_empty(view, need) for view in must):
        return None
    sizes = "; ".join(f"GPU {view.device.index}: {gib(view.total_mib or 0)}" for view in (must + may)[:4])
    return Reason(code=ReasonCode.IMPOSSIBLE, text=f"it needs {gib(need.memory_mib)} of GPU memory; {sizes}")


def _pinned(pin: int | str, views: Sequence[GpuView]) -> GpuView | None:
    """The GPU of that index or UUID, of which a beginning that fits only one is enough."""
    if isinstance(pin, int):
        return next((view for view in views if view.device.index == pin), None)
    matches = [view for view in views if view.device.uuid.startswith(pin)]
    return matches[0] if len(matches) == 1 else None


def _have(views: Sequence[GpuView]) -> str:
    indices = sorted(view.device.index for view in views)
    return f"GPU{'s' if len(indices) > 1 else ''} {', '.join(map(str, indices))}" if indices else "none"


def _choose(
    request: ResourceRequest, must: list[GpuView], may: list[GpuView], need: Need, order: str, links: Links
) -> list[GpuView] | None:
    if not all(admits(view, need) for view in must):
        return None
    free = [view for view in may if admits(view, need)]
    return choose(request, must, free, order, links) if len(must) + len(free) >= request.gpus else None


def _explain(
    request: ResourceRequest, must: list[GpuView], may: list[GpuView], need: Need, name: str, links: Links
) -> Reason:
    """Why the job got nothing; reserves GPUs for a wide job that waits for running jobs only."""
    refusals = [(view, refusal(view, need)) for view in must + may]
    closed = [found for _, found in refusals if found is not None and not found.passing]
    usable = [view for view, found in refusals if found is None or found.passing]
    if closed and (len(usable) < request.gpus or any(view not in usable for view in must)):
        return together(closed)
    reserved = next((view.reserved_for for view in usable if view.reserved_for and view.has_room(need.share)), None)
    if reserved is not None:
        return Reason(code=ReasonCode.RESERVED, text=reserved)
    if request.gpus > 1:
        unreserved = [view for view in usable if view not in must and view.reserved_for is None]
        for view in to_reserve(request, must, sorted(unreserved, key=spread), links):
            view.reserved_for = name
    passing = [found for _, found in refusals if found is not None and found.passing]
    settling = [found for found in passing if found.word().code is ReasonCode.GRACE]
    full = [view for view in usable if not view.has_room(need.share)]
    if settling or (passing and len(full) < len(usable)):
        return together(settling or passing)
    return _full(full)


def _of_hardware(request: ResourceRequest, reason: Reason) -> Reason:
    """The reason as that of a job which not every GPU is good for."""
    if reason.code in (ReasonCode.IMPOSSIBLE, ReasonCode.RESERVED):
        return reason
    why = reason.text if reason.code in (ReasonCode.SLOTS_FULL, ReasonCode.THRESHOLD) else str(reason)
    needed = f"needs {counted(request.gpus, 'GPU')} ({request.hardware})"
    text = f"{needed}; {why or 'those that are free are not connected so'}"
    return Reason(code=ReasonCode.NO_HARDWARE, text=text, until=reason.until)


def _full(full: list[GpuView]) -> Reason:
    if full and all(not view.jobs for view in full):
        holders = "; ".join(f"GPU {view.device.index}: {', '.join(view.other_holders)}" for view in full)
        return Reason(code=ReasonCode.LEASED, text=holders)
    return Reason(code=ReasonCode.SLOTS_FULL, text="; ".join(_occupants(view) for view in full))


def _occupants(view: GpuView) -> str:
    names = view.jobs + view.other_holders
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"GPU {view.device.index}: {shown}"
