"""What every GpuProbe promises: the scripted one, and the real NVML path on a library that is a stub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from researchflow_tmux.adapters.gpu_choice import simulated
from researchflow_tmux.adapters.nvml import NvmlProbe
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.ports import GpuProbe
from researchflow_tmux.simulation.gpus import ScriptedGpus
from tests.nvml_stub import StubGpu, StubProcess, build_stub, stub_environ, write_state

MIB = 1024**2


class Machine(Protocol):
    """A machine with two GPUs, whose state the test says."""

    probe: GpuProbe
    uuids: list[str]

    def intrude(self, gpu: int, pid: int, used_mib: int) -> None: ...
    def lose(self, gpu: int, lost: bool) -> None: ...
    def break_driver(self, broken: bool) -> None: ...
    def fault(self, gpu: int, xid: int) -> bool:
        """The driver meets a critical error on the GPU; False = this driver tells nobody."""
        ...


class ScriptedMachine:
    def __init__(self) -> None:
        inventory = simulated("simulated:2")
        assert inventory is not None
        self.uuids = [device.uuid for device in inventory.devices]
        self.scripted = ScriptedGpus(inventory.devices)
        self.probe: GpuProbe = self.scripted

    def intrude(self, gpu: int, pid: int, used_mib: int) -> None:
        self.scripted.intrude(self.uuids[gpu], pid, used_mib)

    def lose(self, gpu: int, lost: bool) -> None:
        self.scripted.fail(self.uuids[gpu], "GPU is lost" if lost else None, lost=True)

    def break_driver(self, broken: bool) -> None:
        self.scripted.fail_all("the driver hangs" if broken else None)

    def fault(self, gpu: int, xid: int) -> bool:
        self.scripted.fault(self.uuids[gpu], xid)
        return True


class StubMachine:
    def __init__(self, lib: Path, state: Path, *, tells_xids: bool) -> None:
        self.uuids = ["GPU-aaaa", "GPU-bbbb"]
        self.tells_xids = tells_xids
        self.xids: list[tuple[int, ...]] = [(), ()]
        self.lost, self.broken = [False, False], False
        self.processes: list[dict[int, int]] = [{}, {}]
        self.state = state
        self.nvml = NvmlProbe(environ=stub_environ(lib, state))
        self.probe: GpuProbe = self.nvml
        self.write()

    def write(self) -> None:
        gpus = [
            StubGpu(
                uuid,
                lost=self.lost[index],
                xids=self.xids[index],
                used_bytes=sum(self.processes[index].values()) * MIB,
                processes=tuple(StubProcess(pid, used * MIB) for pid, used in self.processes[index].items()),
            )
            for index, uuid in enumerate(self.uuids)
        ]
        write_state(self.state, gpus, fail={"nvmlDeviceGetCount": 999} if self.broken else {})

    def intrude(self, gpu: int, pid: int, used_mib: int) -> None:
        self.processes[gpu] = {pid: used_mib} if used_mib else {}
        self.write()

    def lose(self, gpu: int, lost: bool) -> None:
        self.lost[gpu] = lost
        self.write()

    def break_driver(self, broken: bool) -> None:
        self.broken = broken
        self.write()

    def fault(self, gpu: int, xid: int) -> bool:
        self.xids[gpu] += (xid,)
        self.write()
        return self.tells_xids


@pytest.fixture(scope="module")
def libs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("stub")
    return {"nvml": build_stub(place), "old driver": build_stub(place, old_driver=True)}


@pytest.fixture(params=["scripted", "nvml", "old driver"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    if request.param == "scripted":
        yield ScriptedMachine()
        return
    lib = request.getfixturevalue("libs")[request.param]
    stub = StubMachine(lib, tmp_path / "state", tells_xids=request.param == "nvml")
    yield stub
    stub.nvml.close()


def test_one_reading_per_gpu_by_index(machine: Machine) -> None:
    readings = machine.probe.read()
    assert [reading.uuid for reading in readings] == machine.uuids
    assert [reading.index for reading in readings] == [0, 1]


def test_an_idle_gpu_has_plausible_figures(machine: Machine) -> None:
    for reading in machine.probe.read():
        assert reading.name
        assert reading.error is None
        assert reading.total_mib == 24_576
        assert reading.used_mib is not None
        assert reading.used_mib < 1024
        assert reading.util_pct == 0
        assert 20 <= (reading.temperature_c or 0) <= 60
        assert 5 <= (reading.power_w or 0) <= 100
        assert reading.processes == ()


def test_a_process_shows_with_its_memory_and_goes(machine: Machine) -> None:
    machine.intrude(1, os.getpid(), 3000)
    idle, busy = machine.probe.read()
    assert idle.processes == ()
    assert [(process.pid, process.used_mib) for process in busy.processes or ()] == [(os.getpid(), 3000)]
    assert (busy.used_mib or 0) >= 3000
    machine.intrude(1, os.getpid(), 0)
    assert machine.probe.read()[1].processes == ()


def test_a_lost_gpu_is_an_error_of_its_own_and_may_come_back(machine: Machine) -> None:
    assert len(machine.probe.read()) == 2
    machine.lose(0, True)
    lost, well = machine.probe.read()
    assert (lost.uuid, lost.error, lost.lost) == (machine.uuids[0], "GPU is lost", True)
    assert (lost.total_mib, lost.used_mib, lost.util_pct, lost.processes) == (None, None, None, None)
    assert (well.error, well.lost) == (None, False)
    assert well.total_mib == 24_576
    machine.lose(0, False)
    assert [reading.error for reading in machine.probe.read()] == [None, None]


def test_a_critical_error_comes_with_one_reading_only(machine: Machine) -> None:
    assert [reading.xids for reading in machine.probe.read()] == [(), ()]
    if machine.fault(1, 79):
        assert [reading.xids for reading in machine.probe.read()] == [(), (79,)]
    assert [reading.xids for reading in machine.probe.read()] == [(), ()]


def test_nothing_to_be_said_is_an_error_and_not_an_empty_list(machine: Machine) -> None:
    machine.break_driver(True)
    with pytest.raises(ProbeError):
        machine.probe.read()
    machine.break_driver(False)
    assert len(machine.probe.read()) == 2
