"""What a decision costs: `python -m tests.benchmarks.bench_decide`. 1 000 queued, 100 running, no disk, no tmux."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from researchflow_tmux.domain.attempt import Attempt, Running
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.limits import GpuLimits
from researchflow_tmux.domain.resources import Allocation, GpuDevice, GpuShare, ResourceRequest
from researchflow_tmux.engine.capacity import Seen
from researchflow_tmux.engine.context import Rules
from researchflow_tmux.engine.decide import Capacity, capacity, decide, explain
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.load import GpuLoad
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.simulation.clock import VirtualClock
from researchflow_tmux.simulation.drive import MemoryWaiter
from researchflow_tmux.simulation.leases import ScriptedLeases
from researchflow_tmux.simulation.memory_store import MemoryStore
from researchflow_tmux.simulation.script import Script
from researchflow_tmux.simulation.session_host import MemoryHost

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUED, RUNNING, GPUS = 1_000, 100, 26
SHARE = 1 / 4
TARGET_MS = 5.0
DEVICES = [GpuDevice(uuid=f"g{index}", index=index, name="GPU", kind="simulated") for index in range(GPUS)]

Make = Callable[[int], ResourceRequest]


def alike(_number: int) -> ResourceRequest:
    """A sweep."""
    return ResourceRequest()


def mixed(number: int) -> ResourceRequest:
    """Everybody wants something else."""
    pins = (number % GPUS,) if number % 5 == 0 else ()
    return ResourceRequest(gpus=number % 4, pinned=pins, time_limit_s=float(number))


def careful(number: int) -> ResourceRequest:
    """Sweeps that declare memory and mind thresholds, forty kinds of request in all; no GPU has room for any."""
    limits = GpuLimits(max_memory_pct=80.0, max_util_pct=float(60 + number % 5))
    return ResourceRequest(gpu_memory_mib=9_000 + 500 * (number % 8), share=0.2, limits=limits)


def workload(make: Make, *, chain: bool = False) -> Workload:
    """100 running on 25 of 26 GPUs, 1 000 queued."""
    jobs = [_job(number, JobState.ACTIVE, alike(number)) for number in range(1, RUNNING + 1)]
    for number in range(RUNNING + 1, RUNNING + QUEUED + 1):
        jobs.append(_job(number, JobState.QUEUED, make(number), after=(number - 1,) if chain else ()))
    return Workload(jobs, [_attempt(job.id) for job in jobs[:RUNNING]], len(jobs) + 1)


def _job(number: int, state: JobState, request: ResourceRequest, after: tuple[int, ...] = ()) -> Job:
    spec = JobSpec(
        source="config", key=f"{number}.yml", name=f"job{number}", shell="true", workdir="/", env_digest="e",
        request=request, after=after,
    )  # fmt: skip
    attempts = int(state is JobState.ACTIVE)
    return Job(id=number, spec=spec, slug=f"job{number}", state=state, queued_at=NOW, attempts=attempts)


def _attempt(number: int) -> Attempt:
    gpu = (number - 1) // 4
    return Attempt(
        job_id=number,
        number=1,
        allocation=Allocation(gpus=(GpuShare(uuid=f"g{gpu}", index=gpu, share=SHARE),)),
        session=f"t_job{number}_gpu{gpu}",
        log=None,
        planned_at=NOW,
        boot_id="b",
        hostname="h",
        phase=Running(started_at=NOW, runner_pid=number),
    )


def room(known: Workload) -> Capacity:
    """As one decision sees it."""
    return capacity(known, DEVICES, share=SHARE, max_cpu_jobs=8)


def measured_room(known: Workload) -> Capacity:
    """The same with readings of every GPU."""
    loads = {device.uuid: GpuLoad(total_mib=24_000, used_mib=18_000, processes=4, util_pct=90.0) for device in DEVICES}
    return capacity(known, DEVICES, share=0.2, max_cpu_jobs=8, seen=Seen(loads=loads), now=NOW)


def engine(known: Workload) -> tuple[Engine, MemoryHost, VirtualClock]:
    """An engine over memory ports, all slots full, its running jobs really running."""
    clock = VirtualClock(NOW)
    host = MemoryHost(clock)
    host.scripts.set("job1", Script(duration_s=None))
    store = MemoryStore()
    store.save_environment("e", {})
    store.commit([], known.jobs.values(), known.attempts.values(), at=NOW)
    for attempt in known.attempts.values():
        host.adopt(attempt, Script(duration_s=1.0 + attempt.job_id))
    reader = RoomReader(
        devices=DEVICES[:-1], probe=None, leases=ScriptedLeases(), clock=clock, share=SHARE, max_cpu_jobs=0,
        own_tag_prefix="sim/",
    )  # fmt: skip
    rules = Rules(workspace_id="sim", prefix="t", hostname="h")
    return Engine(rules=rules, clock=clock, store=store, host=host, room=reader, waiter=MemoryWaiter(host)), host, clock


def measure(what: str, run: Callable[[], object], times: int = 300) -> None:
    """Print p50 and p99 of the CPU time in milliseconds."""
    took = []
    for _ in range(times):
        began = time.process_time_ns()  # not the wall clock: others compute on this machine, too
        run()
        took.append((time.process_time_ns() - began) / 1e6)
    took.sort()
    p99 = took[int(len(took) * 0.99) - 1]
    verdict = "ok" if p99 <= TARGET_MS else "above target"
    print(f"{what:52} p50 {statistics.median(took):7.3f} ms   p99 {p99:7.3f} ms   {verdict}")


def refill() -> Callable[[], object]:
    """One runner ends; the tick that records it and launches the next job."""
    made, host, clock = engine(workload(alike))
    made.tick(Wakeup(poked=True))

    def one() -> None:
        clock.advance(1.0)
        made.tick(made.waiter.wait(0.0))
        assert len(host.runners()) == RUNNING

    return one


def idle() -> Callable[[], object]:
    """A sweep in which nothing happened."""
    made, _, _ = engine(workload(alike))
    made.tick(Wakeup(poked=True))
    return lambda: made.tick(Wakeup(poked=True))


def main() -> None:
    """Measure and print."""
    for words, known in (
        ("1 000 alike", workload(alike)),
        ("1 000 different", workload(mixed)),
        ("a chain of 1 000", workload(alike, chain=True)),
    ):
        measure(f"decide, {words}, 100 running", lambda known=known: decide(known, room(known), NOW))  # type: ignore[misc]
        measure(f"explain, {words}, 100 running", lambda known=known: explain(known, room(known), NOW))  # type: ignore[misc]
    known = workload(careful)
    measure("decide, 1 000 with thresholds of their own", lambda: decide(known, measured_room(known), NOW))
    measure("explain, 1 000 with thresholds of their own", lambda: explain(known, measured_room(known), NOW), times=50)
    measure("tick, nothing happened, 100 running", idle())
    measure("tick, one ended and the next is launched", refill(), times=99)


if __name__ == "__main__":
    main()
