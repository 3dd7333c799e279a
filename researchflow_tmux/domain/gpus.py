"""What is decided about a GPU beyond its readings: by hand, by a file, or because it was lost. Kept in the state."""

from __future__ import annotations

from datetime import datetime

import msgspec

from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.reasons import Reason, ReasonCode


class GpuCondition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU that is not simply in use, by its UUID. Nothing new starts on it while it is not `usable`."""

    uuid: str
    index: int
    """As it was when this was decided; for words."""
    drained_by: str | None = None
    """Who drained it by hand; None = nobody."""
    drained_at: datetime | None = None
    unlisted: str | None = None
    """Name of the file that lists the GPUs to be used and leaves this one out; None = it is listed."""
    lost_at: datetime | None = None
    """Since when the driver says that it is lost; None = it is not."""
    lost_why: str = ""
    losses: int = 0
    """How often it was lost so far (by hand: counted from there): each time it has to read well for longer."""

    @property
    def usable(self) -> bool:
        """Whether jobs may start on it as far as this goes."""
        return self.drained_by is None and self.unlisted is None and self.lost_at is None

    @property
    def plain(self) -> bool:
        """Whether there is nothing to remember of it."""
        return self.usable and not self.losses

    @property
    def why(self) -> str:
        """Why nothing starts on it, without its name; empty = it is usable."""
        if self.lost_at is not None:
            return self.lost_why
        if self.drained_by is not None:
            return f"by {self.drained_by}"
        return f"{self.unlisted} leaves it out" if self.unlisted is not None else ""

    @property
    def reason(self) -> Reason | None:
        """Why nothing starts on it; None = it is usable."""
        if self.usable:
            return None
        code = ReasonCode.DRAINED if self.lost_at is None else ReasonCode.GPU_LOST
        return Reason(code=code, text=f"GPU {self.index} ({self.why})")


Conditions = dict[str, GpuCondition]
"""By UUID; a GPU that is not in it is simply in use."""

META_CONDITIONS = "gpus"
"""In the state's meta table, the conditions."""


def encode_conditions(conditions: Conditions) -> str:
    """As they are stored, by index."""
    ordered = sorted(conditions.values(), key=lambda gpu: (gpu.index, gpu.uuid))
    return msgspec.json.encode(ordered).decode()


def decode_conditions(stored: str | None) -> list[GpuCondition]:
    """What `encode_conditions` made; None = nothing was ever decided. Raises StoreError if it is something else."""
    try:
        return [] if not stored else msgspec.json.decode(stored, type=list[GpuCondition])
    except msgspec.MsgspecError as error:
        raise StoreError(
            f"what the state says of drained and lost GPUs cannot be understood: {error}",
            hint="a newer rfsched may have written it: use that one, or upgrade this one",
        ) from error
