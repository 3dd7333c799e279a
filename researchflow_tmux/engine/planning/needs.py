"""What a job's request means on the GPUs of this machine, for counting: which of them it must have and may have."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.domain.hardware import NO_HARDWARE, Hardware
from researchflow_tmux.domain.resources import GpuDevice, ResourceRequest
from researchflow_tmux.policies.planning.floor import NOTHING, Need
from researchflow_tmux.policies.topology import pools_of

Kind = tuple[frozenset[str], tuple[frozenset[str], ...]]
"""The GPUs of a kind, and the groups of them that are connected as required; no groups = it does not matter."""


class Needs:
    """Knows the GPUs; what a kind of GPU means on them is found out once."""

    def __init__(self, devices: Sequence[GpuDevice], share: float) -> None:
        """`share` = what one job gets of a GPU by default."""
        self._devices = tuple(devices)
        self._share = share
        self._kinds: dict[tuple[Hardware, int], Kind] = {}

    def of(self, request: ResourceRequest) -> Need:
        """What this request needs. One that cannot be met here may have no GPU at all."""
        share = self._share if request.share is None else request.share
        if not request.gpus:
            return Need(0, share)
        pinned = frozenset(self._uuid(pin) for pin in request.pinned)
        must, may = (pinned, None) if len(pinned) < request.gpus else (NOTHING, pinned)
        if request.hardware == NO_HARDWARE:
            return Need(request.gpus, share, must, may)
        good, groups = self._of_kind(request.hardware, request.gpus)
        if not must <= good:  # pinned to what is of another kind
            good = NOTHING
        if may is None:
            may = None if len(good) == len(self._devices) else good
        else:
            may &= good
        return Need(request.gpus, share, must, may, tuple(group for group in groups if must <= group))

    def _of_kind(self, hardware: Hardware, gpus: int) -> Kind:
        key = (hardware, gpus)
        found = self._kinds.get(key)
        if found is None:
            groups = pools_of(self._devices, hardware, gpus)
            good = NOTHING.union(*groups)
            if gpus < 2 or not hardware.least_closeness:
                groups = ()
            found = self._kinds[key] = (good, groups)
        return found

    def _uuid(self, pin: int | str) -> str:
        """The UUID that a pin means; what names no GPU here will never be free."""
        if isinstance(pin, int):
            return next((device.uuid for device in self._devices if device.index == pin), f"no GPU {pin}")
        found = [device.uuid for device in self._devices if device.uuid.startswith(pin)]
        return found[0] if len(found) == 1 else pin
