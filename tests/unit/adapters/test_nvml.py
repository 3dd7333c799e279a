"""What the NVML path does with a driver that lacks, hangs, dies or is not there. The real binding on a stub library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.adapters.nvml import NoDriver, NvmlProbe
from researchflow_tmux.adapters.nvml_process import CHILD
from researchflow_tmux.domain.errors import ProbeError
from tests.nvml_stub import (
    DRIVER_NOT_LOADED,
    GIB,
    GPU_IS_LOST,
    LIB_RM_VERSION_MISMATCH,
    NOT_AVAILABLE,
    NOT_SUPPORTED,
    StubGpu,
    StubProcess,
    build_stub,
    stub_environ,
    write_state,
)
from tests.support import eventually

ONE = [StubGpu("GPU-a")]
UNKNOWN = 999


class Bench:
    """A probe on the stub, with a clock that the test moves."""

    def __init__(self, lib: Path, state: Path) -> None:
        self.state = state
        self.now = 1000.0
        self.environ = stub_environ(lib, state)
        self.probe = NvmlProbe(environ=self.environ, deadline_s=0.5, start_deadline_s=5.0, monotonic=lambda: self.now)
        write_state(state, ONE)

    def refused(self) -> str:
        with pytest.raises(ProbeError) as caught:
            self.probe.read()
        return str(caught.value)

    def child(self) -> int:
        child = self.probe._child
        assert child is not None
        return child.pid


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture
def bench(lib: Path, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(lib, tmp_path / "state")
    yield bench
    bench.probe.close()


def test_what_the_driver_does_not_say_is_none_and_never_zero(bench: Bench) -> None:
    shy = StubGpu(
        "GPU-a",
        total_bytes=NOT_SUPPORTED,
        util_pct=NOT_SUPPORTED,
        temperature_c=NOT_SUPPORTED,
        power_mw=NOT_SUPPORTED,
        processes=(StubProcess(7, NOT_AVAILABLE),),
    )
    odd = StubGpu("GPU-b", total_bytes=NOT_AVAILABLE, used_bytes=NOT_AVAILABLE)
    vague = StubGpu("GPU-c", used_bytes=NOT_AVAILABLE)
    write_state(bench.state, [shy, odd, vague])
    for reading in bench.probe.read()[:2]:
        assert (reading.total_mib, reading.used_mib) == (None, None)
        assert reading.error is None
    first, _, third = bench.probe.read()
    assert (first.util_pct, first.temperature_c, first.power_w) == (None, None, None)
    assert [(process.pid, process.used_mib) for process in first.processes or ()] == [(7, None)]
    assert (third.total_mib, third.used_mib) == (24_576, None)


def test_compute_and_graphics_processes_are_one_list_by_pid(bench: Bench) -> None:
    processes = (
        StubProcess(30, 2 * GIB, "c"),
        StubProcess(30, 2 * GIB, "g"),
        StubProcess(10, NOT_AVAILABLE, "g"),
        StubProcess(10, GIB, "c"),
        StubProcess(20, 1, "g"),
        StubProcess(40, 999 * GIB, "c"),  # more than there is: no figure
    )
    write_state(bench.state, [StubGpu("GPU-a", processes=processes)])
    (reading,) = bench.probe.read()
    found = [(process.pid, process.used_mib) for process in reading.processes or ()]
    assert found == [(10, 1024), (20, 1), (30, 2048), (40, None)]


@pytest.mark.parametrize("old_driver", [False, True])
def test_more_processes_than_the_first_guess(bench: Bench, tmp_path: Path, old_driver: bool) -> None:
    probe = NvmlProbe(environ=stub_environ(build_stub(tmp_path, old_driver=old_driver), bench.state))
    write_state(bench.state, [StubGpu("GPU-a", processes=tuple(StubProcess(pid) for pid in range(1, 151)))])
    assert len(probe.read()[0].processes or ()) == 150
    probe.close()


def test_process_lists_that_are_refused_are_unknown_and_not_empty(bench: Bench) -> None:
    fail = {"nvmlDeviceGetComputeRunningProcesses": UNKNOWN, "nvmlDeviceGetGraphicsRunningProcesses": UNKNOWN}
    write_state(bench.state, ONE, fail=fail)
    assert bench.probe.read()[0].processes is None
    assert bench.probe.driver == "550.54.15"


def test_a_gpu_lost_from_the_start_has_no_name_but_a_number(bench: Bench) -> None:
    write_state(bench.state, [StubGpu("GPU-a", lost=True), StubGpu("GPU-b")])
    lost, well = bench.probe.read()
    assert (lost.uuid, lost.index, lost.error) == ("index-0", 0, "GPU is lost")
    assert well.uuid == "GPU-b"


def test_a_loss_is_definite_only_if_the_driver_says_so_of_this_gpu(bench: Bench) -> None:
    write_state(bench.state, [StubGpu("GPU-a", lost=True), StubGpu("GPU-b")], fail={})
    lost, well = bench.probe.read()
    assert (lost.lost, well.lost) == (True, False)
    write_state(bench.state, ONE, fail={"nvmlDeviceGetUUID": GPU_IS_LOST})
    assert bench.probe.read()[0].lost
    write_state(bench.state, ONE, fail={"nvmlDeviceGetHandleByIndex": UNKNOWN})
    (unknown,) = bench.probe.read()
    assert unknown.error is not None
    assert not unknown.lost, "trouble of any other kind is unknown, not lost"


def test_utilisation_by_process_is_that_since_the_look_before(bench: Bench) -> None:
    def read(*loads: tuple[int, int | None]) -> list[tuple[int, int | None]]:
        processes = tuple(StubProcess(pid, util_pct=util_pct) for pid, util_pct in loads)
        write_state(bench.state, [StubGpu("GPU-a", processes=processes)])
        return [(process.pid, process.util_pct) for process in bench.probe.read()[0].processes or ()]

    assert read((10, None), (20, None)) == [(10, None), (20, None)], "the driver has no samples at all"
    assert read((10, 60), (20, None)) == [(10, 60), (20, 0)], "only what keeps the GPU busy has samples"
    assert read((10, 20), (20, 70)) == [(10, 20), (20, 70)]
    stale = bench.state.read_bytes()
    bench.state.write_bytes(stale)
    assert [process.util_pct for process in bench.probe.read()[0].processes or ()] == [None, None], "nothing new"


def test_critical_errors_are_told_once_each_with_their_gpu(bench: Bench) -> None:
    def read(*gpus: StubGpu) -> list[tuple[int, ...]]:
        write_state(bench.state, gpus)
        return [reading.xids for reading in bench.probe.read()]

    well = StubGpu("GPU-b")
    assert read(StubGpu("GPU-a"), well) == [(), ()]
    assert read(StubGpu("GPU-a", xids=(13, 79)), well) == [(13, 79), ()]
    assert read(StubGpu("GPU-a", xids=(13, 79)), StubGpu("GPU-b", xids=(31,))) == [(), (31,)]
    many = tuple([43] * 100)
    assert len(read(StubGpu("GPU-a", xids=(13, 79, *many)), StubGpu("GPU-b", xids=(31,)))[0]) == 64
    assert len(bench.probe.read()[0].xids) == 36, "the rest with the next reading"


@pytest.mark.parametrize("call", ["nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlEventSetWait"])
def test_a_driver_without_events_is_read_all_the_same(bench: Bench, call: str) -> None:
    write_state(bench.state, [StubGpu("GPU-a", xids=(79,))], fail={call: UNKNOWN})
    (reading,) = bench.probe.read()
    assert (reading.error, reading.xids) == (None, ())


def test_no_gpus(bench: Bench) -> None:
    write_state(bench.state, [])
    assert bench.probe.read() == []


def test_one_child_answers_many_times(bench: Bench) -> None:
    bench.probe.read()
    first = bench.child()
    bench.probe.read()
    assert bench.child() == first


def test_a_driver_that_hangs_costs_the_deadline_and_the_child(bench: Bench) -> None:
    bench.probe.read()
    child = bench.child()
    write_state(bench.state, ONE, hang={"nvmlDeviceGetMemoryInfo": 600})
    began = time.monotonic()
    assert "did not answer within 0.5 s" in bench.refused()
    assert time.monotonic() - began < 2.5
    assert not os.path.exists(f"/proc/{child}")
    write_state(bench.state, ONE)
    assert len(bench.probe.read()) == 1
    assert bench.child() != child


def test_a_driver_that_keeps_hanging_is_asked_less_and_less_often(bench: Bench) -> None:
    bench.probe.read()
    write_state(bench.state, ONE, hang={"nvmlDeviceGetMemoryInfo": 600})
    words = [bench.refused(), bench.refused()]
    write_state(bench.state, ONE)
    assert "did not answer" in words[1]
    assert "did not answer" in bench.refused(), "asked again at once after the second failure"
    bench.now += 2.1
    assert len(bench.probe.read()) == 1
    # what went well is forgotten: the next failure is tried again at once
    write_state(bench.state, ONE, hang={"nvmlDeviceGetMemoryInfo": 600})
    bench.refused()
    write_state(bench.state, ONE)
    assert len(bench.probe.read()) == 1


def test_a_child_that_died_meanwhile_is_replaced_unnoticed(bench: Bench) -> None:
    bench.probe.read()
    child = bench.child()
    os.kill(child, signal.SIGKILL)
    eventually(lambda: not _runs(child))
    assert len(bench.probe.read()) == 1


def test_a_child_that_dies_in_the_driver_is_an_error_and_then_replaced(bench: Bench) -> None:
    write_state(bench.state, ONE, crash=["nvmlDeviceGetUUID"])
    assert "was killed by SIGSEGV" in bench.refused()
    write_state(bench.state, ONE)
    assert len(bench.probe.read()) == 1


def test_a_mismatch_of_library_and_module_advises_a_restart(bench: Bench) -> None:
    write_state(bench.state, ONE, init=LIB_RM_VERSION_MISMATCH)
    assert "restart the machine" in bench.refused()
    write_state(bench.state, ONE)
    assert len(bench.probe.read()) == 1


def test_no_driver_is_a_fact_that_is_remembered(bench: Bench) -> None:
    write_state(bench.state, ONE, init=DRIVER_NOT_LOADED)
    with pytest.raises(NoDriver, match="no NVIDIA driver: Driver Not Loaded"):
        bench.probe.read()
    assert bench.probe._child is None
    write_state(bench.state, ONE)
    with pytest.raises(NoDriver):
        bench.probe.read()


def test_no_library(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    probe = NvmlProbe(environ={"LD_LIBRARY_PATH": str(tmp_path)})
    with pytest.raises(NoDriver, match="no NVIDIA driver: NVML Shared Library Not Found"):
        probe.read()


@pytest.mark.parametrize("talk", ["print('not json')", "print('[]')", "print('{\"id\": 77}')", "raise SystemExit(3)"])
def test_a_child_that_does_not_keep_to_the_protocol_is_ended(
    talk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "child.py"
    script.write_text(f"import sys\nsys.stdin.readline()\n{talk}\nsys.stdout.flush()\nsys.stdin.readline()\n")
    monkeypatch.setattr("researchflow_tmux.adapters.nvml_process.CHILD", str(script))
    probe = NvmlProbe()
    with pytest.raises(ProbeError, match="GPU reader"):
        probe.read()
    assert probe._child is not None
    assert not probe._child.alive


@pytest.mark.parametrize("hangs", [False, True])
def test_the_child_goes_when_its_parent_is_killed(bench: Bench, hangs: bool) -> None:
    write_state(bench.state, ONE, hang={"nvmlDeviceGetMemoryInfo": 600} if hangs else {})
    script = """
        import sys
        from researchflow_tmux.adapters.nvml_process import NvmlChild
        child = NvmlChild(None)
        print(child.pid, flush=True)
        try:
            child.request(0.2)
        finally:
            sys.stdin.read()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=bench.environ | {"PYTHONPATH": str(Path(CHILD).parents[2])},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    eventually(lambda: not _runs(child), what="the child to go")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_child_loads_nothing_of_the_package(bench: Bench) -> None:
    bench.probe.read()
    maps = Path(f"/proc/{bench.child()}/maps").read_text()
    assert "libnvidia-ml.so.1" in maps
    assert "msgspec" not in maps


