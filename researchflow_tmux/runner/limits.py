"""Holding the job's limits: by the kernel in a scope of the user's systemd, else by looking how much memory is used.

No resource limit (`setrlimit`) can do it: RLIMIT_AS and RLIMIT_DATA count what is reserved, and CUDA reserves the
address space of the whole machine; RLIMIT_RSS does nothing; and each counts for one process only.
"""

from __future__ import annotations

import os

from researchflow_tmux.runner import memory_words, oom, scope, usage
from researchflow_tmux.runner.oom_kills import OomKills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from researchflow_tmux.runner.ending import Facts
    from researchflow_tmux.runner.spec import Limits, Spec
    from researchflow_tmux.runner.terminal import Pump


class Held:
    """The limits of one job; `watched` = its memory has to be looked at, every `look_s` seconds."""

    def __init__(self, spec: Spec, facts: Facts, pump: Pump) -> None:
        self.watched = spec.limits.memory_mib is not None
        self.look_s = spec.limits.look_s
        self._spec = spec
        self._facts = facts
        self._pump = pump

    def begin(self, pid: int) -> None:
        """Put the process that becomes the job into a scope, if one is to be had; say in the log what is not held."""
        limits = self._spec.limits
        if not limits.scope:
            return
        name = f"rfsched-{''.join(char if char.isalnum() else '-' for char in self._spec.tag)}-{pid}.scope"
        try:
            group = scope.enter(pid, name, limits, self._spec.env)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job runs, and without this process it would not
            self._pump.say(f"its limits are not held by systemd ({error}){_instead(limits)}")
            return
        self.watched = False
        # The group goes with its last process, and its counter with it: the one above counts what happened in it, too.
        self._facts.kills = OomKills(also=[os.path.dirname(group), group])
        self._facts.memory_limit_mib = limits.memory_mib

    def excess(self, pids: Iterable[int]) -> oom.OutOfMemory | None:
        """What to say of processes that use more than they may together; None = they do not."""
        most_mib = self._spec.limits.memory_mib
        if most_mib is None:
            return None
        used = usage.used_mib(pids, most_mib)
        if used <= most_mib:
            return None
        line = f"it used {size(used)} of memory; its limit is {size(most_mib)}"
        return oom.OutOfMemory(memory_words.RAM, line, oom.LIMIT)


def size(mib: float) -> str:
    """Return `900 MiB`, `8 GiB`."""
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.3g} GiB"


def _instead(limits: Limits) -> str:
    return "" if limits.memory_mib is None else "; the runner looks at its memory once a second instead"
