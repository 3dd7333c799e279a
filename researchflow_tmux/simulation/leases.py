"""Leases in memory: for simulated GPUs, which belong to one workspace alone, and for the simulator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import Ticket


class ScriptedLeases:
    """The Leases port over a list that tests and the simulator fill."""

    def __init__(self) -> None:
        self._tickets: dict[tuple[str, str], Ticket] = {}
        self._broken: str | None = None
        self._managed: frozenset[int] = frozenset()
        self._above: dict[int, int] = {}

    def live(self, uuids: Sequence[str]) -> list[Ticket]:
        """The live tickets on these GPUs. Raises ProbeError while scripted to."""
        if self._broken is not None:
            raise ProbeError(self._broken)
        return [ticket for uuid in uuids for ticket in self._tickets.values() if ticket.uuid == uuid]

    def managed(self, runner_pids: Iterable[int], candidates: Iterable[int]) -> frozenset[int]:
        """Those of `candidates` that are runners or were said to be ours."""
        return frozenset(candidates) & (self._managed | frozenset(runner_pids))

    def owners(self, runner_pids: Iterable[int], candidates: Iterable[int]) -> dict[int, int]:
        """The runner that each of `candidates` is, or was said to be under."""
        runners = frozenset(runner_pids)
        found = ((pid, self._above.get(pid, pid)) for pid in candidates)
        return {pid: runner for pid, runner in found if runner in runners}

    def describe(self, pids: Iterable[int]) -> dict[int, str]:
        """Words for processes."""
        return {pid: f"pid {pid}, somebody's" for pid in pids}

    def hold(self, ticket: Ticket) -> None:
        """The ticket is live from now on; one per GPU and tag (or holder)."""
        self._tickets[ticket.uuid, ticket.tag or ticket.holder] = ticket

    def release(self, uuid: str, tag: str) -> None:
        """The holder is gone."""
        self._tickets.pop((uuid, tag), None)

    def own(self, pids: Iterable[int]) -> None:
        """These processes, and no others, belong to jobs."""
        self._managed = frozenset(pids)

    def put_under(self, runner_pid: int, *pids: int) -> None:
        """These processes descend from the runner."""
        self._above |= dict.fromkeys(pids, runner_pid)
        self._managed |= frozenset(pids)

    def fail(self, error: str | None) -> None:
        """The directory cannot be read; None = it can again."""
        self._broken = error
