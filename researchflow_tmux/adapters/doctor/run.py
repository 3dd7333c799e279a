"""Runs all checks side by side, each in its own thread: none can hide, stop or delay the others."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from researchflow_tmux.adapters.doctor import gpus, limits, machine, tmux_server, workspace
from researchflow_tmux.adapters.doctor.check import Check, Context, warn
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

CheckFunction = Callable[[Context], list[Check]]
CHECK_S = 3.0

CHECKS: tuple[CheckFunction, ...] = (
    tmux_server.program,
    tmux_server.server,
    tmux_server.configuration,
    machine.python,
    gpus.driver,
    gpus.leases,
    gpus.projects,
    workspace.file_system,
    workspace.space,
    workspace.state,
    workspace.logs,
    workspace.policy,
    limits.open_files,
    limits.processes,
    limits.container,
    limits.job_memory,
    machine.logout,
    machine.reboot,
    machine.clock,
)


def run_checks(
    paths: WorkspacePaths | None,
    settings: Settings | None,
    *,
    environ: Mapping[str, str] | None = None,
    socket: str | None = None,
) -> list[Check]:
    """Look at everything that jobs depend on; takes at most about 3 s.

    Args:
        paths: The workspace; None = only the machine is looked at.
        settings: Its settings, if they can be read.
        environ: The environment; None = ours.
        socket: The tmux socket that the workspace uses, if it is known.
    """
    context = Context(
        paths=paths, settings=settings, environ=dict(os.environ if environ is None else environ), socket=socket
    )
    return run_each(CHECKS, context)


def run_each(checks: Sequence[CheckFunction], context: Context, *, timeout_s: float = CHECK_S) -> list[Check]:
    """The findings of all checks, in their order; what raises or does not end in time is a finding too."""
    runs = [_Run(check, context) for check in checks]
    until = time.monotonic() + timeout_s
    return [finding for run in runs for finding in run.findings(until, timeout_s)]


class _Run:
    """One check in its thread. A thread that hangs (a dead network file system) is left behind and ends with us."""

    def __init__(self, check: CheckFunction, context: Context) -> None:
        self._check, self._context = check, context
        self._name = check.__name__.replace("_", " ")
        self._found: list[Check] | None = None
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            self._found = self._check(self._context)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other checks must be seen
            why = f"could not be checked: {type(error).__name__}: {error}"
            self._found = [warn(self._name, why, "the other checks do not depend on it")]

    def findings(self, until: float, timeout_s: float) -> list[Check]:
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._found is None:
            return [
                warn(
                    self._name,
                    f"no answer within {timeout_s:g} s",
                    "something below it hangs: a disk, the network, a driver",
                )
            ]
        return self._found
