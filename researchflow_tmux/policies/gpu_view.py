"""One GPU during one decision: what is booked on it, what was measured, and why nothing may start there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, GpuDevice, GpuReading, GpuShare


@dataclass(slots=True, kw_only=True, eq=False)
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
    measured: bool = False
    """There is somebody to ask about it: what is not known then is unknown, and not free."""
    reading: GpuReading | None = None
    total_mib: int | None = None
    in_use_mib: int | None = None
    """In use or promised: of each job the larger of what it declared and what it uses. None = unknown."""
    ours_mib: int = 0
    """The part of it that is this workspace's jobs', and free again when they end."""
    processes: int | None = None
    util_pct: float | None = None
    """Average over the window; None = not known over all of it."""
    util_known_at: datetime | None = None
    """When the window will have been seen as a whole."""
    settles: Reason | None = None
    """The grace period that still runs."""
    settles_limits: Reason | None = None
    """The one for jobs that only thresholds hold back."""
    after_start: tuple[Reason | None, Reason | None] = (None, None)
    """Both, as a start in this decision would begin them; None = there is none."""
    rank: int | None = None
    """The place that the user's comparison gives it."""
    wanted: tuple[float, float] = (0.0, 0.0)
    """How much jobs that cannot run on any GPU want this one: those that wait now, and all that came so far."""
    started: int = 0
    """Jobs that this decision starts here: no measurement shows them yet."""

    def has_room(self, share: float) -> bool:
        """Whether `share` more fits, all else aside."""
        return self.used + self.others + share <= 1 + SHARE_TOLERANCE

    def admits(self, share: float) -> bool:
        """Whether a job that minds no threshold may start here now."""
        return self.blocked is None and self.reserved_for is None and self.settles is None and self.has_room(share)

    def take(self, share: float, name: str, memory_mib: int = 0) -> GpuShare:
        """Book a start of the job `name`; the next one in this decision sees it."""
        self.hold(share, name)
        self.started += 1
        self.ours_mib += memory_mib
        if self.in_use_mib is not None:
            self.in_use_mib += memory_mib
        if self.processes is not None:
            self.processes += 1
        self.settles = self.after_start[0] or self.settles
        self.settles_limits = self.after_start[1] or self.settles_limits
        return GpuShare(uuid=self.device.uuid, index=self.device.index, share=share, memory_mib=memory_mib)

    def hold(self, share: float, name: str) -> None:
        """Book the share of a job that is here already."""
        self.used += share
        self.jobs.append(name)
