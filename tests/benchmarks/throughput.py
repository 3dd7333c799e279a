"""A: what a job costs. B: how busy the slots are. C: how long a slot is empty between two jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from tests.benchmarks import contenders
from tests.benchmarks.measure import FOLDER, Measure, disk_waits_ms, load, of, percentile
from tests.benchmarks.stamps import Stamp

A_TARGET_MS, B_TARGET_PCT, C_P50_MS, C_P99_MS = 25.0, 80.0, 40.0, 150.0


def _rounds(
    jobs: int, slots: int, seconds: float, repeats: int, figure: Callable[..., float]
) -> dict[str, list[float]]:
    """`figure` of every contender, `repeats` times, turn by turn so that all suffer the same neighbours."""
    found: dict[str, list[float]] = {name: [] for name in contenders.available()}
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
        stamp = Stamp(Path(folder))
        for _ in range(repeats):
            for name, contender in contenders.available().items():
                if contender is not None:
                    begin, spans = contender(stamp, jobs, slots, seconds)
                    found[name].append(figure(begin, spans))
    return found


def _measures(
    bench: str, what: str, unit: str, found: dict[str, list[float]], target: float, **more: bool
) -> list[Measure]:
    lines = []
    for name, samples in found.items():
        value, rounded = of(samples) if samples else (None, [])
        note = f"load {load()}" if samples else "not installed"
        aim = target if name == "rfsched" else None
        lines.append(
            Measure(
                bench=bench,
                what=f"{what}: {name}",
                value=value,
                unit=unit,
                target=aim,
                samples=rounded,
                note=note,
                **more,
            )
        )
    return lines


def cost_of_a_job(repeats: int, *, quick: bool) -> list[Measure]:
    """A."""
    jobs, slots = (60 if quick else 200), 4

    def ms_a_job(begin: float, spans: contenders.Spans) -> float:
        return (max(end for _, end in spans) - begin) * 1000 / len(spans)

    found = _rounds(jobs, slots, 0.0, repeats, ms_a_job)
    return _measures("A", f"{jobs} no-op jobs, {slots} slots", "ms/job", found, A_TARGET_MS)


def busy_slots(repeats: int, *, quick: bool) -> list[Measure]:
    """B."""
    jobs, slots, nap = (20 if quick else 40), 2, 0.2

    def busy_pct(begin: float, spans: contenders.Spans) -> float:
        makespan = max(end for _, end in spans) - min(start for start, _ in spans)
        return 100 * jobs * nap / (makespan * slots)

    found = _rounds(jobs, slots, nap, repeats, busy_pct)
    return _measures("B", f"{jobs} x sleep {nap}, {slots} slots", "% busy", found, B_TARGET_PCT, at_least=True)


def gaps(repeats: int, *, quick: bool) -> list[Measure]:
    """C: one free slot, so that each job follows the one before it on the same slot."""
    jobs = 60 if quick else 150
    lines = []
    for others in (0, 100):
        samples: list[float] = []
        disk = disk_waits_ms()
        with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as folder:
            for _ in range(max(1, repeats - 1)):
                samples += _gaps(Stamp(Path(folder)), jobs, others)
        what, note = f"gap between jobs, {others} others running", f"{len(samples)} gaps, load {load()}"
        disk += disk_waits_ms()
        note += f", fsync of a new file p50 {percentile(disk, 50):.1f} p99 {percentile(disk, 99):.0f} ms"
        for name, pct, target in (("p50", 50, C_P50_MS), ("p99", 99, C_P99_MS)):
            value = percentile(samples, pct)
            lines.append(Measure(bench="C", what=f"{what}: {name}", value=value, unit="ms", target=target, note=note))
    return lines


def _gaps(stamp: Stamp, jobs: int, others: int) -> list[float]:
    with contenders.workspace(gpu_count=f"simulated:{others + 1}", max_jobs_per_gpu=1) as ws:
        contenders.start_scheduler(ws)
        contenders.submit(ws, ["sleep", "1000"], others)
        contenders.wait_until_running(ws, others)
        file = ws.root / "stamps"
        contenders.submit(ws, stamp.argv(file, 0.02), jobs, first=others)
        spans = stamp.wait_for(file, jobs)
        contenders.kill_all(ws)
    return [(later[0] - earlier[1]) * 1000 for earlier, later in pairwise(spans)]
