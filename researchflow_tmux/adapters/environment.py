"""What a job inherits from the shell in which it was submitted: variables, umask, niceness, CPUs, limits."""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Mapping

import msgspec

_DROPPED = frozenset({"TMUX", "TMUX_PANE", "TERM", "COLORTERM"})
"""They describe the terminal; the job gets those of its own session."""
_OURS = "RFSCHED_"
_KEPT = frozenset({"RFSCHED_LEASE_DIR", "RFSCHED_PROJECTS"})

_LIMITS = ("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "STACK")


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process passes on besides its variables."""

    umask: int = 0o022
    nice: int = 0
    affinity: tuple[int, ...] | None = None
    """CPUs it may use; None = all."""
    rlimits: dict[str, tuple[int, int]] = {}
    """(soft, hard) by name without `RLIMIT_`; -1 = unlimited."""


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """A captured environment, to be stored once per `digest`."""

    variables: dict[str, str]
    process: ProcessSettings

    @property
    def digest(self) -> str:
        """SHA-256 over everything captured, whatever its order."""
        # The standard library's JSON: bytes that are not UTF-8 are lone surrogates in Python, and it writes them.
        text = json.dumps([self.variables, msgspec.to_builtins(self.process)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def capture(variables: Mapping[str, str] | None = None) -> Environment:
    """What a child of this process would inherit now, less what belongs to its terminal and to us.

    Args:
        variables: Instead of `os.environ`.
    """
    source = os.environ if variables is None else variables
    return Environment(
        variables={name: value for name, value in source.items() if _wanted(name)},
        process=ProcessSettings(
            umask=current_umask(),
            nice=os.getpriority(os.PRIO_PROCESS, 0),
            affinity=tuple(sorted(os.sched_getaffinity(0))),
            rlimits={name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in _LIMITS},
        ),
    )


def _wanted(name: str) -> bool:
    return name not in _DROPPED and (name in _KEPT or not name.startswith(_OURS))


def current_umask() -> int:
    """This process's umask, read without changing it: os.umask() would, for a moment, in every thread."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass  # no /proc: the other way it is
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
