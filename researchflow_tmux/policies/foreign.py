"""Is a GPU filled by processes that are not ours? Pure; what is unknown never counts as free."""

from __future__ import annotations

from collections.abc import Mapping

from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import GpuReading

MIN_LIMIT_MIB = 1024
LIMIT_FRACTION = 0.10
"""Others may use 1 GiB or a tenth of a GPU, whichever is more: a desktop and the driver's own memory stay below."""


def foreign_use(reading: GpuReading, managed_pids: frozenset[int], *, leased: bool = False) -> int | None:
    """MiB of the GPU in use by processes that are not rfsched jobs; None = it cannot be known.

    Memory that no visible process explains is the others' (a container hides its pids) unless a job of ours is there,
    whose processes may be the hidden ones.

    Args:
        reading: The measurement.
        managed_pids: Processes of rfsched jobs, of any workspace.
        leased: A live ticket says that an rfsched job is on this GPU, even if none of its pids can be seen.
    """
    if reading.error is not None:
        return None
    if reading.processes is None:
        return 0 if leased and reading.used_mib is not None else reading.used_mib
    others = [process for process in reading.processes if process.pid not in managed_pids]
    known = sum(process.used_mib or 0 for process in others)
    vague = any(process.used_mib is None for process in others)
    if reading.used_mib is None:
        return None if vague else known
    rest = max(0, reading.used_mib - sum(process.used_mib or 0 for process in reading.processes))
    ours_there = leased or len(others) < len(reading.processes)
    return known + rest if vague or not ours_there else known


def blocked(
    reading: GpuReading | None,
    managed_pids: frozenset[int],
    limit_mib: int | None = None,
    *,
    leased: bool = False,
    names: Mapping[int, str] | None = None,
    index: int | None = None,
) -> Reason | None:
    """Why nothing may start on the GPU, or None.

    Args:
        reading: The measurement; None = the probe did not mention this GPU.
        managed_pids: Processes of rfsched jobs, of any workspace.
        limit_mib: What others may use; None = 1 GiB or 10 %, whichever is more.
        leased: A live ticket is on this GPU.
        names: Words for pids, such as "python pid 4242, user ann".
        index: The GPU's index, for the words, when there is no reading.
    """
    if reading is None:
        return _unreadable(index, "it is not among the GPUs that the driver lists")
    use = foreign_use(reading, managed_pids, leased=leased)
    if use is None:
        return _unreadable(reading.index, reading.error or "the driver tells neither its memory nor its processes'")
    tenth = int((reading.total_mib or 0) * LIMIT_FRACTION)
    if use <= (max(MIN_LIMIT_MIB, tenth) if limit_mib is None else limit_mib):
        return None
    total = "" if reading.total_mib is None else f" of {reading.total_mib / 1024:.1f}"
    who = _who(reading, managed_pids, names or {})
    return Reason(
        code=ReasonCode.FOREIGN,
        text=f"GPU {reading.index}: {use / 1024:.1f}{total} GiB used by others ({who})",
    )


def _unreadable(index: int | None, error: str) -> Reason:
    gpu = "the GPU" if index is None else f"GPU {index}"
    return Reason(code=ReasonCode.UNREADABLE, text=f"{gpu}: {error}")


def _who(reading: GpuReading, managed_pids: frozenset[int], names: Mapping[int, str]) -> str:
    others = [process for process in reading.processes or () if process.pid not in managed_pids]
    others.sort(key=lambda process: -(process.used_mib or 0))
    shown = "; ".join(names.get(process.pid, f"pid {process.pid}") for process in others[:3])
    if not shown:
        return "no process to be seen"
    return shown + (f" and {len(others) - 3} more" if len(others) > 3 else "")
