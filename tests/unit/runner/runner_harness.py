"""Real attempts in real directories: what the runner's tests share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from researchflow_tmux import runner
from researchflow_tmux.runner import claim, reap, record
from tests.support import eventually

PYTHON = os.path.realpath(sys.executable)
BIN = "/usr/local/bin:/usr/bin:/bin"


class Attempt:
    """One attempt directory below `root`, its spec, and the runners started for it."""

    def __init__(self, root: Path, *argv: str, number: int = 1, **changes: Any) -> None:
        self.root = root
        self.dir = str(root / f"attempt{number}")
        self.tag = f"{root.name}-{os.getpid()}/{number}.1"
        self.log = str(root / "logs" / f"exp{number}_a1.log")
        self.marker = str(root / "out" / f"exp{number}_completed.txt")
        self.spec: dict[str, Any] = {
            "version": 1, "tag": self.tag, "dir": self.dir, "title": f"exp{number}", "argv": list(argv),
            "cwd": str(root), "env": {"PATH": BIN, "RFSCHED_ATTEMPT": self.tag, "HOME": str(root)}, "umask": 0o022,
            "nice": 0, "affinity": None, "rlimits": {}, "log": {"path": self.log, "latest": None, "cap_mib": None},
            "time_limit_s": None, "stop_grace_s": 0.4, "leftover_grace_s": 0.2, "leases": None, "wake": None,
            "completion": {"rule": "exit_code", "marker": self.marker, "grace_s": 0.3},
        }  # fmt: skip
        self.spec |= changes
        os.makedirs(self.dir)
        Path(self.spec_path).write_text(json.dumps(self.spec))
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def spec_path(self) -> str:
        return f"{self.dir}/spec.json"

    @property
    def command(self) -> list[str]:
        return runner.command(PYTHON, self.spec_path)

    def start(self, **popen: Any) -> subprocess.Popen[bytes]:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TMUX")}
        process: subprocess.Popen[Any] = subprocess.Popen(self.command, **(quiet | {"env": environment} | popen))
        self.started.append(process)
        return process

    def run(self, timeout_s: float = 30.0, **popen: Any) -> dict[str, Any]:
        """Run the attempt to its end and return the exit record."""
        self.start(**popen).wait(timeout_s)
        return self.record()

    def record(self, timeout_s: float = 10.0) -> dict[str, Any]:
        return eventually(lambda: record.read(self.dir), timeout_s, f"exit record of {self.tag}") or {}

    def output(self) -> str:
        return Path(self.log).read_bytes().decode(errors="replace")

    def says(self, text: str, timeout_s: float = 10.0) -> None:
        """Wait until the log has `text`."""
        eventually(lambda: text in self.output(), timeout_s, f"{text!r} in the log")

    def runner_pid(self) -> int:
        return int(eventually(lambda: claim.probe(self.dir).content.get("pid"), 10.0, "the claim") or 0)

    def end(self) -> None:
        """Leave no process of this attempt behind, whatever the test did."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            if claim.probe(self.dir).state == claim.HELD:
                os.kill(int(claim.probe(self.dir).content["pid"]), signal.SIGKILL)
        assert reap.kill_by_cookie(self.tag, 10.0) == []


class Attempts:
    """Makes attempts in one directory and ends them all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: list[Attempt] = []

    def __call__(self, *argv: str, **changes: Any) -> Attempt:
        attempt = Attempt(self.root, *argv, number=len(self.made) + 1, **changes)
        self.made.append(attempt)
        return attempt

    def sh(self, script: str, **changes: Any) -> Attempt:
        """An attempt whose job is a shell script."""
        return self("sh", "-c", script, **changes)

    def python(self, script: str, **changes: Any) -> Attempt:
        """An attempt whose job is Python code."""
        return self(PYTHON, "-I", "-S", "-c", script, **changes)


@contextlib.contextmanager
def making_attempts(root: Path) -> Iterator[Attempts]:
    attempts = Attempts(root)
    try:
        yield attempts
    finally:
        for attempt in attempts.made:
            attempt.end()


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def lease(directory: Path, *uuids: str, share: float = 0.5, **extra: Any) -> dict[str, Any]:
    """The `leases` part of a spec."""
    gpus = [{"uuid": uuid, "index": i, "share": share, "memory_mib": 0} | extra for i, uuid in enumerate(uuids)]
    return {"dir": str(directory), "holder": f"test {share:g}", "session": "T_exp1_gpu0", "gpus": gpus}
