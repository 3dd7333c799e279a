"""U: what measuring GPUs and jobs costs the scheduler: 8 GPUs of the stub of the driver, 20 jobs that sleep."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from researchflow_tmux.runner import reap
from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, load
from tests.nvml_stub import GIB, StubGpu, StubProcess, build_stub, write_state

GPUS, JOBS = 8, 20


def measures(*, quick: bool) -> list[Measure]:
    """With the usual interval and without any, for the scheduler and for its child that asks the driver."""
    lines = []
    for interval_s in (5.0, 0.0):
        settings = {"gpu_count": "auto", "max_jobs_per_gpu": 3, "sample_interval": interval_s}
        with contenders.workspace(**settings) as ws:
            state = ws.root / "gpus"
            write_state(state, _gpus([]))
            os.environ |= {"LD_LIBRARY_PATH": str(build_stub(ws.root)), "RFSTUB_STATE": str(state)}
            pid = contenders.start_scheduler(ws)
            contenders.submit(ws, ["sleep", "1000"], JOBS)
            contenders.wait_until_running(ws, JOBS)
            with ws.api.reader() as reader:
                workspace_id = reader.meta()["workspace_id"]
            write_state(state, _gpus([reap.find_by_cookie(f"{workspace_id}/{job}.1")[0] for job in range(1, JOBS + 1)]))
            time.sleep(12.0)
            lines += _cost(pid, f"sample_interval {interval_s:g}", 20.0 if quick else 60.0)
            contenders.kill_all(ws)
    return lines


def _gpus(pids: list[int]) -> list[StubGpu]:
    """The jobs' processes spread over the GPUs."""
    found = []
    for index in range(GPUS):
        processes = tuple(StubProcess(pid, 9 * GIB, util_pct=30) for pid in pids[index::GPUS])
        used = sum(process.used_bytes for process in processes)
        found.append(StubGpu(f"GPU-{index:08}", used_bytes=used, util_pct=30 * len(processes), processes=processes))
    return found


def _cost(pid: int, what: str, seconds: float) -> list[Measure]:
    children = [child.pid for child in psutil.Process(pid).children() if "nvml_child" in " ".join(child.cmdline())]
    watched = {"scheduler": [pid], "its child at the driver": children}
    before = {name: sum(map(_busy_s, pids)) for name, pids in watched.items()}
    time.sleep(seconds)
    return [
        Measure(
            bench="U",
            what=f"{name}, {what}",
            value=100.0 * (sum(map(_busy_s, pids)) - before[name]) / seconds,
            unit="% of a core",
            target=0.5,
            note=load(),
        )
        for name, pids in watched.items()
    ]


def _busy_s(pid: int) -> float:
    """CPU time of all threads, to the nanosecond: clock ticks are too coarse for this."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
