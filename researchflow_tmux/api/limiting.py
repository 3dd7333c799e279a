"""The limits of a job in words: what it may use of the machine, and who holds it to that."""

from __future__ import annotations

from researchflow_tmux.adapters import user_systemd
from researchflow_tmux.domain.attempt import Attempt, Ended
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.units import counted
from researchflow_tmux.policies.machine import core_ranges
from researchflow_tmux.runner.limits import size


def limits_of(job: Job, attempt: Attempt | None) -> list[str]:
    """One line for each limit; `attempt` = its latest."""
    request = job.spec.request
    found = []
    if request.cpus is not None:
        running = attempt is not None and not isinstance(attempt.phase, Ended)
        which = f" ({core_ranges(attempt.allocation.cores)})" if running and attempt is not None else ""
        found.append(f"{counted(request.cpus, 'CPU core')} of its own{which}")
    if request.memory_mib is not None:
        found.append(f"memory limit {size(request.memory_mib)}: {memory_words()}")
    return found


def memory_words() -> str:
    """Who holds memory limits here."""
    missing = user_systemd.why_not()
    if missing is None:
        return "held by the kernel, in a scope of your systemd"
    return f"its runner looks once a second and stops it above ({missing})"
