"""Where attempts run for real: tmux sessions and the attempts' own directories."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from researchflow_tmux import runner
from researchflow_tmux.adapters import attempt_files
from researchflow_tmux.adapters.attempt_bench import Bench, log_paths
from researchflow_tmux.adapters.attempt_spec import SPEC_NAME, grant_facts, write_spec
from researchflow_tmux.adapters.checkpoint_series import Series
from researchflow_tmux.adapters.tmux import Tmux
from researchflow_tmux.adapters.tmux_sessions import TmuxSessions
from researchflow_tmux.domain.attempt import PREEMPTED, Attempt, Stopping
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.ports import LaunchResult, NameTaken, Observation, Sessions, Snapshot
from researchflow_tmux.runner import claim, grants, reap, stopping

DESTROY_TIMEOUT_S = 3.0
GOES_ON = frozenset({PREEMPTED, "budget"})
"""Who ends an attempt whose job is to go on later: it may save a checkpoint first."""


class TmuxHost:
    """The SessionHost over one tmux server and one workspace's attempt directories."""

    def __init__(
        self,
        *,
        workspace_id: str,
        paths: WorkspacePaths,
        settings: Settings,
        socket_path: str,
        lease_dir: str | None = None,
        devices: Iterable[GpuDevice] = (),
        python: str | None = None,
        tmux: Tmux | None = None,
    ) -> None:
        self._tmux = tmux or Tmux(socket_path)
        self.sessions = TmuxSessions(self._tmux, workspace_id)
        leased = frozenset(device.uuid for device in devices if device.leased)
        totals = {device.uuid: device.total_mib for device in devices if device.total_mib is not None}
        self._bench = Bench(
            workspace_id=workspace_id, paths=paths, settings=settings, lease_dir=lease_dir, leased=leased, totals=totals
        )
        self._series = Series(self._bench)
        self._python = python or real_python()

    def close(self) -> None:
        """Give back the threads, and the child of a call that hangs."""
        self._tmux.close()
        self._series.close()

    def snapshot(self) -> Snapshot:
        """All sessions, in one call."""
        return self.sessions.snapshot()

    def observe(self, attempt: Attempt) -> Observation:
        """What the attempt's files say now; no tmux call."""
        return attempt_files.observe(self._bench.directory(attempt), self._bench.tag(attempt))

    def prepare(self, attempt: Attempt, job: Job, env: Mapping[str, Any]) -> tuple[Attempt, list[str]]:
        """Write the attempt's directory and spec; return the attempt with its log path, and warnings."""
        attempt, warnings = self._series.continued(attempt, job)
        warnings += write_spec(self._bench, attempt, job, env)
        logging = self._bench.settings.enable_logging
        return replace(attempt, log=log_paths(self._bench, job.slug, attempt.number)[0] if logging else None), warnings

    def launch(self, attempt: Attempt) -> LaunchResult:
        """Open the session and start the runner. Asking twice starts it once."""
        result = self._new_session(attempt)
        if isinstance(result, NameTaken) and self._make_way(attempt.session):
            result = self._new_session(attempt)
        return result

    def fence(self, attempt: Attempt) -> bool:
        """Take the claim so that no runner ever can; False = a runner was faster."""
        directory = self._bench.directory(attempt)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        return claim.fence(directory, self._bench.tag(attempt)) or claim.probe(directory).fenced

    def stop(self, attempt: Attempt, by: str, reason: str) -> None:
        """Ask the runner to end the job (TERM, grace, KILL). Without a runner the request waits in the directory."""
        directory = self._bench.directory(attempt)
        save = by in GOES_ON or (isinstance(attempt.phase, Stopping) and attempt.phase.requeue)
        with suppress(OSError):  # a full disk, or no directory: the signal still goes out
            save_s = attempt.phase.save_s if isinstance(attempt.phase, Stopping) and by == PREEMPTED else None
            stopping.write_stop(directory, by, reason, save=save, save_s=save_s)
        attempt_files.signal_runner(directory, signal.SIGTERM)

    def grant(self, attempt: Attempt) -> bool:
        """Write what is granted into the attempt's directory, and let its runner read it; False = the disk refuses."""
        directory = self._bench.directory(attempt)
        try:
            if os.path.isdir(directory):
                grants.write(directory, grant_facts(attempt))
        except OSError:
            return False
        attempt_files.signal_runner(directory, signal.SIGWINCH)
        return True

    def saved_at(self, attempt: Attempt) -> datetime | None:
        """When the newest checkpoint of its job was saved; None = none is known."""
        return self._series.saved_at(attempt)

    def destroy(self, attempt: Attempt) -> tuple[int, ...]:
        """Kill the runner and everything that carries the attempt's cookie; return the pids that still live."""
        directory = self._bench.directory(attempt)
        if os.path.isdir(directory):
            claim.fence(directory, self._bench.tag(attempt))  # one that has not claimed yet never will
        runner_left = attempt_files.end_runner(directory, DESTROY_TIMEOUT_S)
        left = reap.kill_by_cookie(self._bench.tag(attempt), DESTROY_TIMEOUT_S)
        return tuple(left if runner_left is None else [runner_left, *left])

    def close_sessions(self, names: Sequence[tuple[str, str]]) -> None:
        """Close sessions given as (name, tag), under that name or the one `launch` gave them to make way."""
        self.sessions.kill_if_tag([pair for name, tag in names for pair in ((name, tag), (_old_name(name, tag), tag))])

    def rename_session(self, name: str, tag: str, new_name: str) -> None:
        """Rename a session that carries `tag`."""
        self.sessions.rename_if_tag([(name, tag, new_name)])

    def _new_session(self, attempt: Attempt) -> LaunchResult:
        spec_path = os.path.join(self._bench.directory(attempt), SPEC_NAME)
        command = runner.command(self._python, spec_path)
        return self.sessions.new_session(attempt.session, self._bench.tag(attempt), command, self._bench.paths.root)

    def _make_way(self, name: str) -> bool:
        """Rename a kept session of an earlier attempt: the plain name is always the live one's."""
        seen = self.sessions.snapshot()
        holder = seen.by_name.get(name) if isinstance(seen, Sessions) else None
        if holder is None or not holder.pane_dead:
            return False
        self.sessions.rename_if_tag([(name, holder.tag, _old_name(name, holder.tag))])
        return True


def _old_name(name: str, tag: str) -> str:
    return f"{name}_a{tag.rpartition('.')[2]}"


def real_python() -> str:
    """Return the interpreter itself: a pyenv shim costs 70 ms and a venv adds what `-I -S` leaves out anyway."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return os.path.realpath(base)
