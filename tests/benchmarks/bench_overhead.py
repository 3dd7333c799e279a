"""What scheduling takes of the time of jobs: real jobs of ten seconds, and what waits between them on a slot."""

from __future__ import annotations

import time
from collections.abc import Iterator

from researchflow_tmux.domain.attempt import Ended, Running
from tests.benchmarks import contenders
from tests.benchmarks.measure import Measure, child_cpu_s, cpu_s, load

JOBS, SLOTS, SECONDS = 24, 4, 10.0


def measures(*, quick: bool = False) -> Iterator[Measure]:
    """CPU of the scheduler, its tmux clients and all runners, and idle slot time, as parts of the time of the jobs."""
    jobs = SLOTS * 2 if quick else JOBS
    with contenders.workspace(gpu_count=f"simulated:{SLOTS}", max_jobs_per_gpu=1, policy="balanced") as ws:
        pid = contenders.start_scheduler(ws)
        before = cpu_s(pid) + child_cpu_s(pid)
        contenders.submit(ws, ["sleep", f"{SECONDS:g}"], jobs)
        runners: dict[int, float] = {}
        ended: list[Ended] = []
        while len(ended) < jobs:
            time.sleep(0.5)
            with ws.api.reader() as reader:
                live = [attempt.phase for attempt in reader.live_attempts()]
                ids = [job.id for job in reader.all_jobs() if job.attempts]
                latest = reader.latest_attempts(ids).values()
            for phase in live:
                if isinstance(phase, Running):
                    try:
                        runners[phase.runner_pid] = cpu_s(phase.runner_pid)
                    except OSError:  # it has ended just now
                        continue
            ended = [attempt.phase for attempt in latest if isinstance(attempt.phase, Ended)]
        used_s = cpu_s(pid) + child_cpu_s(pid) - before
    spans = sorted((each.started_at.timestamp(), each.ended_at.timestamp()) for each in ended if each.started_at)
    ran_s = sum(end - begin for begin, end in spans)
    whole_s = SLOTS * (max(end for _, end in spans) - spans[0][0])
    note = f"{jobs} jobs of {SECONDS:g} s on {SLOTS} slots, load {load()}"
    yield Measure(
        bench="R", what="CPU of scheduling, of the jobs' time", value=100 * (used_s + sum(runners.values())) / ran_s,
        unit="%", target=1.0, note=f"scheduler {1000 * used_s / jobs:.0f} ms a job, {note}",
    )  # fmt: skip
    yield Measure(
        bench="R", what="slots idle between jobs, of their time", value=100 * (1 - ran_s / whole_s), unit="%",
        target=1.0, note=note,
    )  # fmt: skip
