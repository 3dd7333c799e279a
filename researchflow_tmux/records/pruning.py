"""Removing records: entries and their files below results/runs, and nothing else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.catching_up import RUNS_DIR
from researchflow_tmux.records.keys import Keys
from researchflow_tmux.records.ranking import best
from researchflow_tmux.records.runs import Run
from researchflow_tmux.results import MetadataStorage


class Pruned(msgspec.Struct, kw_only=True):
    """What went, or would go."""

    runs: list[str]
    """As JOB.ATTEMPT."""
    uuids: list[str]
    files: int = 0
    bytes: int = 0
    kept: list[str] = msgspec.field(default_factory=list)
    """Left alone because one of their attachments is not among the files that are removed."""
    done: bool = False
    """False = nothing was removed, this is what would be."""


def older_than(runs: Sequence[Run], before: datetime) -> list[Run]:
    """The runs that ended before this moment."""
    return [run for run in runs if _ended(run) is not None and str(_ended(run)) < before.isoformat()]


def _ended(run: Run) -> str | None:
    found = run.rest.get("ended_at")
    return found if isinstance(found, str) else None


def without_best(runs: Sequence[Run], rule: str, candidates: Sequence[Run]) -> list[Run]:
    """`candidates` without the N best of `runs`; `rule` is `KEY:N` or `-KEY:N`. Raises UsageError."""
    key, sign, number = rule.rpartition(":")
    if not sign or not number.isdigit():
        raise UsageError(f"--keep-best {rule}: not of the form KEY:N", hint="for example acc:3, or -loss:3")
    kept = {run.uuid for run in best(runs, key, Keys(runs))[: int(number)]}
    return [run for run in candidates if run.uuid not in kept]


def prune(results: str, doomed: Sequence[Run], *, really: bool) -> Pruned:
    """Remove records (or only count what would go). Raises ResultsError."""
    safe = [run for run in doomed if all(_is_below(run, path) for path in _attached(run))]
    found = Pruned(
        runs=[f"{run.job}.{run.attempt}" for run in safe],
        uuids=[run.uuid for run in safe],
        kept=[f"{run.job}.{run.attempt}" for run in doomed if run not in safe],
        done=really,
    )
    for run in safe:
        for path in _attached(run):
            with contextlib.suppress(OSError):
                found.bytes += os.lstat(os.path.join(results, path)).st_size
                found.files += 1
    if really and safe:
        with MetadataStorage(results) as storage:
            storage.delete_entries(uuid_query=found.uuids)
        for run in safe:
            with contextlib.suppress(OSError):  # somebody put a file of their own there: it stays
                os.rmdir(os.path.join(results, RUNS_DIR, run.uuid))
    return found


def _is_below(run: Run, path: str) -> bool:
    return os.path.normpath(path).startswith(os.path.join(RUNS_DIR, run.uuid) + os.sep)


def _attached(run: Run) -> Iterator[str]:
    yield from _paths(run.entry.get("attachments"))


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _paths(inner)
