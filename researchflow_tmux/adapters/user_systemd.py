"""Whether this user has a systemd of his own that can hold limits of jobs, without root."""

from __future__ import annotations

import os
import shutil

from researchflow_tmux.domain.job import Job

UNIFIED = "/sys/fs/cgroup/cgroup.controllers"


def answers() -> bool:
    """Whether it is worth asking: its manager and bus are there. Looks at files only; costs microseconds."""
    return why_not() is None


def why_not(runtime: str | None = None, unified: str = UNIFIED) -> str | None:
    """What is missing, in words; None = nothing that can be seen beforehand."""
    runtime = runtime or os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if not os.path.exists(f"{runtime}/systemd/private"):
        return "no systemd runs for this user"
    if not os.path.exists(f"{runtime}/bus"):
        return "this user has no D-Bus session"
    if not os.path.exists(unified):
        return "control groups are those of the first version here"
    if shutil.which("busctl") is None:
        return "there is no `busctl`"
    return None


class LimitsWord:
    """Says once that the kernel does not hold the memory limits of jobs: when the first one with a limit starts."""

    def __init__(self) -> None:
        self._said = False

    def word(self, job: Job) -> str:
        """What there is to say now; empty = nothing."""
        if self._said or job.spec.request.memory_mib is None:
            return ""
        self._said = True
        missing = why_not()
        return f"memory limits are held by looking once a second, and not by the kernel: {missing}" if missing else ""
