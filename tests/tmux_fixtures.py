"""A tmux server of its own for each test, ended and unlinked whatever happens; and hosts that use it.

Import the fixtures where they are used: `from tests.tmux_fixtures import bed, tmux_server`.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from researchflow_tmux.adapters.session_host import TmuxHost
from researchflow_tmux.adapters.tmux import Output, Tmux
from researchflow_tmux.adapters.tmux_sessions import TmuxSessions
from researchflow_tmux.adapters.tmux_socket import find_server
from researchflow_tmux.domain.attempt import Attempt, Planned
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import Allocation, GpuDevice, GpuShare
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.runner import reap
from tests.support import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CAPTURED = {"env": {"PATH": os.environ["PATH"]}, "umask": 0o022, "nice": 0, "affinity": None, "rlimits": {}}


class Server:
    """A private tmux server: its socket, its config file and the adapters that talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = str(folder / "s")
        self.config = folder / "tmux.conf"
        self.config.write_text("")
        self._open: list[Tmux] = []
        self._pids: set[int] = set()

    def tmux(self, deadline_s: float = 5.0) -> Tmux:
        """A new adapter."""
        adapter = Tmux(self.socket, deadline_s=deadline_s, config_file=str(self.config))
        self._open.append(adapter)
        return adapter

    def sessions(self, workspace_id: str = "ws1", deadline_s: float = 5.0) -> TmuxSessions:
        """The sessions of a workspace."""
        return TmuxSessions(self.tmux(deadline_s), workspace_id)

    def run(self, *args: str) -> list[str]:
        """Run a tmux command as a user would, through an adapter of its own; it must succeed."""
        answer = self.tmux().call(*args)
        assert isinstance(answer, Output), answer
        assert answer.rc == 0, answer
        return answer.stdout

    def pid(self) -> int:
        """The server's pid."""
        found = find_server(self.socket)
        assert found is not None, "no tmux server listens on the test's socket"
        self._pids.add(found)
        return found

    def close(self) -> None:
        """End every server that ever listened here, and with it what runs in its panes."""
        for adapter in self._open:
            adapter.close()
        while (pid := find_server(self.socket)) is not None:
            kill_tree(pid)
        with suppress(FileNotFoundError):
            os.unlink(self.socket)


def kill_tree(pid: int) -> None:
    """SIGKILL a process and wait until it is gone."""
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
        finally:
            os.close(handle)
    eventually(lambda: not _running(pid), what=f"process {pid} is gone")


def _running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.fixture
def tmux_server() -> Iterator[Server]:
    """A private tmux server, started by the first session."""
    # Not tmp_path: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="rft-", dir="/tmp") as folder:
        private = Server(Path(folder))
        try:
            yield private
        finally:
            private.close()


class Bed:
    """A workspace with a real host: the least that runs an attempt."""

    def __init__(self, server: Server, root: Path, workspace_id: str = "ws1", deadline_s: float = 5.0) -> None:
        root.mkdir(exist_ok=True)
        self.server = server
        self.workspace_id = workspace_id
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        self.settings = Settings(task_name="t", stop_grace=0.5)
        self.host = self.new_host(deadline_s)
        self._tags: list[str] = []

    def new_host(self, deadline_s: float = 5.0, settings: Settings | None = None, **more: object) -> TmuxHost:
        """A host as another process would make it, over the same files and server."""
        return TmuxHost(
            workspace_id=self.workspace_id,
            paths=self.paths,
            settings=settings or self.settings,
            socket_path=self.server.socket,
            tmux=self.server.tmux(deadline_s),
            **more,  # type: ignore[arg-type]
        )

    def attempt(self, job: Job, number: int = 1, session: str | None = None, gpus: tuple[int, ...] = (0,)) -> Attempt:
        """A planned attempt."""
        planned = plan(job, number, session, gpus)
        self._tags.append(f"{self.workspace_id}/{job.id}.{number}")
        return planned

    def close(self) -> None:
        """End every process of every attempt."""
        self.server.close()
        for tag in self._tags:
            assert reap.kill_by_cookie(tag, 5.0) == []


def make_job(job_id: int, shell: str | None, name: str | None = None, workdir: str = "/", **more: object) -> Job:
    """A queued job that runs a shell line."""
    fields = {"source": "command", "key": f"k{job_id}", "name": name or f"j{job_id}", "env_digest": "d", **more}
    spec = msgspec.convert({"workdir": workdir, "shell": shell, **fields}, JobSpec)
    return Job(id=job_id, spec=spec, slug=spec.name, state=JobState.QUEUED, queued_at=NOW)


def plan(job: Job, number: int = 1, session: str | None = None, gpus: tuple[int, ...] = (0,)) -> Attempt:
    """A planned attempt of a job."""
    shares = tuple(GpuShare(uuid=f"simulated-{index}", index=index, share=1.0) for index in gpus)
    return Attempt(
        job_id=job.id,
        number=number,
        allocation=Allocation(gpus=shares),
        session=session or f"t_{job.slug}_gpu0",
        log=None,
        planned_at=NOW,
        boot_id="boot",
        hostname="host",
        phase=Planned(at=NOW),
    )


def device(index: int, *, leased: bool = False) -> GpuDevice:
    """A GPU by its index."""
    return GpuDevice(uuid=f"simulated-{index}", index=index, name="GPU", kind="simulated", leased=leased)


@pytest.fixture
def bed(tmux_server: Server, tmp_path: Path) -> Iterator[Bed]:
    """A workspace with a real host on a private server."""
    made = Bed(tmux_server, tmp_path / "ws")
    try:
        yield made
    finally:
        made.close()
