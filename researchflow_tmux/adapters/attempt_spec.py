"""Writing what the runner needs for one attempt: `spec.json`, and the job's config as it was at the launch."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from researchflow_tmux.adapters import attempt_verify, user_systemd
from researchflow_tmux.adapters.attempt_bench import Bench, log_paths
from researchflow_tmux.adapters.job_environment import environment
from researchflow_tmux.domain.attempt import Attempt
from researchflow_tmux.domain.errors import LaunchError, StoreError
from researchflow_tmux.domain.job import Job, JobSpec
from researchflow_tmux.domain.units import parse_size
from researchflow_tmux.runner import files, jsontext
from researchflow_tmux.runner.spec import VERSION

SPEC_NAME = "spec.json"
LEFTOVER_GRACE_S = 2.0
"""Seconds that processes which outlive the job's main process get before KILL."""

_SHELLS = ("/bin/bash", "/bin/sh")


def write_spec(bench: Bench, attempt: Attempt, job: Job, captured: Mapping[str, Any]) -> list[str]:
    """Make the attempt's directory with its spec and a copy of the config; return warnings.

    Raises:
        LaunchError: The job cannot run: its config is gone.
        StoreError: The disk refuses.
    """
    warnings = _changed(job.spec)
    directory = bench.directory(attempt)
    try:
        make_private(directory)
        if job.spec.output_dir is not None:
            os.makedirs(job.spec.output_dir, exist_ok=True)  # scripts expect to find the place of their marker
        _copy_config(job.spec, directory)
        attempt_verify.write_call(job.spec, directory)
        files.replace(os.path.join(directory, SPEC_NAME), jsontext.dumps(build(bench, attempt, job, captured)).encode())
    except OSError as error:
        raise StoreError(
            f"the attempt's directory {directory} cannot be written: {error.strerror}",
            hint="free disk space, or correct the permissions of the workspace",
        ) from error
    return warnings


def make_private(directory: str) -> None:
    """Make an attempt's directory and those above it; `makedirs` would give the upper ones to whom the umask allows."""
    for path in (os.path.dirname(os.path.dirname(directory)), os.path.dirname(directory), directory):
        os.makedirs(path, mode=0o700, exist_ok=True)


def build(bench: Bench, attempt: Attempt, job: Job, captured: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of spec.json."""
    spec, settings = job.spec, bench.settings
    return {
        "version": VERSION,
        "tag": bench.tag(attempt),
        "dir": bench.directory(attempt),
        "title": job.name,
        "argv": list(spec.argv) if spec.shell is None else [_shell(), "-c", spec.shell],
        "cwd": spec.workdir,
        "env": environment(bench, attempt, job, captured.get("env") or {}),
        "umask": captured.get("umask", 0o022),
        "nice": captured.get("nice", 0),
        "affinity": list(attempt.allocation.cores) or captured.get("affinity"),
        "rlimits": captured.get("rlimits") or {},
        "log": _log(bench, attempt, job),
        "time_limit_s": spec.request.time_limit_s,
        "stop_grace_s": settings.stop_grace,
        "leftover_grace_s": LEFTOVER_GRACE_S,
        "completion": attempt_verify.completion(
            bench, spec, bench.directory(attempt), captured.get("env") or {}, _shell()
        ),
        "grant": grant_facts(attempt),
        "limits": {
            "memory_mib": spec.request.memory_mib,
            "cpus": spec.request.cpus,
            "scope": user_systemd.answers(),
        },
        "oom": {"patterns": settings.oom_patterns, "where": "gpu" if attempt.allocation.gpus else "ram"},
        "leases": _leases(bench, attempt),
        "files": None if spec.files is None else msgspec.to_builtins(spec.files),
        "wake": bench.paths.wake,
    }


def grant_facts(attempt: Attempt) -> dict[str, Any] | None:
    """How long the attempt may run by the budgets it is charged to, as its runner reads it; None = for ever."""
    grant = attempt.grant
    if grant is None or grant.seconds is None:
        return None
    return {"at": grant.at.timestamp(), "since_s": grant.since_s, "boot_id": attempt.boot_id, "seconds": grant.seconds}


# Parts of the spec ----------------------------------------------------------------------------------------------------


def _log(bench: Bench, attempt: Attempt, job: Job) -> dict[str, Any] | None:
    if not bench.settings.enable_logging:
        return None
    path, latest = log_paths(bench, job.slug, attempt.number)
    cap = bench.settings.log_cap
    return {"path": path, "latest": latest, "cap_mib": None if cap in (None, "") else parse_size(cap)}


def _leases(bench: Bench, attempt: Attempt) -> dict[str, Any] | None:
    gpus = [gpu for gpu in attempt.allocation.gpus if gpu.uuid in bench.leased]
    if bench.lease_dir is None or not gpus:
        return None
    return {
        "dir": bench.lease_dir,
        "holder": f"{bench.settings.task_name} ({bench.paths.root})",
        "session": attempt.session,
        "gpus": [
            {
                "uuid": gpu.uuid,
                "index": gpu.index,
                "share": gpu.share,
                "memory_mib": gpu.memory_mib,
                "total_mib": bench.totals.get(gpu.uuid) if gpu.memory_mib else None,
            }
            for gpu in gpus
        ],
    }


def _shell() -> str:
    return next((shell for shell in _SHELLS if os.access(shell, os.X_OK)), _SHELLS[-1])


# The job's files ------------------------------------------------------------------------------------------------------


def _changed(spec: JobSpec) -> list[str]:
    """Compare the job's files with what they were at submission. Raises LaunchError when the config is gone."""
    if spec.config_path is not None and not os.path.isfile(spec.config_path):
        raise LaunchError(
            f"the config {spec.key} is gone ({spec.config_path})", hint="put it back and requeue the job, or cancel it"
        )
    warnings = []
    for path, digest in spec.digests.items():
        now = _digest(path)
        if now != digest:
            shown = spec.key if path == spec.config_path else path
            fact = "cannot be read any more" if now is None else "changed since it was queued"
            warnings.append(f"{shown} {fact}")
    return warnings


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _copy_config(spec: JobSpec, directory: str) -> None:
    """Keep the config as it is now, beside the attempt's other files: results can then be explained later."""
    if spec.config_path is not None:
        target = os.path.join(directory, f"config{os.path.splitext(spec.config_path)[1]}")
        with suppress(FileNotFoundError):  # gone since we looked: the job itself will say so
            _copy(spec.config_path, target)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as reading, open(target, "wb", opener=_private) as writing:
        shutil.copyfileobj(reading, writing)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
