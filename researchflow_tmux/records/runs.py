"""Run records as they are looked at: entries of the results with their values by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.metrics import Series, read_metrics
from researchflow_tmux.results import MetadataStorage

NESTED = frozenset({"metrics", "metrics_range", "sha256", "attachment_sha256", "git"})


GIT = ("commit", "branch", "dirty", "root", "noted_at")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one job, from its record."""

    uuid: str
    job: str
    job_id: int
    attempt: int
    run: str
    """The attempt's tag: unique over all workspaces."""
    config: dict[str, Any]
    """The config's values by dotted name."""
    metrics: dict[str, Any]
    """Last values by metric, and `METRIC.min`, `METRIC.max`, `METRIC.count`."""
    rest: dict[str, Any]
    """All else: outcome, times, place, code."""
    entry: dict[str, Any]

    @property
    def last(self) -> dict[str, Any]:
        """The last value of each metric."""
        return dict(_dict(self.rest_of_entry.get("metrics")))

    @property
    def rest_of_entry(self) -> dict[str, Any]:
        """The entry's `extra_info`."""
        return _dict(self.entry.get("extra_info"))

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was to do."""
        return self.rest.get("succeeded") is True

    def get(self, name: str) -> Any:
        """The value of a whole name such as `config.lr`, `metrics.loss`, `run.host`; None = it has none."""
        section, _, rest = name.partition(".")
        return {"config": self.config, "metrics": self.metrics, "run": self.rest}[section].get(rest)

    def attachment(self, results: str, name: str) -> str | None:
        """Path of one of its files in the results directory; None = it has none, or not any more."""
        relative = _dict(self.entry.get("attachments")).get(name)
        if not isinstance(relative, str):
            return None
        path = os.path.join(results, relative)
        return path if os.path.isfile(path) else None

    def series(self, results: str) -> dict[str, Series]:
        """All its metrics over its steps."""
        path = self.attachment(results, "metrics")
        return {} if path is None else read_metrics(path)


def read_runs(results: str) -> list[Run]:
    """All run records, by job and attempt; other entries of the results are passed over. Raises ResultsError."""
    if not os.path.isdir(results):
        return []
    with MetadataStorage(results) as storage:
        found = [run for run in map(_run, storage.find()) if run is not None]
    return sorted(found, key=lambda run: (run.job_id, run.run.rpartition(".")[0], run.attempt))


def _run(entry: dict[str, Any]) -> Run | None:
    metadata, extra = _dict(entry.get("metadata")), _dict(entry.get("extra_info"))
    tag, job, number = metadata.get("run"), metadata.get("job"), metadata.get("attempt")
    if not (isinstance(tag, str) and isinstance(job, str) and isinstance(number, int)):
        return None
    job_id = tag.rpartition("/")[2].partition(".")[0]
    rest = {"job": job, "attempt": number, "group": metadata.get("group"), "uuid": entry.get("uuid")}
    rest |= {name: value for name, value in extra.items() if name not in NESTED}
    rest |= {f"git.{name}": _dict(extra.get("git")).get(name) for name in GIT}
    return Run(
        uuid=str(entry.get("uuid")),
        job=job,
        job_id=int(job_id) if job_id.isdigit() else 0,
        attempt=number,
        run=tag,
        config=dict(flat(_dict(metadata.get("config")))),
        metrics=dict(_metrics(extra)),
        rest=rest,
        entry=entry,
    )


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dictionaries as dotted names. Lists and empty dictionaries stay values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _metrics(extra: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    ranges = _dict(extra.get("metrics_range"))
    for name, value in _dict(extra.get("metrics")).items():
        yield name, value
        for figure, number in _dict(ranges.get(name)).items():
            if figure != "last":
                yield f"{name}.{figure}", number


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def one_per_job(runs: Iterable[Run]) -> list[Run]:
    """Of each job its newest attempt that succeeded, else its newest."""
    chosen: dict[str, Run] = {}
    for run in runs:
        job = run.run.rpartition(".")[0]
        before = chosen.get(job)
        if before is None or (run.succeeded, run.attempt) > (before.succeeded, before.attempt):
            chosen[job] = run
    return list(chosen.values())


def one_run(runs: list[Run], wanted: str) -> Run:
    """The run that is meant: a job's name or id, `JOB.ATTEMPT`, or (the beginning of) a uuid. Raises UsageError."""
    for named in (_by_job, _by_attempt, _by_uuid):
        found = list(named(runs, wanted))
        if len(found) == 1:
            return found[0]
        if found:
            words = ", ".join(f"{run.job_id}.{run.attempt} ({run.job}, {run.uuid[:8]})" for run in found[:8])
            raise UsageError(f"{wanted!r} names {len(found)} runs: {words}", hint="give one of them as ID.ATTEMPT")
    raise UsageError(f"no run is recorded of {wanted!r}", hint=known_jobs(runs))


def known_jobs(runs: Iterable[Run]) -> str:
    """Words for which jobs have records."""
    names = list(dict.fromkeys(run.job for run in runs))
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return (
        f"recorded are: {shown}; a run is recorded when it ends"
        if names
        else "a run is recorded when an attempt ends; `rfsched start` runs jobs"
    )


def _by_job(runs: list[Run], wanted: str) -> Iterator[Run]:
    exact = [run for run in runs if run.job == wanted]
    yield from one_per_job(exact or [run for run in runs if str(run.job_id) == wanted])


def _by_attempt(runs: list[Run], wanted: str) -> Iterator[Run]:
    job, _, number = wanted.rpartition(".")
    exact = [run for run in runs if str(run.attempt) == number and job == run.job]
    yield from exact or [run for run in runs if str(run.attempt) == number and job == str(run.job_id)]


def _by_uuid(runs: list[Run], wanted: str) -> Iterator[Run]:
    if len(wanted) >= 4:
        yield from (run for run in runs if run.uuid.startswith(wanted.lower()))