def test_mig_devices_are_numbered_after_the_gpus_and_have_their_own_memory_and_processes(bench: Bench) -> None:
    parts = (
        StubGpu("MIG-1", "NVIDIA A100 MIG 3g.20gb", 20 * GIB, 5 * GIB, processes=(StubProcess(71, 4 * GIB),)),
        StubGpu("MIG-2", "NVIDIA A100 MIG 2g.10gb", 10 * GIB, 0),
    )
    write_state(bench.state, [StubGpu("GPU-a", temperature_c=61, parts=parts), StubGpu("GPU-b")])
    whole, plain, first, second = bench.probe.read()
    assert [(gpu.index, gpu.uuid, gpu.split, gpu.parent) for gpu in (whole, plain, first, second)] == [
        (0, "GPU-a", True, None),
        (1, "GPU-b", False, None),
        (2, "MIG-1", False, "GPU-a"),
        (3, "MIG-2", False, "GPU-a"),
    ]
    assert (first.name, first.total_mib, first.used_mib) == ("NVIDIA A100 MIG 3g.20gb", 20 * 1024, 5 * 1024)
    assert first.processes is not None
    assert [(process.pid, process.used_mib) for process in first.processes] == [(71, 4096)]
    assert second.processes == ()
    assert (first.util_pct, first.power_w, first.temperature_c) == (None, None, 61), "unknown, and the GPU's warmth"
    assert plain.max_power_w == 350.0


