"""The machine's memory: when jobs may start, and which one is stopped before the kernel picks one. Pure.

Between the two there is a gap, and a job that was stopped remembers what it used: it starts again only where that
fits, and later each time. So the machine does not go to and fro between starting and stopping.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.limits import RamReading, RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode

STOPPED_BY = "ram"
"""Who told an attempt to end, in its outcome."""
GAP_PCT = 10.0
"""Without a limit of its own, starting ends this far below the limit at which jobs are stopped."""
FIRST_WAIT_S = 30.0
"""How long a job waits that was stopped once; doubled each further time."""
NOTICEABLE = 0.01
"""A job that uses less than this part of the memory is not stopped: that would help nobody."""


class JobMemory(msgspec.Struct, frozen=True):
    """What the processes of a running job use; None = it could not be read."""

    job_id: int
    used_mib: int | None
    started_at: datetime


def admit_pct(rules: RoomRules) -> float | None:
    """Nothing starts from here on; None = there is no limit."""
    if rules.max_ram_pct is not None or rules.kill_ram_pct is None:
        return rules.max_ram_pct
    return rules.kill_ram_pct - GAP_PCT


def shortage(rules: RoomRules, ram: RamReading | None) -> Reason | None:
    """Why no job at all may start."""
    limit = admit_pct(rules)
    if limit is None:
        return None
    if ram is None:
        return Reason(code=ReasonCode.RAM, text="it cannot be read, and there is a limit on it")
    if ram.used_pct < limit:
        return None
    name = "max_ram" if rules.max_ram_pct is not None else "kill_ram - 10"
    return Reason(code=ReasonCode.RAM, text=f"{ram.used_pct:.0f} % in use, limit {limit:g} % ({name})")


def does_not_fit(rules: RoomRules, ram: RamReading | None, job: Job, *, alone: bool) -> Reason | None:
    """Why a job that was stopped for its memory may not start again yet; `alone` = no other job runs: it may."""
    if ram is None or rules.kill_ram_pct is None or not job.ram_mib or alone:
        return None
    most_mib = ram.total_mib * rules.kill_ram_pct / 100
    if ram.used_mib + job.ram_mib < most_mib:
        return None
    text = f"it used {job.ram_mib} MiB when it was stopped, and {max(0, most_mib - ram.used_mib):.0f} are left"
    return Reason(code=ReasonCode.RAM, text=text)


def victim(ram: RamReading, jobs: Sequence[JobMemory]) -> JobMemory | None:
    """The job to stop: the one that uses most, of equal ones the newest; None = none that would help is known."""
    least_mib = NOTICEABLE * ram.total_mib
    known = [job for job in jobs if job.used_mib is not None and job.used_mib >= least_mib]
    return max(known, key=lambda job: (job.used_mib or 0, job.started_at), default=None)
