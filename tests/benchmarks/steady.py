"""D: what the scheduler costs with 1 000 queued and 100 running jobs and nobody looking. E: what commands cost then."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime

from researchflow_tmux.domain.attempt import Attempt, Running
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.resources import Allocation, GpuDevice, GpuShare, ResourceRequest
from researchflow_tmux.engine.decide import capacity, decide
from researchflow_tmux.engine.workload import Workload
from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, child_cpu_s, cpu_s, load, median_ms, memory_mib, of
from tests.workspaces import RFSCHED, RealWorkspace

QUEUED, RUNNING = 1000, 100
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def decision() -> list[Measure]:
    """D: one look at the room and one decision, with no slot free, one free, and jobs of fifty kinds."""
    lines = []
    for what, free, kinds in (("no slot free", 0, 1), ("one slot free", 1, 1), ("one free, jobs of 50 kinds", 1, 50)):
        workload, devices = _world(free, kinds)

        def once(workload: Workload = workload, devices: list[GpuDevice] = devices) -> None:
            decide(workload, capacity(workload, devices, share=0.25, max_cpu_jobs=2), NOW)

        value, samples = of(median_ms(once, 30))
        lines.append(Measure(bench="D", what=f"decision, {what}", value=value, unit="ms", target=5.0, samples=samples))
    return lines


def _world(free: int, kinds: int) -> tuple[Workload, list[GpuDevice]]:
    devices = [
        GpuDevice(uuid=f"g{index}", index=index, name="GPU", kind="simulated", leased=False) for index in range(25)
    ]
    jobs, attempts = [], []
    for number in range(1, QUEUED + RUNNING + 1):
        running = number <= RUNNING
        gpus = 1 if running else 1 + number % kinds % 25
        pinned = (number % kinds % 25,) if kinds > 1 and gpus == 1 else ()
        spec = JobSpec(
            source="command", key=f"k{number}", name=f"job{number}", argv=("true",), workdir="/", env_digest="d",
            request=ResourceRequest(gpus=gpus, pinned=pinned),
        )  # fmt: skip
        state = JobState.ACTIVE if running else JobState.QUEUED
        jobs.append(Job(id=number, spec=spec, slug=spec.name, state=state, queued_at=NOW, attempts=int(running)))
        if running and number > free:
            share = GpuShare(uuid=f"g{number % 25}", index=number % 25, share=0.25)
            attempts.append(
                Attempt(
                    job_id=number, number=1, allocation=Allocation(gpus=(share,)), session=f"s{number}", log=None,
                    planned_at=NOW, boot_id="b", hostname="h", phase=Running(started_at=NOW, runner_pid=number),
                )
            )  # fmt: skip
    return Workload(jobs, attempts), devices


def steady(repeats: int, *, quick: bool, parts: frozenset[str]) -> list[Measure]:
    """D and E over one real workspace: 100 jobs asleep, 1 000 waiting."""
    lines: list[Measure] = decision() if "D" in parts else []
    with contenders.workspace(gpu_count="simulated:25", max_jobs_per_gpu=4) as ws:
        pid = contenders.start_scheduler(ws)
        contenders.submit(ws, ["sleep", "1000"], QUEUED + RUNNING)
        contenders.wait_until_running(ws, RUNNING)
        time.sleep(2.0)
        if "D" in parts:
            lines += _footprint(ws, pid, 20.0 if quick else 60.0)
        if "E" in parts:
            lines += _commands(ws, max(repeats, 3) * (3 if quick else 7))
        contenders.kill_all(ws)
    return lines


def _footprint(ws: RealWorkspace, pid: int, seconds: float) -> list[Measure]:
    before, children, begin = cpu_s(pid), child_cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    span = time.monotonic() - begin
    busy = 100 * (cpu_s(pid) - before) / span
    helpers = 100 * (child_cpu_s(pid) - children) / span
    rss, pss = memory_mib(pid)
    with ws.api.reader() as reader:
        phases = [attempt.phase for attempt in reader.live_attempts()]
    runners = [memory_mib(phase.runner_pid) for phase in phases if isinstance(phase, Running)]
    sweep_s = ws.api.settings.check_interval
    note = f"{seconds:g} s, sweep every {sweep_s:g} s, its tmux clients {helpers:.2f} %, load {load()}"
    runner_rss = statistics.median(rss for rss, _ in runners)
    runner_pss = statistics.median(pss for _, pss in runners)
    return [
        Measure(bench="D", what="scheduler CPU, 100 running", value=busy, unit="% of a core", target=0.5, note=note),
        Measure(bench="D", what="scheduler RSS", value=rss, unit="MiB", target=60.0, note=f"PSS {pss:.1f} MiB"),
        Measure(
            bench="D", what="runner RSS", value=runner_rss, unit="MiB", target=12.0,
            note=f"median of {len(runners)}, PSS {runner_pss:.1f} MiB",
        ),
    ]  # fmt: skip


def _commands(ws: RealWorkspace, times: int) -> list[Measure]:
    """E: whole processes, interleaved with what they are compared to."""
    python = sys.executable
    commands = {
        "status": [RFSCHED, "status"],
        "status --json": [RFSCHED, "status", "--json"],
        "--help": [RFSCHED, "--help"],
        "import click": [python, "-c", "import click"],
        "python": [python, "-c", "pass"],
    }
    spans: dict[str, list[float]] = {name: [] for name in commands}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    # As installed: with compiled modules, which the first run leaves behind.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for argv in commands.values():
        subprocess.run(argv, cwd=ws.root, stdout=subprocess.DEVNULL, check=True, env=env)
    for _ in range(times):
        for name, argv in commands.items():

            def once(argv: list[str] = argv) -> None:
                subprocess.run(argv, cwd=ws.root, stdout=subprocess.DEVNULL, check=True, env=env)

            before = os.times()
            spans[name] += median_ms(once, 1)
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            cpu[name].append(used * 1000)
    note = f"median of {times}, load {load()}"
    ratio = statistics.median(a / b for a, b in zip(spans["--help"], spans["import click"], strict=True))
    lines = [
        Measure(bench="E", what=f"rfsched {name}, 1100 jobs", value=of(spans[name])[0], unit="ms", target=150.0,
                samples=of(spans[name])[1], note=f"CPU {statistics.median(cpu[name]):.0f} ms, {note}")
        for name in ("status", "status --json")
    ]  # fmt: skip
    base = statistics.median(spans["import click"])
    lines.append(
        Measure(bench="E", what="rfsched --help / import click", value=ratio, unit="x", target=1.3,
                note=f"{statistics.median(spans['--help']):.0f} / {base:.0f} ms, python alone "
                f"{statistics.median(spans['python']):.0f} ms, {note}")
    )  # fmt: skip
    return lines