def test_a_lost_gpu_takes_its_mig_devices_along(bench: Bench) -> None:
    parts = (StubGpu("MIG-1", total_bytes=20 * GIB),)
    write_state(bench.state, [StubGpu("GPU-a", parts=parts), StubGpu("GPU-b")])
    assert [gpu.uuid for gpu in bench.probe.read()] == ["GPU-a", "GPU-b", "MIG-1"]
    write_state(bench.state, [StubGpu("GPU-a", parts=parts, lost=True), StubGpu("GPU-b")])
    lost, other, part = bench.probe.read()
    assert (lost.lost, other.lost, part.lost) == (True, False, True)
    assert (part.uuid, part.index, part.error, part.total_mib) == ("MIG-1", 2, lost.error, None)
    write_state(bench.state, [StubGpu("GPU-a", parts=parts, xids=(79,)), StubGpu("GPU-b")])
    assert [(gpu.uuid, gpu.lost, gpu.xids) for gpu in bench.probe.read()] == [
        ("GPU-a", False, (79,)),
        ("GPU-b", False, ()),
        ("MIG-1", False, (79,)),
    ]


def test_mig_mode_without_a_device_and_drivers_that_know_no_mig(bench: Bench, tmp_path: Path) -> None:
    write_state(bench.state, [StubGpu("GPU-a", parts=())])
    assert [(gpu.uuid, gpu.split) for gpu in bench.probe.read()] == [("GPU-a", True)]
    old = Bench(build_stub(tmp_path, old_driver=True), tmp_path / "old")
    try:
        assert [(gpu.uuid, gpu.split, gpu.max_power_w) for gpu in old.probe.read()] == [("GPU-a", False, None)]
    finally:
        old.probe.close()


