"""The machine's memory, read from files laid out as the kernel does, and from the kernel itself."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from researchflow_tmux.adapters.system_ram import SystemRam
from tests.support import eventually

MEMINFO = "MemTotal:       16777216 kB\nMemFree:          100000 kB\nMemAvailable:    8388608 kB\n"
GIB = 2**30


def machine(root: Path, files: Mapping[str, str]) -> SystemRam:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return SystemRam(proc=str(root / "proc"), groups=str(root / "groups"))


def group(path: str, limit: str, current: int, inactive: int = 0) -> dict[str, str]:
    return {
        f"groups{path}/memory.max": f"{limit}\n",
        f"groups{path}/memory.current": f"{current}\n",
        f"groups{path}/memory.stat": f"anon 5\ninactive_file {inactive}\nbroken\n",
    }


PLAIN = {"proc/meminfo": MEMINFO}
OWN = PLAIN | {"proc/self/cgroup": "0::/user.slice/job\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (PLAIN, (16384, 8192)),
        (OWN, (16384, 8192)),
        (OWN | group("/user.slice/job", "max", 5 * GIB), (16384, 8192)),
        # the tightest counts: our group, one above it, or the machine; caches are given back
        (OWN | group("/user.slice/job", str(4 * GIB), 3 * GIB, GIB), (4096, 2048)),
        (OWN | group("/user.slice", str(6 * GIB), 5 * GIB), (6144, 5120)),
        (OWN | group("/user.slice/job", str(64 * GIB), 3 * GIB), (16384, 8192)),
        # in a container our own group is the top of what can be seen
        (PLAIN | {"proc/self/cgroup": "0::/\n"} | group("", str(2 * GIB), GIB), (2048, 1024)),
        (PLAIN | {"proc/self/cgroup": "0::/../../x\n"} | group("", str(2 * GIB), GIB), (2048, 1024)),
        # what cannot be read is unknown
        ({}, None),
        ({"proc/meminfo": "MemTotal: 5 kB\n"}, None),
        ({"proc/meminfo": "MemTotal: 0 kB\nMemAvailable: 0 kB\n"}, None),
        ({"proc/meminfo": "MemTotal: many\nMemAvailable: 7 kB\n"}, None),
    ],
)
def test_where_least_is_left(tmp_path: Path, files: Mapping[str, str], expected: tuple[int, int] | None) -> None:
    reading = machine(tmp_path, files).read()
    assert (None if reading is None else (reading.total_mib, reading.used_mib)) == expected


def test_the_processes_below_a_runner_are_added_up(tmp_path: Path) -> None:
    def process(pid: int, parent: int, **files: str) -> dict[str, str]:
        stat = {f"proc/{pid}/stat": f"{pid} (a ) name) S {parent} 1 1\n"}
        return stat | {f"proc/{pid}/{name}": text for name, text in files.items()}

    ram = machine(
        tmp_path,
        process(10, 1)
        | process(11, 10, smaps_rollup="x\nRss: 999999 kB\nPss: 102400 kB\n")
        | process(12, 11, smaps_rollup="Pss: 51200 kB\n")
        | process(13, 12, statm=f"9 {GIB // os.sysconf('SC_PAGE_SIZE')} 1\n")
        | process(20, 1)
        | process(21, 20)
        | process(30, 1, smaps_rollup="Pss: 77777 kB\n"),
    )
    assert ram.used_by([10, 20, 99]) == {10: 100 + 50 + 1024}, "runners of which nothing can be read are left out"


def test_a_real_process_of_a_known_size() -> None:
    size = 64 * 2**20
    touch = f"for i in range(0, {size}, {mmap.PAGESIZE}): m[i] = 1"
    code = f"import mmap\nm = mmap.mmap(-1, {size})\n{touch}\nprint(flush=True)\ninput()"
    shell = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        parent.stdout.readline()
        used = eventually(lambda: SystemRam().used_by([parent.pid]))
        assert 64 <= used[parent.pid] < 200
        reading = SystemRam().read()
        assert reading is not None
        assert 64 < reading.used_mib < reading.total_mib
        parent.stdin.write(b"\n")
        parent.stdin.close()
