"""Did an attempt fail because memory ran out? Judged by how it ended, what it said last, and what the kernel says."""

from __future__ import annotations

import os

from researchflow_tmux.runner import memory_words
from researchflow_tmux.runner.kernel import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from researchflow_tmux.runner.oom_kills import OomKills
    from researchflow_tmux.runner.spec import OomRule

LOG, KERNEL_LOG, COUNTER, LIMIT = "log", "kernel log", "cgroup", "limit"
_WORDS_OF_A_KILLED_CHILD = (b"killed by signal: Killed", b"Killed", b"SIGKILL", b"died with signal 9", b"-9")


class OutOfMemory:
    """What ran out ("gpu" or "ram"), the line that says so, and where that line is from."""

    __slots__ = ("evidence", "line", "where")

    def __init__(self, where: str, line: str, evidence: str) -> None:
        self.where = where
        self.line = line
        self.evidence = evidence


def recognise(
    status: int | None,
    tail: bytes,
    rule: OomRule,
    kills: OomKills | None,
    pids: Collection[int],
    limit_mib: int | None = None,
) -> OutOfMemory | None:
    """Return why a *failed* attempt was out of memory, None if nothing says that it was.

    Args:
        status: Wait status of its main process.
        tail: The end of what it printed.
        rule: The user's own words for it.
        kills: The kernel's kills since the attempt began.
        pids: Its processes, as far as they are known.
        limit_mib: A memory limit of its own that the kernel holds.
    """
    kills = kills if _looks_killed(status, tail) else None
    line = kills.told(pids) if kills is not None else ""
    count = kills.counted() if kills is not None else None
    if limit_mib is not None and (count or line.startswith("Memory cgroup")):
        text = f"the kernel stopped it at its memory limit of {limit_mib / 1024:.3g} GiB"
        return OutOfMemory(memory_words.RAM, text, LIMIT)
    if line:
        return OutOfMemory(memory_words.RAM, memory_words.shortened(line), KERNEL_LOG)
    word = memory_words.find(tail, rule.patterns, rule.where)
    if word is not None:
        where, line = word
        return OutOfMemory(where, line, LOG)
    if count:
        line = f"the kernel killed {count} process{'es' if count > 1 else ''} of this control group for want of memory"
        return OutOfMemory(memory_words.RAM, line, COUNTER)
    return None


def _looks_killed(status: int | None, tail: bytes) -> bool:
    """Whether it died as one that the kernel killed, or whose child the kernel killed."""
    if status is None:
        return False
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return True
    last = tail[-4000:]
    return code != 0 and any(words in last for words in _WORDS_OF_A_KILLED_CHILD)
