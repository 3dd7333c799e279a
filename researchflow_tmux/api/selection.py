"""Which jobs a person means: a name, an id, a glob or @group."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job


def select(jobs: Sequence[Job], patterns: Iterable[str]) -> list[Job]:
    """The jobs that any pattern names, in their order. Raises UsageError listing every pattern that names none.

    An exact name wins over an id; of several jobs with one name all are meant.
    """
    chosen: dict[int, Job] = {}
    unknown: list[str] = []
    for pattern in patterns:
        found = _match(jobs, pattern)
        chosen.update({job.id: job for job in found})
        if not found:
            unknown.append(pattern)
    if unknown:
        raise UsageError("\n".join(_not_found(jobs, pattern) for pattern in unknown), hint=_HINT)
    return sorted(chosen.values(), key=lambda job: job.id)


_HINT = "JOB is a name, an id, a glob such as 'exp*' or @group; `rfsched status` lists them"


def _match(jobs: Sequence[Job], pattern: str) -> list[Job]:
    if pattern.startswith("@"):
        return [job for job in jobs if job.spec.group == pattern[1:]]
    exact = [job for job in jobs if pattern in (job.name, job.slug, job.spec.key)]
    if exact:
        return exact
    if pattern.isdigit():
        return [job for job in jobs if job.id == int(pattern)]
    if any(mark in pattern for mark in "*?["):
        return [job for job in jobs if fnmatch.fnmatchcase(job.name, pattern)]
    return []


def _not_found(jobs: Sequence[Job], pattern: str) -> str:
    import difflib

    close = difflib.get_close_matches(pattern, sorted({job.name for job in jobs}), n=1)
    return f"no job {pattern!r}" + (f"; did you mean {close[0]!r}?" if close else "")
