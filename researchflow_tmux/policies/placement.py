"""Which GPUs a job gets. Pure: the views are the whole world, and taking slots changes only them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, Allocation, GpuDevice, GpuShare, ResourceRequest


@dataclass(slots=True, kw_only=True)
class GpuView:
    """One GPU during one decision."""

    device: GpuDevice
    used: float = 0.0
    """Shares held by this workspace's attempts."""
    others: float = 0.0
    """Shares leased by other workspaces."""
    jobs: list[str] = field(default_factory=list)
    """Names of this workspace's jobs on it."""
    other_holders: list[str] = field(default_factory=list)
    blocked: Reason | None = None
    """Why nothing may start here now (filled by others, unreadable)."""
    reserved_for: str | None = None
    """An earlier job that waits for several GPUs."""

    def has_room(self, share: float) -> bool:
        """Whether `share` more fits, blocks and reservations aside."""
        return self.used + self.others + share <= 1 + SHARE_TOLERANCE

    def admits(self, share: float) -> bool:
        """Whether a job may start here now."""
        return self.blocked is None and self.reserved_for is None and self.has_room(share)

    def take(self, share: float, name: str) -> GpuShare:
        """Book `share` for the job `name`."""
        self.used += share
        self.jobs.append(name)
        return GpuShare(uuid=self.device.uuid, index=self.device.index, share=share)


def place(request: ResourceRequest, views: Sequence[GpuView], share: float, name: str) -> Allocation | Reason:
    """Slots for one job, booked in `views`; or why there are none.

    Spreads: the least loaded GPUs first, then the lowest index. A job for several GPUs that is blocked only by
    running jobs reserves the GPUs that it will get, so that narrow jobs behind it cannot starve it.
    """
    candidates = _candidates(request, views)
    if isinstance(candidates, Reason):
        return candidates
    must, may = candidates
    chosen = _choose(request.gpus, must, may, share)
    if chosen is not None:
        taken = [view.take(share, name) for view in chosen]
        return Allocation(gpus=tuple(sorted(taken, key=lambda gpu: gpu.index)))
    return _explain(request, must, may, share, name)


def _candidates(request: ResourceRequest, views: Sequence[GpuView]) -> tuple[list[GpuView], list[GpuView]] | Reason:
    """The GPUs the job must have and those it may have; or why it can never run here."""
    present = {view.device.index: view for view in views}
    have = f"GPU{'s' if len(present) > 1 else ''} {', '.join(map(str, sorted(present)))}" if present else "none"
    missing = [index for index in request.pinned if index not in present]
    if missing:
        lacks = ", ".join(str(index) for index in missing)
        return Reason(code=ReasonCode.IMPOSSIBLE, text=f"it is pinned to GPU {lacks}; this workspace has {have}")
    if request.gpus > len(views):
        wanted = f"{request.gpus} GPU{'s' if request.gpus != 1 else ''}"
        return Reason(code=ReasonCode.IMPOSSIBLE, text=f"it needs {wanted}; this workspace has {have}")
    pinned = [present[index] for index in request.pinned]
    if len(pinned) >= request.gpus:
        return [], pinned
    return pinned, [view for view in views if view.device.index not in request.pinned]


def _load(view: GpuView) -> tuple[float, int, int]:
    return (view.used + view.others, len(view.jobs), view.device.index)


def _choose(gpus: int, must: list[GpuView], may: list[GpuView], share: float) -> list[GpuView] | None:
    if not all(view.admits(share) for view in must):
        return None
    free = sorted((view for view in may if view.admits(share)), key=_load)
    wanted = gpus - len(must)
    return must + free[:wanted] if len(free) >= wanted else None


def _explain(request: ResourceRequest, must: list[GpuView], may: list[GpuView], share: float, name: str) -> Reason:
    """Why the job got nothing; reserves GPUs for a wide job that waits for running jobs only."""
    usable = [view for view in must + may if view.blocked is None]
    blocks = [view.blocked for view in must + may if view.blocked is not None]
    if blocks and (len(usable) < request.gpus or any(view.blocked for view in must)):
        return blocks[0]
    reserved = next((view.reserved_for for view in usable if view.reserved_for and view.has_room(share)), None)
    if reserved is not None:
        return Reason(code=ReasonCode.RESERVED, text=reserved)
    if request.gpus > 1:
        unreserved = [view for view in may if view.blocked is None and view.reserved_for is None]
        for view in must + sorted(unreserved, key=_load)[: request.gpus - len(must)]:
            view.reserved_for = name
    full = [view for view in usable if not view.has_room(share)]
    if full and all(not view.jobs for view in full):
        holders = "; ".join(f"GPU {view.device.index}: {', '.join(view.other_holders)}" for view in full)
        return Reason(code=ReasonCode.LEASED, text=holders)
    return Reason(code=ReasonCode.SLOTS_FULL, text="; ".join(_occupants(view) for view in full))


def _occupants(view: GpuView) -> str:
    names = view.jobs + view.other_holders
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"GPU {view.device.index}: {shown}"
