"""A machine's memory for the simulator: what its jobs use, and what somebody else does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from researchflow_tmux.domain.limits import RamReading


class ScriptedRam:
    """The RamProbe over what it is told."""

    def __init__(self, total_mib: int, used_by: Callable[[], Mapping[int, int]] = dict) -> None:
        """A machine of that size; `used_by` says what the job under each runner (by pid) uses now."""
        self.total_mib = total_mib
        self.others_mib = 0
        """What everybody else uses."""
        self.broken = False
        """It cannot be read."""
        self._used_by = used_by

    def read(self) -> RamReading | None:
        """How much there is and is in use now; None while `broken`."""
        if self.broken:
            return None
        used = self.others_mib + sum(self._used_by().values())
        return RamReading(total_mib=self.total_mib, used_mib=min(used, self.total_mib))

    def used_by(self, runner_pids: Iterable[int]) -> dict[int, int]:
        """MiB below each runner."""
        used = self._used_by()
        return {pid: used[pid] for pid in runner_pids if pid in used}
