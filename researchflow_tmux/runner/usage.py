"""How much memory the processes of a job use together."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def used_mib(pids: Iterable[int], above_mib: float) -> float:
    """Return what these processes use in MiB, exactly only if it may be more than `above_mib`.

    What several of them share (a loaded data set after a fork) counts once: the kernel tells each one's part, which is
    slow for large processes, so it is asked only when the plain sum, which counts it several times, is above.
    """
    known = list(pids)
    plain = sum(map(_resident_mib, known))
    return plain if plain <= above_mib else sum(map(_proportional_mib, known))


def _resident_mib(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read(200).split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (OSError, IndexError, ValueError):
        return 0.0


def _proportional_mib(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as file:
            for line in file.read(4096).splitlines():
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) / 1024
    except (OSError, IndexError, ValueError):
        pass
    return _resident_mib(pid)  # an older kernel, or a process of another user
