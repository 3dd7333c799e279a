"""What every benchmark uses: a measured value with its target, medians, /proc, and the machine it was measured on."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

TICKS = os.sysconf("SC_CLK_TCK")
FOLDER = os.environ.get("RFSCHED_BENCH_DIR", "/tmp")
"""Where workspaces, sockets and databases of the benchmarks are; a short path, on the disk that is to be measured."""


class Measure(msgspec.Struct, kw_only=True):
    """One line of the table."""

    bench: str
    what: str
    value: float | None
    """None = could not be measured; `note` says why."""
    unit: str
    target: float | None = None
    at_least: bool = False
    """The target is a lower bound."""
    samples: list[float] = []
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.target is None or self.value is None:
            return ""
        met = self.value >= self.target if self.at_least else self.value <= self.target
        return "met" if met else "missed"


def percentile(values: Sequence[float], pct: float) -> float:
    """The smallest value that `pct` % of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * pct // 100).__int__() - 1)]


def median_ms(work: Callable[[], object], times: int) -> list[float]:
    """Milliseconds of each of `times` runs."""
    spans = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        spans.append((time.perf_counter() - begin) * 1000)
    return spans


def of(samples: Sequence[float]) -> tuple[float, list[float]]:
    """The median, and the samples rounded for the report."""
    return statistics.median(samples), [round(sample, 4) for sample in samples]


def disk_waits_ms(times: int = 100) -> list[float]:
    """How long the disk makes a small new file wait: what nobody who promises durability can be faster than."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        numbers = iter(range(times))

        def once() -> None:
            fd = os.open(f"{folder}/{next(numbers)}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(fd, b"x" * 200)
            os.fsync(fd)
            os.close(fd)

        return median_ms(once, times)


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def child_cpu_s(pid: int) -> float:
    """CPU time of the ended children of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional (shared pages divided by their users) memory of a process."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:] if ":" in line
    )
    return (int(fields["Rss"].split()[0]) / 1024, int(fields["Pss"].split()[0]) / 1024)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    tmux = subprocess.run(["tmux", "-V"], capture_output=True, text=True, check=False).stdout.strip()
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "cores": f"{os.cpu_count()} ({model})",
        "python": f"{platform.python_version()} ({os.path.realpath(sys.executable)})",
        "tmux": tmux,
        "kernel": platform.release(),
        "tsp": shutil.which("tsp") or "missing (Debian package task-spooler)",
    }


def load() -> str:
    """The load average now."""
    return "/".join(f"{value:.2f}" for value in os.getloadavg())
