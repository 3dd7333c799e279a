"""All processes of the machine at one moment, in one pass over /proc: who started whom, CPU time and memory.

One read of one small file a process; what psutil would open three or four files and build an object for. The threads of
the kernel, most of the entries on a large machine, are recognised once and then passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KTHREADD = 2
"""Pid of the parent of all threads of the kernel."""
FORGET_AFTER = 60
"""Passes after which the kernel's threads are looked for anew: pids are given out again."""


class ProcessFacts(NamedTuple):
    """One process."""

    parent: int
    own_ticks: int
    """CPU time of itself."""
    reaped_ticks: int
    """CPU time of the children it has waited for, with theirs."""
    rss_mib: float


class Load(NamedTuple):
    """What the processes below one runner use."""

    pids: frozenset[int]
    cpu_s: float
    """CPU time that they and their ended children have used so far."""
    rss_mib: float


class ProcessTable:
    """Reads /proc again and again."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._page_mib = os.sysconf("SC_PAGE_SIZE") / 2**20
        self._ticks_s = os.sysconf("SC_CLK_TCK")
        self._kernel: set[int] = set()
        self._passes = 0
        self._facts: dict[int, ProcessFacts] = {}

    def read(self) -> None:
        """Look at all processes now. Raises OSError when there is no /proc."""
        if self._passes % FORGET_AFTER == 0:
            self._kernel = {KTHREADD}
        self._passes += 1
        pids = [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        found = {}
        for pid in pids:
            if pid not in self._kernel:
                facts = self._look(pid)
                if facts is not None:
                    found[pid] = facts
        self._facts = found

    def __contains__(self, pid: int) -> bool:
        return pid in self._facts or pid in self._kernel

    def below(self, runners: Iterable[int]) -> dict[int, Load]:
        """What there is below each runner that is there; the runner itself counts with its ended children only."""
        children: dict[int, list[int]] = {}
        for pid, facts in self._facts.items():
            children.setdefault(facts.parent, []).append(pid)
        return {runner: self._load(runner, children) for runner in runners if runner in self._facts}

    def _load(self, runner: int, children: dict[int, list[int]]) -> Load:
        pids = list(_descendants(runner, children))
        facts = [self._facts[pid] for pid in pids]
        ticks = self._facts[runner].reaped_ticks + sum(each.own_ticks + each.reaped_ticks for each in facts)
        return Load(
            # The runner's own pid is the one under which simulated GPUs list a job.
            pids=frozenset((runner, *pids)),
            cpu_s=ticks / self._ticks_s,
            rss_mib=sum(each.rss_mib for each in facts),
        )

    def _look(self, pid: int) -> ProcessFacts | None:
        try:
            fd = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # The name in parentheses may hold spaces and parentheses: fields count from the last one.
            fields = os.read(fd, 1024).rpartition(b")")[2].split()
        except OSError:
            return None
        finally:
            os.close(fd)
        if len(fields) < 22:
            return None
        parent = int(fields[1])
        if parent == KTHREADD:
            self._kernel.add(pid)
            return None
        return ProcessFacts(
            parent=parent,
            own_ticks=int(fields[11]) + int(fields[12]),
            reaped_ticks=int(fields[13]) + int(fields[14]),
            rss_mib=int(fields[21]) * self._page_mib,
        )


def _descendants(root: int, children: dict[int, list[int]]) -> Iterator[int]:
    """Everything below `root`; a pid given out again in mid-pass must not lead in circles."""
    seen, todo = {root}, list(children.get(root, ()))
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.add(pid)
            yield pid
            todo += children.get(pid, ())