def links_of(bench: Bench) -> dict[str, dict[str, str]]:
    return {uuid: {link.uuid: str(link) for link in found.links} for uuid, found in bench.probe.survey().items()}


def test_a_survey_tells_compute_capability_and_how_gpus_are_connected(bench: Bench) -> None:
    gpus = [
        StubGpu("GPU-a", capability=(8, 0), nvlinks=(1, 1, None, 2)),
        StubGpu("GPU-b", capability=(8, 0), nvlinks=(0, 0)),
        StubGpu("GPU-c", nvlinks=(0,)),
        StubGpu("GPU-d", capability=(7, 5)),
    ]
    write_state(bench.state, gpus, ways={(0, 1): 50, (0, 2): 30, (1, 2): 10, (0, 3): 40, (1, 3): 20})
    found = bench.probe.survey()
    assert {uuid: traits.capability for uuid, traits in found.items()} == {
        "GPU-a": (8, 0),
        "GPU-b": (8, 0),
        "GPU-c": None,
        "GPU-d": (7, 5),
    }
    assert links_of(bench) == {
        "GPU-a": {"GPU-b": "NV2", "GPU-c": "NV1", "GPU-d": "NODE"},
        "GPU-b": {"GPU-a": "NV2", "GPU-c": "PIX", "GPU-d": "PXB"},
        "GPU-c": {"GPU-a": "NV1", "GPU-b": "PIX"},  # nothing is known of the way to GPU-d
        "GPU-d": {"GPU-a": "NODE", "GPU-b": "PXB"},
    }


