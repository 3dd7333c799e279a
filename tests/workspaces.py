"""A real workspace driven through the installed `rfsched`, on a tmux server of its own; ended whatever happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.attempt import Running
from researchflow_tmux.runner import reap
from tests.support import eventually
from tests.tmux_fixtures import Server, kill_tree

RFSCHED = str(Path(sys.executable).with_name("rfsched"))
COMMAND_S = 60.0
"""How long one command may take."""
JOB = """#!/bin/sh
# What every job of these tests does: say in a file of its own that it ran, and as which attempt.
echo "$RFSCHED_ATTEMPT" >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"
exec sleep "${NAP:-0.05}"
"""


class RealWorkspace:
    """A workspace directory with `job.sh` as its jobs' command."""

    def __init__(self, root: Path, server: Server, settings: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.server = server
        self.processes: list[subprocess.Popen[bytes]] = []
        for folder in ("configs", "ran"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "job.sh").write_text(JOB)
        (root / "job.sh").chmod(0o755)
        self.configure(**(settings or {}))

    def configure(self, **changed: Any) -> None:
        """Write scheduler_config.yml: simulated GPUs, two jobs on each, fast job.sh."""
        values: dict[str, Any] = {
            "task_name": "t",
            "gpu_count": "simulated:2",
            "max_jobs_per_gpu": 2,
            "tmux_socket": self.server.socket,
            "command": f"{self.root}/job.sh",
            "check_interval": 1.0,
            "stop_grace": 1.0,
            **changed,
        }
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
        (self.root / "scheduler_config.yml").write_text(lines)

    def add_configs(self, count: int, text: str = "lr: 0.1\n", prefix: str = "exp") -> None:
        """`prefix`1 … `prefix`N."""
        for number in range(1, count + 1):
            (self.root / "configs" / f"{prefix}{number}.yml").write_text(text)

    def config(self, name: str, command: str | None = None, text: str = "", **section: Any) -> Path:
        """One job config; `command` and `section` go into its `rfsched:` section."""
        if command is not None:
            section["command"] = command
        path = self.root / "configs" / f"{name}.yml"
        path.write_text(text + (f"rfsched: {json.dumps(section)}\n" if section else "lr: 0.1\n"))
        return path

    def script(self, name: str, body: str) -> str:
        """A shell script in the workspace; its path."""
        path = self.root / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    # -- commands

    @property
    def api(self) -> Workspace:
        """The workspace as Python users have it, with the settings as they are now."""
        return Workspace(self.root)

    def call(self, *args: str, timeout_s: float = COMMAND_S, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `rfsched ARGS` in the workspace, without a terminal."""
        return subprocess.run(
            [RFSCHED, *args],
            cwd=self.root,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ok(self, *args: str, **env: str) -> str:
        """Run a command that must succeed; its output."""
        result = self.call(*args, timeout_s=COMMAND_S, **env)
        assert result.returncode == 0, f"rfsched {' '.join(args)} → {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def status(self) -> dict[str, Any]:
        """What `status --json` prints; asked in this process, because tests ask often."""
        found: dict[str, Any] = json.loads(msgspec.json.encode(self.api.status()))
        return found

    def states(self) -> dict[str, str]:
        """State by job name."""
        return {job["name"]: job["state"] for job in self.status()["jobs"]}

    def job(self, name: str) -> dict[str, Any]:
        """One job of `status --json`."""
        return next(job for job in self.status()["jobs"] if job["name"] == name)

    def reason(self, name: str) -> str:
        """Why a job is where it is."""
        return str(self.job(name)["reason"])

    def tag(self, name: str) -> str:
        """The cookie of a job's latest attempt."""
        api = self.api
        attempt = api.last_attempt(api.job(name))
        assert attempt is not None, f"{name} never ran"
        with api.reader() as reader:
            return f"{reader.meta()['workspace_id']}/{attempt.job_id}.{attempt.number}"

    def runner(self, name: str) -> int:
        """The pid of a running job's runner, once the scheduler has seen it hold its claim."""
        api = self.api
        job = api.job(name)

        def look() -> int:
            attempt = api.last_attempt(job)
            assert attempt is not None
            assert isinstance(attempt.phase, Running), attempt.phase
            return attempt.phase.runner_pid

        return eventually(look, 20.0, what=f"{name} has a runner")

    def job_pids(self, name: str) -> list[int]:
        """The living processes of a job's latest attempt."""
        return reap.find_by_cookie(self.tag(name))

    def log(self, name: str) -> str:
        """The log of a job's latest attempt."""
        path = self.job(name)["log"]
        return Path(path).read_text(errors="replace") if path and os.path.exists(path) else ""

    def history(self) -> str:
        """The scheduler's log file."""
        path = self.root / "logs" / "t_scheduler.log"
        return path.read_text() if path.exists() else ""

    def sessions(self) -> set[str]:
        """Names of all sessions on the server."""
        return set(self.server.run("list-sessions", "-F", "#{session_name}"))

    def settled(self, timeout_s: float = 30.0) -> dict[str, str]:
        """Wait until every job has ended; the states."""

        def look() -> dict[str, str]:
            states = self.states()
            return {} if {"queued", "running", "held"} & set(states.values()) else states

        return eventually(look, timeout_s, what="every job has ended")

    def status_or_none(self) -> dict[str, Any] | None:
        """`status`, or None where nothing was ever queued."""
        return self.status() if os.path.exists(self.api.paths.database) else None

    def wait_for(self, name: str, state: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until a job is in a state; fail at once if it ended in another one."""
        ends = {"succeeded", "failed", "cancelled", "skipped"} - {state}

        def look() -> dict[str, Any] | None:
            job = self.job(name)
            return job if job["state"] == state or job["state"] in ends else None

        found = eventually(look, timeout_s, what=f"{name} is {state}")
        assert found is not None
        assert found["state"] == state, f"{name} ended as {found['state']}: {found['reason']}"
        return found

    # -- schedulers

    def scheduler(self, **env: str) -> subprocess.Popen[bytes]:
        """A scheduler without keeper and pane, as a child of the test."""
        process = subprocess.Popen(
            [RFSCHED, "_scheduler"],
            cwd=self.root,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def scheduler_pid(self) -> int | None:
        """The pid that holds the workspace as its scheduler."""
        pid: int | None = self.status()["scheduler"]["pid"]
        return pid

    # -- truth

    def runs(self) -> Counter[str]:
        """How often each job really ran, by its own word."""
        return Counter({file.name: len(file.read_text().splitlines()) for file in (self.root / "ran").iterdir()})

    def attempts_run(self) -> Counter[str]:
        """How often each attempt really ran."""
        lines = [line for file in (self.root / "ran").iterdir() for line in file.read_text().splitlines()]
        return Counter(lines)

    def close(self) -> None:
        """End everything, by pid and socket."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        with suppress(subprocess.TimeoutExpired, FileNotFoundError):  # a test may have moved it away
            self.call("kill-all", "--yes")


Factory = Callable[..., RealWorkspace]
"""`new_workspace(name="ws", **settings)`: another workspace on the same server."""


@pytest.fixture
def new_workspace(tmp_path: Path) -> Iterator[Factory]:
    """Makes workspaces of simulated GPUs on one private tmux server."""
    with tempfile.TemporaryDirectory(prefix="rft-", dir="/tmp") as folder:
        server = Server(Path(folder))
        made: list[RealWorkspace] = []

        def make(name: str = "ws", **settings: Any) -> RealWorkspace:
            made.append(RealWorkspace(tmp_path / name, server, settings))
            return made[-1]

        try:
            yield make
        finally:
            for each in made:
                each.close()
            server.close()


@pytest.fixture
def workspace(new_workspace: Factory) -> RealWorkspace:
    """A workspace of simulated GPUs on a private tmux server."""
    return new_workspace()


def kill9(pid: int) -> None:
    """SIGKILL one process and wait until it is gone."""
    kill_tree(pid)


__all__ = ["RFSCHED", "Factory", "RealWorkspace", "kill9", "new_workspace", "workspace"]
