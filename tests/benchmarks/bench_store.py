"""What the store costs on this disk: `python tests/benchmarks/bench_store.py [DIRECTORY]`."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.attempt import Attempt, Running
from researchflow_tmux.domain.events import AttemptStarted
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, GpuShare

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
    spans = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spans.append(time.perf_counter() - start)
    return sorted(spans)[times // 2] * 1000


def rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def small(path: str) -> None:
    store = SqliteStore(path, boot_id="b" * 36)
    store.commit([], [job(n) for n in range(1, 1001)], [attempt(n) for n in range(1, 1001)], at=NOW)
    numbers = iter(range(1, 1001))

    def one() -> None:
        number = next(numbers)
        started = AttemptStarted(job_id=number, number=1, runner_pid=number, started_at=NOW)
        store.commit([started], [job(number)], [attempt(number)], at=NOW)

    print(f"commit of 1 event + 1 job + 1 attempt   {ms(one, 300):8.2f} ms (median of 300)")
    print(f"nothing in the inbox                    {ms(store.requests, 300):8.2f} ms")
    reader = SqliteReader(path)
    print(f"open a reader                           {ms(lambda: SqliteReader(path).close(), 50):8.2f} ms")
    print(f"status: rows of 1 000 jobs              {ms(reader.jobs, 30):8.2f} ms")
    ids = list(range(1, 1001))
    print(f"status: their latest attempts           {ms(lambda: reader.latest_attempts(ids), 30):8.2f} ms")
    print(f"counts by state                         {ms(reader.counts_by_state, 30):8.2f} ms")
    reader.close()
    store.close()


def large(path: str) -> None:
    store = SqliteStore(path, boot_id="b" * 36)
    jobs = [job(n, JobState.SUCCEEDED) for n in range(1, 100_001)]
    print(f"commit of 100 000 jobs                  {ms(lambda: store.commit([], jobs, [], at=NOW)):8.0f} ms")
    size_mib = os.path.getsize(path) / 2**20
    print(f"file: {size_mib:.0f} MiB")
    store.close()
    pid = os.fork()  # a fresh peak of memory
    if pid:
        os.waitpid(pid, 0)
        return
    store = SqliteStore(path, boot_id="b" * 36)
    stored = []
    print(f"load of 100 000 jobs                    {ms(lambda: stored.append(store.load())):8.0f} ms")
    print(f"again, file in memory                   {ms(store.load, 3):8.0f} ms")
    reader = SqliteReader(path)
    print(f"counts by state at 100 000              {ms(reader.counts_by_state, 10):8.2f} ms")
    print(f"last 50 of 100 000                      {ms(lambda: reader.jobs(limit=50), 10):8.2f} ms")
    print(f"all rows of 100 000                     {ms(reader.jobs):8.0f} ms", flush=True)
    os._exit(0)


def memory(path: str) -> None:
    """Memory of a loaded job, in a process of its own."""
    before = rss_mib()
    stored = SqliteStore(path, boot_id="b" * 36).load()
    print(f"memory of 100 000 loaded jobs           {rss_mib() - before:8.0f} MiB ({len(stored.jobs)})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        memory(sys.argv[2])
        sys.exit()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as directory:
        print(f"msgspec {msgspec.__version__}, {directory}")
        small(os.path.join(directory, "small", "state.db"))
        large(os.path.join(directory, "large", "state.db"))
        sys.stdout.flush()
        os.spawnl(
            os.P_WAIT,
            sys.executable,
            sys.executable,
            __file__,
            "--memory",
            os.path.join(directory, "large", "state.db"),
        )
