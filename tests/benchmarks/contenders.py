"""Four ways to run the same commands a few at a time; each returns when its last job has ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from researchflow_tmux.adapters.environment import capture
from researchflow_tmux.api import asking, control
from researchflow_tmux.domain.attempt import Running
from researchflow_tmux.domain.job import JobSpec
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.engine.submitting import Draft
from tests.benchmarks.measure import FOLDER
from tests.benchmarks.stamps import Stamp
from tests.support import eventually
from tests.tmux_fixtures import Server
from tests.workspaces import RealWorkspace

Spans = list[tuple[float, float]]
Contender = Callable[[Stamp, int, int, float], tuple[float, Spans]]
"""(stamp, jobs, slots, seconds of each) → (when it was asked, when each job ran)."""


@contextmanager
def workspace(**settings: object) -> Iterator[RealWorkspace]:
    """A workspace of simulated GPUs on a private tmux server; ended whatever happens."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        server = Server(Path(folder))
        made = RealWorkspace(Path(folder) / "ws", server, {"check_interval": 10.0, **settings})
        try:
            yield made
        finally:
            made.close()
            server.close()


def submit(ws: RealWorkspace, argv: list[str], count: int, *, first: int = 0, gpus: int = 1) -> list[int]:
    """Queue the same command `count` times in one request."""
    digest = capture_into(ws)
    specs = [
        JobSpec(
            source="command",
            key=f"bench{first + number}",
            name=f"bench{first + number}",
            argv=tuple(argv),
            workdir=str(ws.root),
            env_digest=digest,
            request=ResourceRequest(gpus=gpus),
        )
        for number in range(count)
    ]
    return ws.api.submit_drafts([Draft(spec=spec) for spec in specs]).ids


def capture_into(ws: RealWorkspace) -> str:
    """Keep this process's environment in the store, as the first `start` does; its digest."""
    if not os.path.exists(ws.api.paths.database):
        control.ready(ws.api)
    return capture().digest


def start_scheduler(ws: RealWorkspace) -> int:
    """A scheduler without pane and keeper, idle and ready; its pid."""
    capture_into(ws)
    process = ws.scheduler()
    eventually(lambda: asking.scheduler(ws.api.paths), 20.0, what="the scheduler runs")
    ws.api.ask("remember", {})  # its answer comes from the loop
    return process.pid


def rfsched(stamp: Stamp, jobs: int, slots: int, seconds: float) -> tuple[float, Spans]:
    """One request to an idle scheduler."""
    with workspace(gpu_count=f"simulated:{slots}", max_jobs_per_gpu=1) as ws:
        start_scheduler(ws)
        file = ws.root / "stamps"
        begin = stamp.now()
        submit(ws, stamp.argv(file, seconds), jobs)
        return begin, stamp.wait_for(file, jobs)


def tsp(stamp: Stamp, jobs: int, slots: int, seconds: float) -> tuple[float, Spans]:
    """A server of its own; one `tsp` call per job, as its users do."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        file = Path(folder) / "stamps"
        env = {**os.environ, "TS_SOCKET": f"{folder}/s", "TS_SLOTS": str(slots), "TMPDIR": folder}
        try:
            subprocess.run(["tsp", "-S", str(slots)], env=env, check=True)
            command = stamp.argv(file, seconds)
            begin = stamp.now()
            for _ in range(jobs):
                subprocess.run(["tsp", *command], env=env, check=True, stdout=subprocess.DEVNULL)
            return begin, stamp.wait_for(file, jobs)
        finally:
            subprocess.run(["tsp", "-K"], env=env, check=False)


def xargs(stamp: Stamp, jobs: int, slots: int, seconds: float) -> tuple[float, Spans]:
    """`xargs -P`, the least that can be done."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        file = Path(folder) / "stamps"
        command = ["xargs", "-n1", f"-P{slots}", "sh", "-c", 'exec "$0" "$1" "$2"', *stamp.argv(file, seconds)]
        begin = stamp.now()
        subprocess.run(command, input="x\n" * jobs, text=True, check=True)
        return begin, stamp.wait_for(file, jobs)


def raw_tmux(stamp: Stamp, jobs: int, slots: int, seconds: float) -> tuple[float, Spans]:
    """One `tmux new-session` per job and a `wait-for` for its end, `slots` of them at a time; nothing is kept safe."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        file, socket = Path(folder) / "stamps", f"{folder}/s"
        tmux = f"tmux -S {socket} -f /dev/null"
        subprocess.run(f"{tmux} new-session -d -s keep 'exec sleep 1000'", shell=True, check=True)
        pid = int(subprocess.check_output(f"{tmux} display-message -p '#{{pid}}'", shell=True, text=True))
        job = " ".join(stamp.argv(file, seconds))
        one = f"{tmux} new-session -d -s j$1 '{job}; {tmux} wait-for -S e'$1; exec {tmux} wait-for e$1"
        try:
            begin = stamp.now()
            numbers = "\n".join(str(number) for number in range(jobs))
            subprocess.run(["xargs", "-n1", f"-P{slots}", "sh", "-c", one, "sh"], input=numbers, text=True, check=True)
            return begin, stamp.wait_for(file, jobs)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def available() -> dict[str, Contender | None]:
    """By name; None = not installed."""
    return {
        "rfsched": rfsched,
        "raw tmux": raw_tmux,
        "tsp": tsp if shutil.which("tsp") else None,
        "xargs -P": xargs if shutil.which("xargs") else None,
    }


def wait_until_running(ws: RealWorkspace, count: int) -> None:
    """Wait until the scheduler has seen that `count` jobs run."""

    def look() -> bool:
        with ws.api.reader() as reader:
            attempts = reader.live_attempts()
        return len(attempts) == count and all(isinstance(attempt.phase, Running) for attempt in attempts)

    eventually(look, 60.0, what=f"{count} jobs run")


def kill_all(ws: RealWorkspace) -> None:
    """End the scheduler and every job."""
    control.kill_all(ws.api)
