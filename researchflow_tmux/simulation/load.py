"""What jobs do to simulated GPUs: memory that ramps up, and how busy they keep them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

import msgspec

from researchflow_tmux.domain.attempt import Attempt, Running, Stopping
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.units import parse_duration, parse_size

VARIABLE = "RFSCHED_SIMULATED_LOAD"
"""In a job's environment, such as `memory=12GiB util=90 ramp=20s`: what it does to the simulated GPUs it runs on."""
JOB_MIB = 9_000
JOB_UTIL_PCT = 72


class JobLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What one job does to each of its GPUs."""

    memory_mib: float = JOB_MIB
    util_pct: float = JOB_UTIL_PCT
    ramp_s: float = 0.0
    """Seconds in which its memory grows from nothing to that."""

    def memory_at(self, age_s: float) -> int:
        """MiB after it has run for so long."""
        part = 1.0 if self.ramp_s <= 0 else min(max(age_s, 0.0) / self.ramp_s, 1.0)
        return round(part * self.memory_mib)


class Use(msgspec.Struct, frozen=True):
    """What one running job does to one GPU at a moment."""

    pid: int
    memory_mib: int
    util_pct: float


def parse_load(text: str, usual: JobLoad) -> JobLoad:
    """The load that the variable names; words that cannot be read leave the usual."""
    words = dict(word.partition("=")[::2] for word in re.split(r"[\s,;]+", text.strip()) if word)
    readers: dict[str, tuple[str, Callable[[str], float]]] = {
        "memory": ("memory_mib", parse_size),
        "util": ("util_pct", float),
        "ramp": ("ramp_s", parse_duration),
    }
    said = {}
    for word, (field, read) in readers.items():
        try:
            said[field] = max(read(words[word]), 0.0)
        except (KeyError, ValueError):
            continue
    return msgspec.structs.replace(usual, **said)


def uses_of(attempts: Iterable[Attempt], jobs: Mapping[int, Job], now: datetime) -> dict[str, list[Use]]:
    """What the running attempts do to each GPU now, by UUID. A job that says nothing uses what it declared."""
    found: dict[str, list[Use]] = {}
    for attempt in attempts:
        phase = attempt.phase
        if not isinstance(phase, Running | Stopping) or phase.runner_pid is None or phase.started_at is None:
            continue
        said = jobs[attempt.job_id].spec.env.get(VARIABLE, "")
        age_s = (now - phase.started_at).total_seconds()
        for gpu in attempt.allocation.gpus:
            load = parse_load(said, JobLoad(memory_mib=gpu.memory_mib or JOB_MIB))
            found.setdefault(gpu.uuid, []).append(Use(phase.runner_pid, load.memory_at(age_s), load.util_pct))
    return found
