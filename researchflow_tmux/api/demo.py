"""A workspace that shows what this is about: real trainings on simulated GPUs, and a scheduler that is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping

import msgspec

from researchflow_tmux.adapters import template
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import HostUnreachable, UsageError
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.names import short_hash

EPOCH_SECONDS = 0.13
"""A pause after each epoch makes a training last long enough to be looked at."""
COME_BACK_S = 20.0

MORE: Mapping[str, Mapping[str, str]] = {
    "mlp_4": {"hidden_units": "4"},
    "mlp_16": {"hidden_units": "16"},
    "sepals_only": {"features": "[sepal_length, sepal_width]"},
}
"""Configs beyond the template's: what each changes of `mlp_8`."""


class Result(msgspec.Struct, kw_only=True):
    """What one training left."""

    name: str
    state: str
    attempts: int
    accuracy: float | None
    seconds: float | None
    resumed_step: int | None = None
    """The checkpoint with which its last attempt began."""

    @property
    def good(self) -> bool:
        """It succeeded, and ran exactly once: or once more, from its checkpoint, where it was killed."""
        expected = 1 if self.resumed_step is None else 2
        return self.state == JobState.SUCCEEDED and self.attempts == expected and self.accuracy is not None


def free_directory(wanted: str) -> str:
    """`wanted`, or with a number behind it where that is taken."""
    path, number = wanted, 1
    while os.path.lexists(path):
        number += 1
        path = f"{wanted}-{number}"
    return path


def prepare(directory: str, socket: str | None, more: Mapping[str, str] | None = None) -> Workspace:
    """Make the workspace: the template, more configs, two simulated GPUs with two slots each; `more` settings.

    Raises UsageError when there is something in the directory already.
    """
    if os.path.isdir(directory) and os.listdir(directory):
        raise UsageError(f"{directory} is not empty", hint="name a directory that is not there yet")
    template.setup(directory)
    configs = os.path.join(directory, "configs")
    base = _read(os.path.join(configs, "mlp_8.yml"))
    for name, changes in MORE.items():
        _write(os.path.join(configs, f"{name}.yml"), _changed(base, changes))
    for name in os.listdir(configs):
        path = os.path.join(configs, name)
        _write(path, re.sub(r"epoch_seconds: [0-9.]+", f"epoch_seconds: {EPOCH_SECONDS}", _read(path)))
    workspace = Workspace(directory)
    settings = {
        "task_name": f"demo_{short_hash(workspace.paths.root)}",
        "gpu_count": "simulated:2",
        "max_jobs_per_gpu": "2",
        "python_env": sys.executable,
    } | ({"tmux_socket": socket} if socket else {})
    for key, value in {**settings, **(more or {})}.items():
        workspace.set(key, value)
    return workspace


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for key, value in changes.items():
        if key == "features":
            text = f"data:\n  features: {value}\n{text}"
        else:
            text = re.sub(rf"{key}: .*", f"{key}: {value}", text)
    return "# Made by the demo.\n" + text.partition("\n")[2] if text.startswith("#") else text


def kill_scheduler(workspace: Workspace) -> int | None:
    """SIGKILL the scheduler, as a crash would; return its pid, None = none was running."""
    holder = asking.scheduler(workspace.paths)
    if holder is None:
        return None
    os.kill(holder.pid, signal.SIGKILL)
    return holder.pid


def wait_until_back(workspace: Workspace, killed: int) -> tuple[int, float]:
    """The new scheduler's pid and the seconds it took to come. Raises HostUnreachable if none comes."""
    began, pause = time.monotonic(), threading.Event()
    while time.monotonic() - began < COME_BACK_S:
        holder = asking.scheduler(workspace.paths)
        if holder is not None and holder.pid != killed:
            return holder.pid, time.monotonic() - began
        pause.wait(0.02)
    raise HostUnreachable("the scheduler did not come back", hint=f"look at it: rfsched -w {workspace.paths.root} logs")


def results(workspace: Workspace) -> list[Result]:
    """What every job left, the best first."""
    out = resolve_places(workspace.paths, workspace.settings).output_dir
    found = []
    for job in workspace.status().jobs:
        try:
            data = json.loads(_read(os.path.join(out, f"{job.name}_result.json")))
        except (OSError, ValueError):
            data = {}
        found.append(
            Result(
                name=job.name,
                state=job.state,
                attempts=job.attempt,
                accuracy=data.get("test_accuracy"),
                seconds=data.get("seconds"),
                resumed_step=job.resumed_step,
            )
        )
    return sorted(found, key=lambda result: (-(result.accuracy or 0.0), result.name))


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


__all__ = ["Result", "free_directory", "kill_scheduler", "prepare", "results", "wait_until_back"]
