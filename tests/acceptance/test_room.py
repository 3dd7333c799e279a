"""Room on the GPU with the installed programs and real tmux: simulated GPUs, and the stub of the driver."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.runner import tickets
from tests.nvml_stub import GIB, StubGpu, StubProcess, build_stub, write_state
from tests.support import eventually
from tests.workspaces import Factory, RealWorkspace, new_workspace

__all__ = ["new_workspace"]  # fixtures
pytestmark = pytest.mark.tmux

GPU, OTHER, PART = "GPU-room-0", "GPU-room-1", "MIG-room-0"
SLEEP = ("--", "sleep", "600")


def waits(ws: RealWorkspace, name: str, code: str) -> dict[str, Any]:
    """The job's row, once it waits for that kind of reason."""

    def look() -> dict[str, Any] | None:
        row = ws.job(name)
        return row if row["reason_code"] == code else None

    found = eventually(look, what=f"{name} waits for {code}")
    assert found is not None
    return found


def test_memory_is_promised_thresholds_hold_and_the_gpu_settles(new_workspace: Factory) -> None:
    """Thresholds alone on one simulated GPU of 24 GiB; no job is limited by a number of slots."""
    ws = new_workspace(
        gpu_count="simulated:1", max_jobs_per_gpu="unlimited", max_memory=99, grace_period="1s", check_interval=30.0
    )
    said = ws.ok("start", "--no-configs", "--max-memory", "75")
    assert said.splitlines()[0] == "max_memory: 99 → 75"
    assert "max_memory: 75\n" in (ws.root / "scheduler_config.yml").read_text()
    slow = ("--env", "RFSCHED_SIMULATED_LOAD=memory=14GiB ramp=1h")
    ws.ok("add", "--name", "a", "--gpu-memory", "14GiB", *slow, *SLEEP)
    ws.wait_for("a", "running")
    ws.ok("add", "--name", "b", "--gpu-memory", "14GiB", "--max-memory", "100", *slow, *SLEEP)
    ws.ok("add", "--name", "c", "--gpu-memory", "5 GiB", *SLEEP)
    ws.ok("add", "--name", "d", "--max-util", "50", "--max-memory", "100", *SLEEP)
    ws.wait_for("c", "running")  # by itself, when the GPU has settled: the next sweep is far away
    gpu = ws.status()["gpus"][0]
    assert gpu["used_mib"] < 7 * 1024, "a has not allocated what it declared"
    reason = waits(ws, "b", "threshold")["reason"]
    assert reason == "no GPU has room: GPU 0: 5.0 GiB of 24.0 GiB neither used nor promised, 14.0 GiB needed"
    ws.ok("add", "--name", "e", *SLEEP)
    assert "19.0 GiB of 24.0 GiB in use or promised (79 %), limit 75 %" in waits(ws, "e", "threshold")["reason"]
    why = json.loads(ws.ok("why", "d", "--json"))
    assert why["job"]["reason_code"] == "threshold"
    assert "how busy it is must be seen for 60 s first (max_util)" in why["job"]["reason"]
    assert why["job"]["until"] is not None
    explained = ws.ok("why", "b")
    assert "asks for 1 GPU (14.0 GiB of it), priority 0" in explained
    assert "see `rfsched gpus`" in explained
    ws.ok("cancel", "a")
    ws.wait_for("b", "running")
    bad = ws.call("add", "--share", "1.5", "--", "true")
    assert bad.returncode == 2
    assert "1.5 is not in the range 0<x<=1" in bad.stderr
    assert "a size such as" in ws.call("add", "--gpu-memory", "much", "--", "true").stderr


def promised(uuid: str) -> list[int]:
    """MiB of the live tickets on a GPU, by the kernel's word."""
    return sorted(ticket["memory_mib"] for ticket in tickets.live(os.environ["RFSCHED_LEASE_DIR"], uuid))


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


def test_a_driver_with_mig_devices(lib: Path, tmp_path: Path, new_workspace: Factory) -> None:
    """Declared memory holds for the whole machine, a part of a GPU goes by its UUID, and a stray process is told."""
    shutil.rmtree(os.environ["RFSCHED_LEASE_DIR"], ignore_errors=True)
    state = tmp_path / "gpus"

    def gpus(*strays: StubProcess) -> None:
        part = StubGpu(PART, "NVIDIA A100 MIG 1g.5gb", 5 * GIB)
        write_state(state, [StubGpu(GPU, parts=(part,)), StubGpu(OTHER, processes=strays)])

    gpus()
    env = {"LD_LIBRARY_PATH": str(lib), "RFSTUB_STATE": str(state)}
    one = new_workspace("one", gpu_count="auto", max_jobs_per_gpu=4, task_name="one", check_interval=0.2)
    two = new_workspace("two", gpu_count=[OTHER], max_jobs_per_gpu=4, task_name="two", check_interval=60.0)

    def add(ws: RealWorkspace, name: str, memory: str) -> None:
        command = "echo sees $CUDA_VISIBLE_DEVICES; exec sleep 600"
        ws.ok("add", "--name", name, "--gpu-memory", memory, "--share", "0.2", "--", command, **env)

    add(one, "large", "16GiB")
    large = one.runner("large")
    add(one, "part", "4.5GiB")
    part = one.runner("part")
    add(one, "larger", "20GiB")
    eventually(lambda: "sees 1\n" in one.log("large").replace("\r", ""))
    eventually(lambda: f"sees {PART}" in one.log("part"))
    assert one.job("part")["gpus"] == [2], "the emptier of the two, by its UUID"
    assert (promised(OTHER), promised(PART)) == ([16384], [4608])
    needs = "GPU 1: 8.0 GiB of 24.0 GiB neither used nor promised, 20.0 GiB needed"
    assert needs in waits(one, "larger", "threshold")["reason"]
    add(two, "other", "16GiB")
    assert "GPU 1: 8.0 GiB of 24.0 GiB" in waits(two, "other", "threshold")["reason"]

    children = {name: one.job_pids(name)[-1] for name in ("large", "part")}
    assert large not in children.values()
    assert part not in children.values()
    gpus(StubProcess(children["large"], GIB), StubProcess(children["part"], GIB))
    told = eventually(lambda: [line for line in one.ok("history").splitlines() if "but was given" in line])
    assert len(told) == 1
    assert f"part: uses GPU 1 (pid {children['part']}) but was given GPU 2" in told[0]
    gpus()
    one.ok("cancel", "large", "larger")
    two.wait_for("other", "running")  # woken by the ticket that went, long before the next sweep


def test_a_job_stopped_for_the_machines_memory_waits_again(new_workspace: Factory) -> None:
    """With a limit that every machine is above, the job that really holds memory goes, and the small one stays."""
    ws = new_workspace(max_ram=100, kill_ram=0.5)
    ws.ok("add", "--gpus", "0", "--name", "small", *SLEEP)
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    hog = f"import time; held = bytearray({total_kib * 1024 // 50}); held[::4096] = held[::4096]; time.sleep(600)"
    ws.ok("add", "--gpus", "0", "--name", "large", "--", sys.executable, "-c", hog)
    ws.runner("small")
    ws.wait_for("large", "running")
    row = waits(ws, "large", "backoff")
    assert row["reason"] == ("waits before the next try: too little memory in the machine: it was stopped to make room")
    assert (row["state"], row["retries_used"]) == ("queued", 0)
    assert "of the machine's memory is in use, limit 0.5 % (kill_ram); it uses" in ws.ok("history")
    assert ws.job("small")["state"] == "running"