def test_nvlinks_that_lead_to_a_switch_connect_those_that_reach_each_other_through_it(bench: Bench) -> None:
    gpus = [StubGpu(f"GPU-{letter}", nvlinks=(-1,) * links) for letter, links in (("a", 12), ("b", 12), ("c", 6))]
    write_state(bench.state, gpus, ways=dict.fromkeys([(0, 1), (0, 2), (1, 2)], 50), cut=[(1, 2)])
    assert links_of(bench)["GPU-a"] == {"GPU-b": "NV12", "GPU-c": "NV6"}
    assert links_of(bench)["GPU-b"] == {"GPU-a": "NV12", "GPU-c": "SYS"}


def test_a_mig_device_has_the_capability_of_its_gpu_and_no_links(bench: Bench) -> None:
    part = StubGpu("MIG-1", name="NVIDIA A100-SXM4-80GB MIG 1g.10gb", total_bytes=10 * GIB)
    gpus = [StubGpu("GPU-a", capability=(8, 0), parts=(part,)), StubGpu("GPU-b", capability=(8, 0))]
    write_state(bench.state, gpus, ways={(0, 1): 10})
    found = bench.probe.survey()
    assert (found["MIG-1"].capability, found["MIG-1"].links) == ((8, 0), ())


def test_an_old_driver_or_a_lost_gpu_says_less_and_breaks_nothing(bench: Bench, tmp_path: Path) -> None:
    old = NvmlProbe(environ=stub_environ(build_stub(tmp_path, old_driver=True), bench.state))
    write_state(bench.state, [StubGpu("GPU-a", capability=(8, 0)), StubGpu("GPU-b")], ways={(0, 1): 10})
    assert [(found.capability, found.links) for found in old.survey().values()] == [(None, ()), (None, ())]
    old.close()
    write_state(bench.state, [StubGpu("GPU-a", capability=(8, 0)), StubGpu("GPU-b", lost=True)], ways={(0, 1): 10})
    assert {uuid: found.capability for uuid, found in bench.probe.survey().items()} == {"GPU-a": (8, 0)}


def test_a_survey_that_hangs_is_ended_and_reading_goes_on(bench: Bench) -> None:
    bench.probe.read()
    write_state(bench.state, ONE, hang={"nvmlDeviceGetCudaComputeCapability": 60})
    with pytest.raises(ProbeError, match="did not answer"):
        bench.probe.survey()
    assert [reading.uuid for reading in bench.probe.read()] == ["GPU-a"]
