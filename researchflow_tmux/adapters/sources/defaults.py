"""What the settings say where a job's own section says nothing."""

from __future__ import annotations

import hashlib
from typing import Any

from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.adapters.room_settings import hardware_of, limits, mib
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.units import parse_duration
from researchflow_tmux.domain.workspace import JobSection, Settings, WorkspacePaths


def wishes(settings: Settings, section: JobSection, pinned: tuple[int | str, ...] = ()) -> dict[str, Any]:
    """What a section asks for, as fields of a JobDraft: the same in every kind of source.

    Not in it: `command` and `completion`, which depend on what the source has to offer.
    """
    return {
        "env": {**settings.env, **section.env},
        "request": request(settings, section, pinned),
        "retries": retries(settings, section),
        "priority": section.priority,
        "project": section.project or None,
        "deadline": parse_deadline(section.deadline) if section.deadline else None,
        "preemptible": settings.preemptible if section.preemptible is None else section.preemptible,
        "after": tuple(section.after),
        "when": section.when,
        "success": section.success or settings.success,
        "verify": section.verify or settings.verify,
        "verify_timeout_s": verify_timeout_s(settings, section),
    }


def request(settings: Settings, section: JobSection, pinned: tuple[int | str, ...] = ()) -> ResourceRequest:
    """The resources that a section asks for."""
    return ResourceRequest(
        gpus=section.gpus,
        pinned=pinned,
        share=section.share,
        gpu_memory_mib=mib(section.gpu_memory),
        limits=limits(section),
        hardware=hardware_of(settings, section, gpus=section.gpus),
        time_limit_s=time_limit_s(settings, section),
        cpus=settings.cpus if section.cpus is None else section.cpus,
        memory_mib=mib(settings.memory if section.memory is None else section.memory),
    )


def time_limit_s(settings: Settings, section: JobSection) -> float | None:
    """Seconds an attempt may take; None = no limit."""
    limit = settings.time_limit if section.time_limit is None else section.time_limit
    return None if limit in (None, "") else parse_duration(limit)


def verify_timeout_s(settings: Settings, section: JobSection) -> float | None:
    """Seconds that verifying may take; None = the usual, or there is nothing to verify."""
    if not (section.verify or settings.verify):
        return None
    limit = settings.verify_timeout if section.verify_timeout is None else section.verify_timeout
    return None if limit in (None, "") else parse_duration(limit)


def retries(settings: Settings, section: JobSection) -> int:
    """Further attempts after a failure."""
    if section.retries is not None:
        return section.retries
    return settings.max_retries if settings.auto_restart_failed else 0


def digest_of_script(paths: WorkspacePaths, settings: Settings, path: str) -> str:
    """SHA-256 of the training script. Raises ConfigError if it cannot be read."""
    hint = f"script_path in {paths.config} is {settings.script_path!r}"
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        message = "the training script does not exist"
    except OSError as error:
        message = f"the training script cannot be read: {error.strerror or error}"
    raise ConfigError([Problem(message=message, file=path, hint=hint)])
