"""Which jobs a person means: a name, an id, a glob, @group or @label=value."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import Job


def select(jobs: Sequence[Job], patterns: Iterable[str]) -> list[Job]:
    """The jobs that any pattern names, in their order. Raises UsageError listing every pattern that names none.

    An exact name wins over an id; of several jobs with one name all are meant. What begins with `@` is never a name:
    `@NAME` are the jobs of a group, `@KEY=VALUE` those with a label; NAME and VALUE may be globs.
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


_HINT = "JOB is a name, an id, a glob such as 'exp*', @group or @label=value; `rfsched status` lists them"


def _match(jobs: Sequence[Job], pattern: str) -> list[Job]:
    if pattern.startswith("@"):
        return _set(jobs, pattern[1:])
    exact = [job for job in jobs if pattern in (job.name, job.slug, job.spec.key)]
    if exact:
        return exact
    if pattern.isdigit():
        return [job for job in jobs if job.id == int(pattern)]
    if _is_glob(pattern):
        return [job for job in jobs if fnmatch.fnmatchcase(job.name, pattern)]
    return []


def _set(jobs: Sequence[Job], text: str) -> list[Job]:
    """The jobs of `@text`. A group wins over a label: sweep files may have a `=` in their names."""
    found = [job for job in jobs if job.spec.group == text]
    if found:
        return found
    key, sign, value = text.partition("=")
    if sign:
        return [job for job in jobs if key in job.spec.labels and _fits(job.spec.labels[key], value)]
    if _is_glob(text):
        return [job for job in jobs if job.spec.group is not None and fnmatch.fnmatchcase(job.spec.group, text)]
    return []


def _fits(value: str, pattern: str) -> bool:
    return value == pattern or (_is_glob(pattern) and fnmatch.fnmatchcase(value, pattern))


def _is_glob(pattern: str) -> bool:
    return any(mark in pattern for mark in "*?[")


def _not_found(jobs: Sequence[Job], pattern: str) -> str:
    import difflib

    close = difflib.get_close_matches(pattern, sorted(_known(jobs, pattern)), n=1)
    return f"no job {pattern!r}" + (f"; did you mean {close[0]!r}?" if close else "")


def _known(jobs: Sequence[Job], pattern: str) -> set[str]:
    """What could have been meant."""
    if not pattern.startswith("@"):
        return {job.name for job in jobs}
    groups = {f"@{job.spec.group}" for job in jobs if job.spec.group is not None}
    return groups | {f"@{key}={value}" for job in jobs for key, value in job.spec.labels.items()}
