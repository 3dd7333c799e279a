"""What a run record says: from a job, its ended attempt and its directory to one entry of the results."""

from __future__ import annotations

import math
import os
import uuid
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.retry import why
from researchflow_tmux.records.metrics import metrics_path, read_metrics

NAMESPACE = uuid.UUID("8f0f7c56-6b7e-4a57-9d0e-6a0a2c7f6f10")
MAX_MARKER_BYTES = 64 * 1024


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the results, before it is stored."""

    uuid: str
    """The same for the same attempt: recording twice is recording once."""
    metadata: dict[str, Any]
    """What a run is looked up by: job, attempt, and the parsed config."""
    extra_info: dict[str, Any]
    files: dict[str, str]
    """Attachment name → path of the file to copy."""


def record(job: Job, attempt: Attempt, ended: Ended, *, tag: str, directory: str, provenance: dict[str, Any]) -> Record:
    """Everything that is known about an ended attempt. Files that are gone are left out, never an error."""
    config_copy = _config_copy(job, directory)
    series = read_metrics(metrics_path(directory))
    started = ended.started_at
    outcome = ended.outcome
    extra = {
        "finished": True,
        "succeeded": isinstance(outcome, Exited) and outcome.succeeded,
        "outcome": str(why(outcome)),
        "exit_code": outcome.code if isinstance(outcome, Exited) else None,
        "started_at": None if started is None else started.isoformat(),
        "ended_at": ended.ended_at.isoformat(),
        "duration_s": None if started is None else round((ended.ended_at - started).total_seconds(), 3),
        "peak_rss_mib": None if ended.peak_rss_mib is None else round(ended.peak_rss_mib, 1),
        "cpu_s": ended.cpu_s,
        "note": ended.note or None,
        "host": attempt.hostname,
        "gpus": list(attempt.allocation.indices),
        "session": attempt.session,
        "command": job.spec.shell or " ".join(job.spec.argv),
        "workdir": job.spec.workdir,
        "environment": job.spec.env_digest,
        "sha256": job.spec.digests,
        "log": attempt.log,
        "marker": _marker(job),
        "metrics": {name: found.summary()["last"] for name, found in series.items()},
        "metrics_range": {name: found.summary() for name, found in series.items()},
        "outputs": outputs(job, started.timestamp() if started else None),
        "git": provenance or None,
    }
    metadata = {
        "job": job.name,
        "attempt": attempt.number,
        "group": job.spec.group,
        "run": tag,
        "config": parsed(config_copy) if config_copy else None,
    }
    files = {"config": config_copy, "metrics": metrics_path(directory), "diff": os.path.join(directory, "code.diff")}
    present = {name: path for name, path in files.items() if path and os.path.isfile(path)}
    return Record(uuid=str(uuid.uuid5(NAMESPACE, tag)), metadata=metadata, extra_info=extra, files=present)


def parsed(path: str) -> Any:
    """The job's config as plain values; None for one that is no YAML or JSON."""
    try:
        with open(path, "rb") as file:
            data = file.read(yaml_tree.MAX_BYTES)
        root = yaml_tree.parse(yaml_tree.decode(data, path), path, first_document_only=True).root
    except (OSError, ConfigError):
        return None
    return None if root is None else storable(root.value())


def storable(value: Any) -> Any:
    """`value` in JSON's types: what JSON cannot say (infinity, not-a-number, odd keys) as its text."""
    match value:
        case dict():
            return {str(key): storable(item) for key, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def outputs(job: Job, since: float | None) -> list[str]:
    """Files directly in the job's output directory that carry its name and were written during the run."""
    directory = job.spec.output_dir
    if directory is None or since is None:
        return []
    try:
        with os.scandir(directory) as entries:
            found = [entry.path for entry in entries if entry.name.startswith(job.name) and entry.is_file()]
            return sorted(path for path in found if os.stat(path).st_mtime >= since - 1.0)
    except OSError:
        return []


def _config_copy(job: Job, directory: str) -> str | None:
    if job.spec.config_path is None:
        return None
    return os.path.join(directory, "config" + os.path.splitext(job.spec.config_path)[1])


def _marker(job: Job) -> str | None:
    if job.spec.marker is None:
        return None
    try:
        with open(job.spec.marker, "rb") as file:
            return file.read(MAX_MARKER_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
