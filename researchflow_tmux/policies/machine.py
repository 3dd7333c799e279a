"""Cores and memory of the machine that jobs declare (`cpus`, `memory`): each is promised to one job only. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, ResourceRequest
from researchflow_tmux.domain.units import counted

MIB_PER_GIB = 1024


class Unpromised:
    """What no live attempt was promised; `give` books more of it during one decision."""

    def __init__(self, rules: RoomRules) -> None:
        self._rules = rules
        self._cores = list(rules.cores)
        self._promised_mib = 0

    def book(self, allocation: Allocation, request: ResourceRequest) -> None:
        """A live attempt has these."""
        taken = set(allocation.cores)
        self._cores = [core for core in self._cores if core not in taken]
        self._promised_mib += request.memory_mib or 0

    def refuses(self, request: ResourceRequest) -> Reason | None:
        """Why a job cannot be given what it declares; None = it can."""
        if request.cpus is None and request.memory_mib is None:
            return None
        return self._no_cores(request.cpus or 0) or self._no_memory(request.memory_mib or 0)

    def give(self, request: ResourceRequest) -> tuple[int, ...]:
        """Book what the job declares; return its cores, the lowest that are free. None declared = none given."""
        given = tuple(self._cores[: request.cpus or 0])
        self.book(Allocation(cores=given), request)
        return given

    def _no_cores(self, wanted: int) -> Reason | None:
        have = len(self._rules.cores)
        if wanted > have:
            return Reason(code=ReasonCode.IMPOSSIBLE, text=f"it needs {counted(wanted, 'core')}; there are {have}")
        if wanted > len(self._cores):
            return Reason(code=ReasonCode.CORES, text=f"{len(self._cores)} of {have} free, {wanted} needed")
        return None

    def _no_memory(self, wanted_mib: int) -> Reason | None:
        if not wanted_mib:
            return None
        have_mib = self._rules.machine_mib
        if have_mib is None:
            text = f"it cannot be read, and the job needs {_gib(wanted_mib)} of it"
            return Reason(code=ReasonCode.RAM, text=text)
        if wanted_mib > have_mib:
            text = f"it needs {_gib(wanted_mib)} of memory; the machine has {_gib(have_mib)}"
            return Reason(code=ReasonCode.IMPOSSIBLE, text=text)
        if self._promised_mib + wanted_mib > have_mib:
            left = f"{_gib(have_mib - self._promised_mib)} of {_gib(have_mib)} not promised to other jobs"
            return Reason(code=ReasonCode.RAM, text=f"{left}, {_gib(wanted_mib)} needed")
        return None


def core_ranges(cores: Iterable[int]) -> str:
    """`0-3, 8`."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _gib(mib: float) -> str:
    return f"{mib / MIB_PER_GIB:.3g} GiB"
