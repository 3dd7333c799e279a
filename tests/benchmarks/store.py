"""F: what the store costs on this disk."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import Attempt, Running
from researchflow_tmux.domain.events import AttemptStarted
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, GpuShare
from tests.benchmarks.measure import FOLDER, Measure, median_ms, memory_mib

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROOT = "/home/somebody/projects/image-classification"


def job(number: int, state: JobState = JobState.ACTIVE) -> Job:
    config = f"{ROOT}/configs/resnet50_lr0.001_seed{number}.yml"
    spec = JobSpec(
        source="config",
        key=f"configs/resnet50_lr0.001_seed{number}.yml",
        name=f"resnet50_lr0.001_seed{number}",
        shell=f"/home/somebody/miniconda3/envs/torch/bin/python {ROOT}/train.py --config_path {config}",
        workdir=ROOT,
        env_digest="4f" * 16,
        marker=f"{ROOT}/out/resnet50_lr0.001_seed{number}_completed.txt",
        output_dir=f"{ROOT}/out",
        config_path=config,
        digests={config: "ab" * 32, f"{ROOT}/train.py": "cd" * 32},
    )
    reason = Reason(code=ReasonCode.SUCCEEDED) if state.ended else None
    ended_at = NOW if state.ended else None
    slug = f"resnet50_lr0_001_seed{number}_abcdef"
    return Job(
        id=number,
        spec=spec,
        slug=slug,
        state=state,
        queued_at=NOW,
        reason=reason,
        attempts=1,
        started_at=NOW,
        ended_at=ended_at,
    )


def attempt(number: int) -> Attempt:
    return Attempt(
        job_id=number,
        number=1,
        allocation=Allocation(gpus=(GpuShare(uuid=f"GPU-{number:036d}", index=number % 8, share=1.0),)),
        session=f"experiment_resnet50_seed{number}_gpu{number % 8}",
        log=f"{ROOT}/logs/resnet50_seed{number}.log",
        planned_at=NOW,
        boot_id="b" * 36,
        hostname="gpu-server",
        phase=Running(started_at=NOW, runner_pid=number),
    )


def ms(work: Callable[[], object], times: int = 1) -> float:
    """Milliseconds of the median run."""
    return statistics.median(median_ms(work, times))


def measures(*, quick: bool) -> list[Measure]:
    """Everything, in temporary databases on the disk of the temporary directory."""
    with tempfile.TemporaryDirectory(prefix="rfb-", dir=FOLDER) as directory:
        many = 10_000 if quick else 100_000
        found = {**small(os.path.join(directory, "small", "state.db"))}
        path = os.path.join(directory, "large", "state.db")
        found |= large(path, many)
        found[f"memory of {many} loaded jobs"] = (in_a_process_of_its_own("--memory", path), "MiB")
    return [Measure(bench="F", what=what, value=value, unit=unit) for what, (value, unit) in found.items()]


def small(path: str) -> dict[str, tuple[float, str]]:
    """A workspace as most are."""
    store = SqliteStore(path, boot_id="b" * 36)
    store.commit([], [job(n) for n in range(1, 1001)], [attempt(n) for n in range(1, 1001)], at=NOW)
    numbers = iter(range(1, 1001))

    def one() -> None:
        number = next(numbers)
        started = AttemptStarted(job_id=number, number=1, runner_pid=number, started_at=NOW)
        store.commit([started], [job(number)], [attempt(number)], at=NOW)

    found = {
        "commit of 1 event + 1 job + 1 attempt": (ms(one, 300), "ms"),
        "nothing in the inbox": (ms(store.requests, 300), "ms"),
        "open a reader": (ms(lambda: SqliteReader(path).close(), 50), "ms"),
    }
    reader = SqliteReader(path)
    ids = list(range(1, 1001))
    found |= {
        "status: rows of 1 000 jobs": (ms(reader.jobs, 30), "ms"),
        "status: their latest attempts": (ms(lambda: reader.latest_attempts(ids), 30), "ms"),
        "counts by state": (ms(reader.counts_by_state, 30), "ms"),
    }
    reader.close()
    store.close()
    return found


def large(path: str, many: int) -> dict[str, tuple[float, str]]:
    """A workspace after years."""
    store = SqliteStore(path, boot_id="b" * 36)
    jobs = [job(n, JobState.SUCCEEDED) for n in range(1, many + 1)]
    found = {f"commit of {many} jobs": (ms(lambda: store.commit([], jobs, [], at=NOW)), "ms")}
    found["size of the file"] = (os.path.getsize(path) / 2**20, "MiB")
    store.close()
    jobs.clear()
    gc.collect()
    store = SqliteStore(path, boot_id="b" * 36)
    reader = SqliteReader(path)
    found |= {
        f"load of {many} jobs": (ms(store.load, 3), "ms"),
        f"counts by state at {many}": (ms(reader.counts_by_state, 10), "ms"),
        f"last 50 of {many}": (ms(lambda: reader.jobs(limit=50), 10), "ms"),
        f"all rows of {many}": (ms(reader.jobs), "ms"),
    }
    reader.close()
    store.close()
    return found


def in_a_process_of_its_own(*words: str) -> float:
    """Memory that nothing else has used before."""
    command = [sys.executable, "-m", "tests.benchmarks.store", *words]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory(path: str) -> float:
    """MiB that the jobs of a database take once they are loaded."""
    before, _ = memory_mib(os.getpid())
    stored = SqliteStore(path, boot_id="b" * 36).load()
    assert stored.jobs
    return memory_mib(os.getpid())[0] - before


if __name__ == "__main__":
    print(memory(sys.argv[2]))
