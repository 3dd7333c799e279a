"""The machine's memory, or that of the control group we are in where that is tighter (a container, a batch job)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from researchflow_tmux.domain.limits import RamReading

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MIB = 2**20


class SystemRam:
    """The RamProbe over procfs and control groups (version 2)."""

    def __init__(self, *, proc: str = "/proc", groups: str = "/sys/fs/cgroup") -> None:
        """Read nothing yet; `proc` and `groups` are where those file systems are."""
        self._proc = proc
        self._groups = groups

    def read(self) -> RamReading | None:
        """How much there is and is in use, where least is left; None = it cannot be read."""
        readings = [reading for reading in (self._machine(), *self._own_groups()) if reading is not None]
        return min(readings, key=lambda reading: reading.total_mib - reading.used_mib, default=None)

    def used_by(self, runner_pids: Iterable[int]) -> dict[int, int]:
        """MiB that the processes below each runner hold; what several share is divided among them."""
        children: dict[int, list[int]] = {}
        for pid in self._pids():
            parent = self._parent(pid)
            if parent is not None:
                children.setdefault(parent, []).append(pid)
        found = {}
        for runner in runner_pids:
            tree = list(children.get(runner, ()))
            for pid in tree:
                tree.extend(children.get(pid, ()))
            sizes = [size for size in map(self._held, tree) if size is not None]
            if sizes:
                found[runner] = sum(sizes) // _MIB
        return found

    # -- the machine and its groups

    def _machine(self) -> RamReading | None:
        fields = {}
        for line in self._text(f"{self._proc}/meminfo").splitlines():
            name, _, value = line.partition(":")
            fields[name] = value.split()
        try:
            total_kib, free_kib = int(fields["MemTotal"][0]), int(fields["MemAvailable"][0])
        except (KeyError, IndexError, ValueError):
            return None
        return RamReading(total_mib=total_kib // 1024, used_mib=(total_kib - free_kib) // 1024) if total_kib else None

    def _own_groups(self) -> list[RamReading | None]:
        """One reading for our group and each above it that has a limit."""
        path = next(
            (line[3:] for line in self._text(f"{self._proc}/self/cgroup").splitlines() if line.startswith("0::")), ""
        )
        if ".." in path.split("/"):
            path = ""  # the group is outside of what we can see: only the limits at the top are left to look at
        found = []
        while True:
            found.append(self._group(self._groups + path.rstrip("/")))
            if not path.strip("/"):
                return found
            path = os.path.dirname(path)

    def _group(self, directory: str) -> RamReading | None:
        limit, current = self._text(f"{directory}/memory.max").strip(), self._text(f"{directory}/memory.current")
        if not limit.isdigit() or not current.strip().isdigit() or int(limit) < _MIB:
            return None
        stat = dict(line.split()[:2] for line in self._text(f"{directory}/memory.stat").splitlines() if " " in line)
        cache = int(stat.get("inactive_file", "0"))  # the kernel gives it back before it kills anybody
        return RamReading(total_mib=int(limit) // _MIB, used_mib=max(0, int(current) - cache) // _MIB)

    # -- processes

    def _pids(self) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc) if name.isdigit()]
        except OSError:
            return []

    def _parent(self, pid: int) -> int | None:
        # The name in parentheses may hold spaces and parentheses: fields count from the last one.
        fields = self._text(f"{self._proc}/{pid}/stat").rpartition(")")[2].split()
        return int(fields[1]) if len(fields) > 1 else None

    def _held(self, pid: int) -> int | None:
        """Bytes of a process: its part of what it shares, or its resident set where that is not told."""
        for line in self._text(f"{self._proc}/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        fields = self._text(f"{self._proc}/{pid}/statm").split()
        return int(fields[1]) * _PAGE if len(fields) > 1 else None

    def _text(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""
