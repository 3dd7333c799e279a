"""Watching and steering GPUs with the installed program: by hand, by a file, and when one is lost."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nvml_stub import GIB, StubGpu, StubProcess, build_stub, write_state
from tests.support import eventually
from tests.workspaces import Factory, RealWorkspace, new_workspace

__all__ = ["new_workspace"]  # fixtures
pytestmark = pytest.mark.tmux

EFFECT_S = 1.0
"""What people do to GPUs has its effect within this; a busy machine gets a little more in the tests."""
PATIENCE_S = 3.0
ME = getpass.getuser()


def gpus(ws: RealWorkspace, *args: str) -> dict[int, dict[str, Any]]:
    """`gpus --json` by index."""
    return {gpu["index"]: gpu for gpu in json.loads(ws.ok("gpus", "--json", *args))["gpus"]}


def states(ws: RealWorkspace) -> list[str]:
    return [gpu["state"] for gpu in ws.status()["gpus"]]


def took(check: Callable[[], object], what: str) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    eventually(check, PATIENCE_S, what=what)
    return time.monotonic() - began


def test_drained_enabled_and_cleared_by_hand_with_and_without_a_scheduler(new_workspace: Factory) -> None:
    ws = new_workspace(max_jobs_per_gpu=1, check_interval=60.0, sample_interval=0.2)  # no sweep helps it
    assert "drained: GPU 1" in ws.ok("gpus", "drain", "1")
    assert "drained already: GPU 1" in ws.ok("gpus", "drain", "simulated-1")
    bad = ws.call("gpus", "drain", "1", "7", "GPU-x")
    assert bad.returncode == 2
    assert "no GPU '7'" in bad.stderr
    assert "no GPU 'GPU-x'" in bad.stderr
    for name in ("a", "b"):
        ws.config(name, env={"NAP": "600"})
    ws.ok("start")
    ws.runner("a")
    assert ws.job("b")["state"] == "queued"
    ws.ok("gpus", "drain", "all")
    assert states(ws) == ["draining", "drained"]
    assert f"drained: GPU 0 (by {ME})" in gpus(ws)[0]["reason"]
    ws.ok("cancel", "a")
    ws.wait_for("a", "cancelled")
    eventually(lambda: ws.job("b")["reason_code"] == "drained", what="b says what it waits for")
    assert "rfsched gpus enable" in ws.ok("why", "b")
    ws.ok("gpus", "enable", "1")
    assert took(lambda: ws.states()["b"] == "running", "b starts on the enabled GPU") < EFFECT_S + 1.0
    assert ws.job("b")["gpus"] == [1]

    eventually(lambda: ws.job("b")["usage"]["peak_gpu_mib"] == 9000, what="b is measured")
    ws.ok("stop")
    ws.ok("requeue", "a")
    assert "b" in ws.ok("gpus", "kill", "1", "--yes"), "it says whom it ends"
    assert ws.wait_for("b", "cancelled")["reason"] == "cancelled: by hand"
    assert ws.job("b")["usage"]["peak_gpu_mib"] == 9000, "kept although no scheduler saw its end"
    found = gpus(ws)
    assert [found[index]["state"] for index in (0, 1)] == ["drained", "drained"], "kept without a scheduler"
    ws.ok("start", "--no-configs")
    eventually(lambda: ws.job("a")["reason_code"] == "drained", what="kept over a restart")
    ws.ok("gpus", "enable", "0")
    eventually(lambda: ws.states()["a"] == "running")
    assert "told to stop and be queued again" in ws.ok("gpus", "kill", "0", "--requeue")
    eventually(lambda: ws.job("a")["state"] == "queued")
    told = ws.ok("history")
    for words in (f"GPU 1 drained by {ME}", f"GPU 1 enabled by {ME}", f"GPU 0 enabled by {ME}"):
        assert words in told


def test_a_file_of_gpus_is_followed_and_emptying_it_for_a_moment_kills_nothing(new_workspace: Factory) -> None:
    ws = new_workspace(max_jobs_per_gpu=1, check_interval=60.0)
    file = ws.root / "available_gpus.txt"
    file.write_text("# only the second one\n1\n")
    for name in ("a", "b"):
        ws.config(name, env={"NAP": "600"})
    ws.ok("start")
    ws.runner("a")
    assert ws.job("a")["gpus"] == [1]
    assert states(ws) == ["drained", "ok"]
    began = time.monotonic()
    file.write_text("")
    eventually(lambda: time.monotonic() - began > 0.15, what="as long as it took to lose all jobs elsewhere")
    temporary = file.with_suffix(".tmp")
    temporary.write_text("0 1\n")
    temporary.replace(file)
    assert took(lambda: ws.states()["b"] == "running", "b starts on the GPU that is back") < EFFECT_S + 1.0
    file.write_text("0 ?\n")
    eventually(lambda: f"{file}:1:3: '?' is no GPU; the GPUs stay as they are" in ws.history())
    assert states(ws) == ["ok", "ok"]
    assert f"{file}:1:3" in ws.ok("gpus")
    file.unlink()
    file.write_text("1")
    eventually(lambda: states(ws) == ["draining", "ok"], PATIENCE_S)
    eventually(lambda: time.monotonic() - began > 4.0, what="an empty file would count by now")
    assert set(ws.states().values()) == {"running"}
    assert set(ws.runs().values()) == {1}


class Machine:
    """Two GPUs of the stub of the driver, and a workspace that sees them."""

    def __init__(self, lib: Path, state: Path, ws: RealWorkspace) -> None:
        self.env = {"LD_LIBRARY_PATH": str(lib), "RFSTUB_STATE": str(state)}
        self._state = state
        self.ws = ws
        ws.configure(gpu_count="auto", max_jobs_per_gpu=1, sample_interval=0.2, check_interval=60.0)
        self.gpus(StubGpu("GPU-aaaa"), StubGpu("GPU-bbbb"))

    def gpus(self, *gpus: StubGpu, **trouble: Any) -> None:
        write_state(self._state, gpus, **trouble)


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture
def machine(lib: Path, tmp_path: Path, new_workspace: Factory) -> Machine:
    shutil.rmtree(os.environ["RFSCHED_LEASE_DIR"], ignore_errors=True)
    return Machine(lib, tmp_path / "gpus", new_workspace())


def test_a_lost_gpu_is_left_its_job_moved_and_what_it_used_is_kept(machine: Machine) -> None:
    ws = machine.ws
    ws.config("a", command="exec sleep 600")
    ws.ok("start", **machine.env)
    ws.runner("a")
    (pid, *_) = ws.job_pids("a")
    ours = StubProcess(pid, 3 * GIB, util_pct=70)
    stranger = StubProcess(os.getpid(), GIB // 2)
    machine.gpus(
        StubGpu("GPU-aaaa", used_bytes=3 * GIB, util_pct=90, processes=(ours,)),
        StubGpu("GPU-bbbb", used_bytes=GIB // 2, processes=(stranger,)),
    )
    usage = eventually(lambda: used if (used := ws.job("a")["usage"]) and used["peak_gpu_mib"] else None)
    assert usage["gpu_mib"] == 3072
    assert usage["peak_gpu_util_pct"] in (70.0, 90.0), "its own figure, or that of the GPU that it has for itself"
    assert usage["rss_mib"] > 0.5
    shown = eventually(lambda: found if (found := gpus(ws))[1]["others"] else None)
    (mine,) = shown[0]["jobs"]
    assert (mine["id"], mine["name"], mine["attempt"], mine["used_mib"]) == (1, "a", 1, 3072)
    assert shown[0]["others"] == []
    (other,) = shown[1]["others"]
    assert (other["pid"], other["user"], other["used_mib"]) == (os.getpid(), ME, 512)
    assert "python" in other["command"]

    machine.gpus(StubGpu("GPU-aaaa", lost=True), StubGpu("GPU-bbbb"))
    eventually(lambda: ws.job("a")["attempt"] == 2, 10.0, what="a goes to the other GPU")
    eventually(lambda: ws.job("a")["state"] == "running")
    assert ws.job("a")["gpus"] == [1]
    assert (ws.job("a")["retries_used"], ws.job("a")["gpu_losses"]) == (0, 1)
    assert gpus(ws)[0]["state"] == "lost"
    assert "lost: GPU 0 (GPU is lost)" in ws.ok("status")
    with ws.api.reader() as reader:
        first = reader.attempts_of(1)[0].phase
    assert getattr(first, "peak_gpu_mib", None) == 3072
    record = eventually(lambda: json.loads(ws.ok("results", "show", "a.1", "--json")), what="the run is recorded")
    assert "3072" in json.dumps(record)

    machine.gpus(StubGpu("GPU-aaaa"), StubGpu("GPU-bbbb"))
    ws.ok("gpus", "enable", "GPU-aaaa")
    eventually(lambda: states(ws) == ["ok", "ok"])
    assert "GPU 0 is lost: GPU is lost" in ws.history()


def test_a_driver_that_hangs_holds_up_no_launch(machine: Machine) -> None:
    ws = machine.ws
    ws.config("a", env={"NAP": "600"})
    ws.ok("start", **machine.env)
    ws.runner("a")
    machine.gpus(StubGpu("GPU-aaaa"), StubGpu("GPU-bbbb"), hang={"nvmlDeviceGetMemoryInfo": 20.0})
    eventually(lambda: "the driver has not answered for" in ws.ok("gpus"), what="it is told")
    ws.ok("add", "--name", "waits", "--", "true")
    eventually(lambda: ws.job("waits")["reason_code"] == "unreadable", what="unknown is not free")
    for number in range(3):
        name = f"cpu{number}"
        ws.ok("add", "--gpus", "0", "--name", name, "--", "true")
        assert took(lambda name=name: ws.states()[name] == "succeeded", "a CPU job runs") < 2.0  # type: ignore[misc]
    machine.gpus(StubGpu("GPU-aaaa"), StubGpu("GPU-bbbb"))
    ws.wait_for("waits", "succeeded", 40.0)
