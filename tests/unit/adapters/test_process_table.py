"""The processes below a runner: on a made-up /proc, and on real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from researchflow_tmux.adapters.process_table import ProcessTable
from tests.support import eventually

TICKS_S = os.sysconf("SC_CLK_TCK")
PAGES_OF_A_MIB = 2**20 // os.sysconf("SC_PAGE_SIZE")


class Proc:
    """A /proc that the test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = ProcessTable(str(root))

    def put(self, pid: int, parent: int, *, own_s: int = 0, reaped_s: int = 0, mib: int = 0, name: str = "x") -> None:
        own, reaped = own_s * TICKS_S, reaped_s * TICKS_S
        fields = [
            "S",
            parent,
            pid,
            pid,
            0,
            -1,
            0,
            0,
            0,
            0,
            0,
            own,
            0,
            reaped,
            0,
            20,
            0,
            1,
            0,
            99,
            0,
            mib * PAGES_OF_A_MIB,
        ]
        (self.root / str(pid)).mkdir(exist_ok=True)
        (self.root / str(pid) / "stat").write_text(f"{pid} ({name}) " + " ".join(map(str, fields)) + " 0 0\n")

    def gone(self, pid: int) -> None:
        (self.root / str(pid) / "stat").unlink()


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").touch()
    return Proc(tmp_path)


def test_the_tree_below_a_runner_is_summed(proc: Proc) -> None:
    proc.put(1, 0)
    proc.put(10, 1, own_s=50, reaped_s=7, mib=20)  # the runner: its own time and memory are not the job's
    proc.put(11, 10, own_s=3, reaped_s=1, mib=100, name="a) b (")
    proc.put(12, 11, own_s=2, mib=30)
    proc.put(20, 1, mib=500)
    proc.table.read()
    loads = proc.table.below([10, 20, 99])
    assert loads[10].pids == {10, 11, 12}
    assert loads[10].cpu_s == pytest.approx(13.0)
    assert loads[10].rss_mib == pytest.approx(130.0)
    assert (loads[20].pids, loads[20].cpu_s, loads[20].rss_mib) == (frozenset({20}), 0.0, 0.0)
    assert 99 not in loads, "that runner is gone"


def test_cpu_time_does_not_shrink_when_a_child_ends_and_is_waited_for(proc: Proc) -> None:
    proc.put(10, 1)
    proc.put(11, 10, own_s=3)
    proc.put(12, 11, own_s=4)
    proc.table.read()
    before = proc.table.below([10])[10].cpu_s
    proc.gone(12)
    proc.put(11, 10, own_s=3, reaped_s=4)
    proc.table.read()
    assert proc.table.below([10])[10].cpu_s == before == pytest.approx(7.0)


def test_threads_of_the_kernel_are_looked_at_once(proc: Proc) -> None:
    proc.put(2, 0)
    proc.put(5, 2)
    proc.put(10, 1)
    proc.table.read()
    assert 5 in proc.table
    proc.put(5, 10, mib=7)  # the pid was given out again: seen at the latest after a minute of passes
    proc.table.read()
    assert proc.table.below([10])[10].pids == {10}
    for _ in range(60):
        proc.table.read()
    assert proc.table.below([10])[10].pids == {5, 10}


def test_what_vanishes_or_makes_no_sense_is_left_out(proc: Proc) -> None:
    proc.put(10, 1)
    (proc.root / "11").mkdir()
    (proc.root / "12").mkdir()
    (proc.root / "12" / "stat").write_text("12 (x) S 10")
    proc.table.read()
    assert proc.table.below([10])[10].pids == {10}


def test_circles_end(proc: Proc) -> None:
    proc.put(10, 12)
    proc.put(11, 10)
    proc.put(12, 11)
    proc.table.read()
    assert proc.table.below([10])[10].pids == {10, 11, 12}


def test_real_processes_as_psutil_sees_them() -> None:
    code = "import os, time; data = bytearray(64 << 20); os.fork(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code]) as job:
        table = ProcessTable()
        ours = psutil.Process()

        def look() -> bool:
            table.read()
            load = table.below([os.getpid()])[os.getpid()]
            children = ours.children(recursive=True)
            assert {child.pid for child in children} == set(load.pids) - {os.getpid()}
            assert len(children) >= 2
            rss_mib = sum(child.memory_info().rss for child in children) / 2**20
            assert load.rss_mib == pytest.approx(rss_mib, rel=0.2)
            return load.rss_mib > 100

        eventually(look, what="both processes are there with their memory")
        for child in ours.children(recursive=True):
            child.kill()
        assert job.wait(10) == -9
