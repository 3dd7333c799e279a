"""The sampler's thread: when it measures, what it keeps, and that nothing goes wrong with it."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters import usage_file
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sample_store import series
from researchflow_tmux.domain.attempt import Attempt, Running
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.domain.usage import Watched
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.simulation.gpus import ScriptedGpus
from researchflow_tmux.simulation.load import Use
from researchflow_tmux.watching.sampler import Sampler
from tests.support import eventually
from tests.unit.engine.samples import NOW, attempt, device, slots

EVERY_S = 0.02


class Probe:
    """Scripted GPUs, counted; `hang` makes every reading wait."""

    def __init__(self) -> None:
        self.gpus = ScriptedGpus([device(0), device(1)])
        self.reads = 0
        self.gate = threading.Event()
        self.gate.set()

    def read(self) -> list[GpuReading]:
        self.reads += 1
        assert self.gate.wait(20)
        return self.gpus.read()


class Bench:
    def __init__(self, root: Path) -> None:
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        os.makedirs(self.paths.state)
        self.told: list[str] = []
        self.probe = Probe()
        self.sampler = self.new()

    def new(self) -> Sampler:
        sampler = Sampler(self.paths, SystemClock(), self.told.append)
        sampler.tune(EVERY_S, [device(0), device(1)], self.probe)
        return sampler

    def watched(self) -> Watched:
        found = usage_file.read(self.paths.usage)
        assert found is not None
        return found

    def later(self) -> Watched:
        """A measurement that begins from now on."""
        since = SystemClock().now()

        def look() -> Watched | None:
            found = usage_file.read(self.paths.usage)
            return found if found is not None and found.at > since else None

        return eventually(look, what="another measurement")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.probe.gate.set()
    made.sampler.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child of its own, as a runner has its job."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as process:
        yield process
        for grandchild in psutil.Process(process.pid).children():
            grandchild.kill()
        process.kill()


def running(pid: int) -> Attempt:
    return attempt(1, phase=Running(started_at=NOW, runner_pid=pid), allocation=slots(0))


def thread_of(bench: Bench) -> threading.Thread | None:
    return bench.sampler._thread


def test_nothing_is_measured_while_nothing_runs_or_waits(bench: Bench) -> None:
    bench.sampler.follow([], waiting=False)
    assert not thread_of(bench), "not even a thread"
    bench.sampler.follow([], waiting=True)
    bench.later()
    bench.sampler.follow([], waiting=False)
    thread = thread_of(bench)
    assert thread is not None
    thread.join(5 * EVERY_S)  # it lives on: this only lets time go by
    reads = bench.probe.reads
    thread.join(5 * EVERY_S)
    assert bench.probe.reads == reads


def test_a_running_job_is_measured_with_its_gpu(bench: Bench, child: subprocess.Popen[bytes]) -> None:
    bench.probe.gpus.follow(lambda: {"g0": [Use(child.pid, 9000, 72.0)]})
    bench.sampler.follow([running(child.pid)], waiting=False)
    watched = eventually(lambda: bench.later() if bench.later().jobs[0].usage.now.cpu_pct is not None else None)
    (job,) = watched.jobs
    assert job.key == (1, 1)
    assert 0.1 < (job.usage.now.rss_mib or 0) < 20
    assert (job.usage.now.gpu_mib, job.usage.now.gpu_util_pct) == (9000, 72.0)
    assert [gpu.reading.used_mib for gpu in watched.gpus] == [9003, 3]
    usage = bench.sampler.usage((1, 1))
    assert usage is not None
    assert usage.peak_gpu_mib == 9000
    now = SystemClock().now()
    _, kept = series(bench.paths.samples, now - timedelta(minutes=5), now)
    assert [(gpu.index, gpu.jobs[-1]) for gpu in kept] == [(0, 1.0), (1, 0.0)]


def test_peaks_survive_a_restart_of_the_scheduler(bench: Bench, child: subprocess.Popen[bytes]) -> None:
    bench.sampler.follow([running(child.pid)], waiting=False)
    before = bench.later().jobs[0].usage
    bench.sampler.close()
    raised = Watched(at=NOW, jobs=(replace(bench.watched().jobs[0], usage=replace(before, peak_rss_mib=7e6)),))
    usage_file.write(bench.paths.usage, raised)
    bench.sampler = bench.new()
    assert bench.sampler.usage((1, 1)) == raised.jobs[0].usage
    bench.sampler.follow([running(child.pid)], waiting=False)
    after = bench.later().jobs[0].usage
    assert after.peak_rss_mib == 7e6
    assert after.samples > before.samples


def test_what_has_ended_is_forgotten(bench: Bench, child: subprocess.Popen[bytes]) -> None:
    bench.sampler.follow([running(child.pid)], waiting=True)
    assert bench.later().jobs
    bench.sampler.follow([], waiting=True)
    eventually(lambda: not bench.later().jobs)
    assert bench.sampler.usage((1, 1)) is None


def test_gpus_that_cannot_be_read_leave_the_rest_measured(bench: Bench, child: subprocess.Popen[bytes]) -> None:
    bench.probe.gpus.fail_all("the driver is away")
    bench.sampler.follow([running(child.pid)], waiting=False)
    watched = bench.later()
    assert watched.error == "the driver is away"
    assert watched.gpus == ()
    (job,) = watched.jobs
    assert job.usage.now.rss_mib is not None
    assert (job.usage.now.gpu_mib, job.usage.now.gpu_util_pct) == (None, None)
    assert bench.told == []


def test_a_gpu_that_is_not_ours_is_not_kept(bench: Bench) -> None:
    bench.sampler.tune(EVERY_S, [device(1)], bench.probe)
    bench.sampler.follow([], waiting=True)
    assert [gpu.reading.index for gpu in bench.later().gpus] == [1]


def test_a_disk_that_refuses_is_told_once_and_once_when_it_is_over(bench: Bench) -> None:
    os.mkdir(bench.paths.usage)
    bench.sampler.follow([], waiting=True)
    eventually(lambda: bench.told)
    reads = bench.probe.reads
    eventually(lambda: bench.probe.reads > reads + 3, what="it goes on trying")
    assert len(bench.told) == 1
    assert bench.told[0].startswith("jobs cannot be measured for now: ")
    os.rmdir(bench.paths.usage)
    eventually(lambda: len(bench.told) == 2)
    assert "measured" in bench.told[1]


def test_an_interval_of_nought_switches_it_off(bench: Bench) -> None:
    bench.sampler.tune(0.0, [device(0)], bench.probe)
    bench.sampler.follow([], waiting=True)
    assert bench.sampler._thread is None


def test_a_driver_that_hangs_does_not_keep_the_scheduler_from_ending(bench: Bench) -> None:
    bench.probe.gate.clear()
    bench.sampler.follow([], waiting=True)
    eventually(lambda: bench.probe.reads)
    began = SystemClock().monotonic()
    bench.sampler.close(timeout_s=0.1)
    assert SystemClock().monotonic() - began < 10.0


def test_a_view_of_a_newer_version_or_no_view_at_all_is_none(tmp_path: Path) -> None:
    path = str(tmp_path / "usage.json")
    assert usage_file.read(path) is None
    usage_file.write(path, Watched(at=NOW, schema="rfsched.usage/9"))
    assert usage_file.read(path) is None
    Path(path).write_bytes(b"{")
    assert usage_file.read(path) is None
