"""GPUs shared with other workspaces and other people's processes: the installed programs on a stub of the driver."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from researchflow_tmux.runner import tickets
from tests.nvml_stub import GIB, StubGpu, StubProcess, build_stub, write_state
from tests.support import eventually
from tests.workspaces import Factory, RealWorkspace, new_workspace

__all__ = ["new_workspace"]  # fixtures
pytestmark = pytest.mark.tmux

GPU = "GPU-00000000-1111-2222-3333-444444444444"
UNTIL_TOLD = """echo "$RFSCHED_ATTEMPT" >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"
echo "order=$CUDA_DEVICE_ORDER visible=$CUDA_VISIBLE_DEVICES"
while [ ! -e "$RFSCHED_WORKSPACE/go_$RFSCHED_JOB" ]; do sleep 0.05; done"""


class Machine:
    """The stub of the driver, and workspaces that see it."""

    def __init__(self, lib: Path, state: Path, make: Factory) -> None:
        self.env = {"LD_LIBRARY_PATH": str(lib), "RFSTUB_STATE": str(state)}
        self._state = state
        self._make = make
        self.gpus(StubGpu(uuid=GPU))

    def gpus(self, *gpus: StubGpu) -> None:
        write_state(self._state, gpus)

    def workspace(self, name: str, **settings: object) -> RealWorkspace:
        ws = self._make(name, gpu_count="auto", **{"max_jobs_per_gpu": 1, "task_name": name, **settings})
        ws.configure(gpu_count="auto", command=ws.script("wait.sh", UNTIL_TOLD), task_name=name, **settings)
        return ws


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture
def machine(lib: Path, tmp_path: Path, new_workspace: Factory) -> Machine:
    shutil.rmtree(os.environ["RFSCHED_LEASE_DIR"], ignore_errors=True)
    return Machine(lib, tmp_path / "gpus", new_workspace)


def go(ws: RealWorkspace, *names: str) -> None:
    for name in names:
        (ws.root / f"go_{name}").touch()


def held() -> float:
    """Sum of the shares that live tickets hold, by the kernel's word."""
    return sum(float(ticket["share"]) for ticket in tickets.live(os.environ["RFSCHED_LEASE_DIR"], GPU))


def test_two_workspaces_share_a_gpu_and_never_overbook_it(machine: Machine) -> None:
    halves = machine.workspace("halves", max_jobs_per_gpu=2)
    whole = machine.workspace("whole", max_jobs_per_gpu=1, check_interval=60.0)  # no sweep helps it
    for name in ("a1", "a2"):
        halves.config(name)
    halves.ok("start", **machine.env)
    halves.runner("a1")
    halves.runner("a2")
    whole.config("b")
    whole.ok("start", **machine.env)
    eventually(lambda: whole.job("b")["reason_code"] == "leased", what="b waits for the other workspace")
    assert "halves" in whole.reason("b"), "it says who holds the GPU"
    go(halves, "a1")
    halves.wait_for("a1", "succeeded")
    assert whole.states() == {"b": "queued"}, "half a GPU is not enough"
    began = time.monotonic()
    go(halves, "a2")
    eventually(lambda: whole.states()["b"] == "running", 5.0, what="b starts when the GPU is free")
    assert time.monotonic() - began < 3.0
    halves.config("a3")
    halves.ok("start", **machine.env)
    eventually(lambda: "whole" in halves.reason("a3"), what="a3 says that the other workspace has the GPU")
    assert held() == 1.0
    go(whole, "b")
    halves.runner("a3")
    assert held() == 0.5
    assert set((halves.runs() + whole.runs()).values()) == {1}


def test_a_cleaned_lease_directory_books_nothing_twice_here(machine: Machine) -> None:
    ws = machine.workspace("ws", max_jobs_per_gpu=1)
    ws.config("a")
    ws.ok("start", **machine.env)
    ws.runner("a")
    shutil.rmtree(os.environ["RFSCHED_LEASE_DIR"])
    ws.config("b")
    ws.ok("start", **machine.env)
    assert ws.states() == {"a": "running", "b": "queued"}
    go(ws, "a")
    ws.runner("b")
    assert held() == 1.0
    go(ws, "b")
    assert set(ws.settled().values()) == {"succeeded"}


def test_a_gpu_filled_by_others_is_not_used_until_they_leave(machine: Machine) -> None:
    ws = machine.workspace("ws", max_jobs_per_gpu=2)
    stranger = StubProcess(pid=os.getpid(), used_bytes=20 * GIB)
    machine.gpus(StubGpu(uuid=GPU, used_bytes=20 * GIB, processes=(stranger,)))
    ws.config("a")
    ws.ok("start", **machine.env)
    eventually(lambda: ws.job("a")["reason_code"] == "foreign")
    assert f"pid {os.getpid()}" in ws.reason("a")
    assert "20.0 of 24.0 GiB used by others" in ws.reason("a")
    machine.gpus(StubGpu(uuid=GPU))
    ws.runner("a")
    # What our own jobs use is not the others'.
    mine = StubProcess(pid=ws.job_pids("a")[0], used_bytes=20 * GIB)
    machine.gpus(StubGpu(uuid=GPU, used_bytes=20 * GIB, processes=(mine,)))
    eventually(lambda: ws.status()["gpus"][0]["used_mib"] == 20 * 1024, what="status shows the new reading")
    ws.config("b")
    ws.ok("start", **machine.env)
    ws.runner("b")


def test_inherited_limits_hold_and_wide_jobs_get_their_gpus_in_order(machine: Machine) -> None:
    ws = machine.workspace("ws", max_jobs_per_gpu=1)
    machine.gpus(*[StubGpu(uuid=f"GPU-0000000{number}-1111") for number in range(4)])
    ws.config("wide", gpus=2)
    ws.config("wider", gpus=3)
    ws.ok("start", **machine.env, CUDA_VISIBLE_DEVICES="3,1", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    ws.runner("wide")
    eventually(lambda: "order=PCI_BUS_ID visible=1,3" in ws.log("wide"))
    assert [gpu["index"] for gpu in ws.status()["gpus"]] == [1, 3]
    assert ws.job("wide")["session"] == "ws_wide_gpu1-3"
    assert ws.job("wider")["reason_code"] == "impossible"


def test_simulated_gpus_show_who_is_on_them(new_workspace: Factory) -> None:
    ws = new_workspace()
    ws.config("a", env={"NAP": "600"})
    ws.ok("start")
    ws.runner("a")
    busy = eventually(lambda: [gpu["index"] for gpu in ws.status()["gpus"] if gpu["util_pct"]])
    assert busy == [0]
