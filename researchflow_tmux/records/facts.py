"""What a run record says: from a job, its ended attempt and its directory to one entry of the results."""

from __future__ import annotations

import os
import uuid
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Killed
from researchflow_tmux.domain.job import Job
from researchflow_tmux.policies.retry import is_success, why
from researchflow_tmux.records.metrics import metrics_path, summaries
from researchflow_tmux.records.provenance import code_of, diff_path
from researchflow_tmux.records.values import Config, outputs, read_config, storable, text_of, typed_command

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


def record_uuid(tag: str) -> str:
    """The uuid of the record of the attempt with this tag."""
    return str(uuid.uuid5(NAMESPACE, tag))


def record(job: Job, attempt: Attempt, ended: Ended, *, tag: str, directory: str) -> Record:
    """Everything that is known about an ended attempt. Files that are gone are left out, never an error."""
    config_copy = _config_copy(job, directory)
    config = Config() if config_copy is None else read_config(config_copy)
    metadata = {
        "job": job.name,
        "attempt": attempt.number,
        "group": job.spec.group,
        "run": tag,
        "config": config.values,
    }
    extra_info = {
        "finished": True,
        **_outcome(ended),
        **_times(job, ended),
        **_place(attempt, ended),
        **_task(job, attempt),
        **_made(job, ended, directory),
    }
    # A config with variables for the job in it stays where it is: their values are not for a record.
    copied = None if config.holds_variables else config_copy
    files = {"config": copied, "metrics": metrics_path(directory), "diff": diff_path(directory)}
    present = {name: path for name, path in files.items() if path and os.path.isfile(path)}
    return Record(uuid=record_uuid(tag), metadata=storable(metadata), extra_info=storable(extra_info), files=present)


def _outcome(ended: Ended) -> dict[str, Any]:
    outcome = ended.outcome
    reason = why(outcome)
    return {
        "succeeded": is_success(outcome),
        "outcome": str(reason),
        "reason_code": reason.code.value,
        "exit_code": outcome.code if isinstance(outcome, Exited) else None,
        "signal": outcome.signal if isinstance(outcome, Killed) else None,
        "note": ended.note or None,
    }


def _times(job: Job, ended: Ended) -> dict[str, Any]:
    started = ended.started_at
    return {
        "queued_at": job.queued_at.isoformat(),
        "started_at": _iso(started),
        "ended_at": ended.ended_at.isoformat(),
        "duration_s": None if started is None else round((ended.ended_at - started).total_seconds(), 3),
    }


def _place(attempt: Attempt, ended: Ended) -> dict[str, Any]:
    return {
        "host": attempt.hostname,
        "gpus": list(attempt.allocation.indices),
        "gpu_uuids": [gpu.uuid for gpu in attempt.allocation.gpus],
        "session": attempt.session,
        "peak_rss_mib": None if ended.peak_rss_mib is None else round(ended.peak_rss_mib, 1),
        "cpu_s": ended.cpu_s,
        "peak_tree_mib": ended.peak_tree_mib,
        "peak_cpu_pct": ended.peak_cpu_pct,
        "peak_gpu_mib": ended.peak_gpu_mib,
        "peak_gpu_util_pct": ended.peak_gpu_util_pct,
        "mean_gpu_util_pct": ended.mean_gpu_util_pct,
    }


def _task(job: Job, attempt: Attempt) -> dict[str, Any]:
    return {
        "command": typed_command(job.spec),
        "workdir": job.spec.workdir,
        "config_path": job.spec.config_path,
        "environment": job.spec.env_digest,
        "sha256": job.spec.digests,
        "log": attempt.log,
    }


def _made(job: Job, ended: Ended, directory: str) -> dict[str, Any]:
    """What the run left: its marker, files and metrics, and the code it ran."""
    found = summaries(metrics_path(directory))
    return {
        "marker": text_of(job.spec.marker, MAX_MARKER_BYTES),
        "outputs": outputs(job.spec, ended.started_at.timestamp() if ended.started_at else None),
        "metrics": {name: summary.last for name, summary in found.items()},
        "metrics_range": {name: summary.range() for name, summary in found.items()},
        "git": code_of(directory),
    }


def _config_copy(job: Job, directory: str) -> str | None:
    if job.spec.config_path is None:
        return None
    return os.path.join(directory, "config" + os.path.splitext(job.spec.config_path)[1])


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
