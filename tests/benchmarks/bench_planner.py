"""What a decision by a policy costs: `python -m tests.benchmarks --only P`. 64 GPUs, 1 000 and 100 000 waiting.

CPU time of `Planner.decide` with the room that one ended job leaves, and with the events of that end and start; the
jobs have 8 projects, 1 to 8 GPUs and durations from 30 minutes to a week, so that they are in hundreds of classes.
"""

from __future__ import annotations

import gc
import tempfile
import time
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters.policy_process import DEADLINE_S, PolicyProcess
from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited, Planned
from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, AttemptStarted, JobChanged, JobRespecified
from researchflow_tmux.domain.job import Job, JobSpec, JobState
from researchflow_tmux.domain.plugin import Question
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import GpuDevice, ResourceRequest
from researchflow_tmux.engine.accounting import Accounting
from researchflow_tmux.engine.capacity import Capacity, capacity
from researchflow_tmux.engine.decide import Start
from researchflow_tmux.engine.planning import telling
from researchflow_tmux.engine.planning.guest import MOST_JOBS
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.recording import Recorder
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.simulation.clock import EPOCH, VirtualClock
from researchflow_tmux.simulation.replay.guesses import Guesses
from researchflow_tmux.simulation.replay.synthetic import synthetic
from tests.benchmarks.measure import Measure, percentile

GPUS, PROJECTS = 64, 8
CHANGE_MS = 100.0
TARGETS_MS = {1_000: 1.0, 100_000: 5.0}
USERS = 2 * PROJECTS  # two in each project
CASES = (
    ("balanced", False, False, False),
    ("balanced", True, False, False),
    ("balanced", True, False, True),
    ("balanced", False, True, False),
    ("easy_fifo", False, False, False),
    ("easy_fifo", False, True, False),
)
"""Policy, whether some jobs have deadlines, whether projects and users have caps and budgets, whether jobs may be
stopped for others with a deadline (then it is looked for whom to stop, and nobody is, so that the next look has as much
to do)."""
ACCOUNTS = {
    Owner("project", "p0"): Bounds(gpus=4),
    Owner("project", "p1"): Bounds(gpu=40.0, period="day"),
    Owner("project", "p2"): Bounds(gpu=400.0),
    Owner("project", "p3"): Bounds(gpu=20.0, period="total"),
    **{Owner("project", f"p{number}"): Bounds(gpus=32, gpu=1e6) for number in range(4, PROJECTS)},
    **{Owner("user", f"u{number}"): Bounds(gpus=16, gpu=1e5) for number in range(USERS)},
}
"""One that has its cap, three whose budgets are used up now and then or for good, and others with plenty."""
DEVICES = [GpuDevice(uuid=f"g{index:02}", index=index, name="GPU", kind="simulated") for index in range(GPUS)]
OWN = """
class Policy:
    def order(self, job, facts):
        return (-job.priority, job.expected_s * max(job.gpus, 1))

    def admit(self, job, facts):
        has = sum(run.gpus for run in facts.running if run.project == job.project)
        return True if has < len(facts.gpus) / 2 else "half of the machine is enough"
"""


class Queue:
    """A full machine with a long queue. `turn` ends the oldest running job and starts what takes its place."""

    def __init__(
        self, waiting: int, policy: str, *, due: bool = False, accounts: bool = False, may_stop: bool = False
    ) -> None:
        trace = synthetic(jobs=waiting + GPUS, gpus=GPUS, seed=1)
        jobs = []
        for number, job in enumerate(trace.jobs, 1):
            deadline = EPOCH + timedelta(hours=number % 4000) if due and number % 20 == 0 else None
            spec = JobSpec(
                source="trace", key=job.name, name=job.name, argv=("true",), workdir="/", env_digest="e",
                request=ResourceRequest(gpus=job.gpus), project=f"p{number % PROJECTS}", deadline=deadline,
                user=f"u{number % USERS}", preemptible=may_stop,
            )  # fmt: skip
            jobs.append(Job(id=number, spec=spec, slug=job.name, state=JobState.QUEUED, queued_at=EPOCH))
        self.now = EPOCH
        self.highest = 0
        self.may_stop, self.waves = may_stop, 0
        self.workload = Workload(jobs, [], len(jobs) + 1)
        rules = PlanRules(policy=POLICIES[policy])
        estimator = Guesses(trace, noisy=True, seed=1)
        self.clock = VirtualClock(EPOCH)
        self.accounting = Accounting(self.workload, {}, self.clock, UTC)
        if accounts:
            self.accounting.claims = Claims(ACCOUNTS, stop_s=17.0, known_s=lambda job: estimator.of(job).p80_s)
        claims = self.accounting.claims
        self.planner = Planner(self.workload, rules, estimator, devices=DEVICES, share=1.0, now=EPOCH, claims=claims)
        self.workload.watchers.append(self.planner.see)
        while starts := self.planner.decide(self.room(), self.now):
            self.start(starts)

    def room(self) -> Capacity:
        """As one decision sees it."""
        accounts = self.accounting.accounts(self.now)
        return capacity(self.workload, DEVICES, share=1.0, max_cpu_jobs=0, accounts=accounts)

    def start(self, starts: list[Start]) -> None:
        """What the engine tells when it plans them."""
        for start in starts:
            job = start.job
            attempt = Attempt(
                job_id=job.id, number=job.attempts + 1, allocation=start.allocation, session=job.slug, log=None,
                planned_at=self.now, boot_id=self.clock.boot_id, hostname="h", phase=Planned(at=self.now),
                grant=start.grant,
            )  # fmt: skip
            self.workload.apply(AttemptPlanned(attempt=attempt), self.now)
            started = AttemptStarted(job_id=job.id, number=attempt.number, runner_pid=1, started_at=self.now)
            self.workload.apply(started, self.now)

    def end_one(self) -> None:
        """The oldest running job succeeds; an hour has gone by."""
        self.now += timedelta(hours=1)
        self.clock.advance_to(self.now)
        attempt = next(iter(self.workload.attempts.values()))
        ended = Ended(outcome=Exited(code=0, succeeded=True), started_at=attempt.planned_at, ended_at=self.now)
        self.accounting.settle(attempt, ended)
        self.workload.apply(AttemptEnded(job_id=attempt.job_id, number=attempt.number, ended=ended), self.now)
        reason = Reason(code=ReasonCode.SUCCEEDED)
        self.workload.apply(JobChanged(job_id=attempt.job_id, state=JobState.SUCCEEDED, reason=reason), self.now)

    def preferred_ms(self) -> float:
        """Milliseconds from giving a job in the middle of the queue the highest priority until it is decided on."""
        self.highest += 1
        jobs = list(self.planner.index.classes.entries)
        job = self.workload.jobs[jobs[len(jobs) // 2]]
        self.end_one()
        room = self.room()
        begin = time.process_time_ns()
        first = replace(job, spec=replace(job.spec, priority=self.highest, request=replace(job.spec.request, gpus=1)))
        self.workload.apply(JobRespecified(job_id=job.id, job=first), self.now)
        starts = self.planner.decide(room, self.now)
        took = (time.process_time_ns() - begin) / 1e6
        shelves = self.planner.index.classes.projects[job.spec.project or ""].values()
        assert min(shelf.keys[0] for shelf in shelves)[-1] == job.id or job.id in [start.job.id for start in starts]
        self.start(starts)
        self.workload.changes_saved()
        return took

    def turn(self) -> tuple[float, float]:
        """Milliseconds of the decision alone, and of everything that planning does about one end and its starts."""
        begin = time.process_time_ns()
        self.end_one()
        room = self.room()
        looked = time.process_time_ns()
        room.accounts = self.accounting.accounts(self.now)
        starts = self.planner.decide(room, self.now)
        if self.may_stop:
            self.waves += self.planner.make_room(room, self.now, lambda _attempt: None) is not None
        decided = time.process_time_ns()
        self.start(starts)
        done = time.process_time_ns()
        self.workload.changes_saved()
        return (decided - looked) / 1e6, (done - begin) / 1e6


def noting() -> list[Measure]:
    """What the decision log costs a decision (noting it), and what is done after the launches (writing it)."""
    queue, recorder = Queue(1_000, "balanced"), Recorder()
    spent = [0, 0]

    def see(*decision: Any) -> None:
        begin = time.process_time_ns()
        recorder.see(*decision)
        spent[0] += time.process_time_ns() - begin

    queue.planner.on_decided = see
    decided_ms = sum(queue.turn()[0] for _ in range(300))
    begin = time.process_time_ns()
    written = [msgspec.json.encode(each) for each in recorder.take()]
    spent[1] = time.process_time_ns() - begin
    part = 100 * spent[0] / 1e6 / (decided_ms - spent[0] / 1e6)
    words = f"{sum(map(len, written)) / len(written):.0f} bytes each"
    return [
        Measure(bench="P", what="noting a decision, part of deciding", value=part, unit="%", target=5.0),
        Measure(
            bench="P", what="writing it, afterwards", value=spent[1] / 1e6 / len(written), unit="ms CPU", note=words
        ),
    ]


def asking() -> list[Measure]:
    """A plug-in with `order(job, facts)` and `admit(job, facts)`, asked about 10 000 jobs that it knows."""
    queue = Queue(10_000, "balanced")
    index, workload = queue.planner.index, queue.workload
    ready = [job for job in workload.jobs.values() if job.state is JobState.QUEUED]
    facts = telling.facts(workload, index, queue.room(), queue.now)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "own.py").write_text(OWN)
        plugin = PolicyProcess("own:Policy", folder, patient=True, deadline_s=60.0)
        plugin.hooks()
        for start in range(0, len(ready), MOST_JOBS):
            told = [telling.job_view(index, job) for job in ready[start : start + MOST_JOBS]]
            plugin.ask(Question(facts=facts, jobs=told))
        took = []
        for _ in range(15):
            begin = time.perf_counter()
            plugin.ask(Question(facts=facts))
            took.append((time.perf_counter() - begin) * 1e3)
        plugin.close()
    what = "a plug-in asked about 10 000 jobs that it knows"
    return [Measure(bench="P", what=what, value=percentile(took, 50), unit="ms", target=DEADLINE_S * 1e3)]


def measures(*, quick: bool = False) -> list[Measure]:
    """p50 and p99 of a decision, and of all that planning does about one end and the start that follows."""
    found = []
    for waiting, target_ms in TARGETS_MS.items():
        for policy, due, accounts, may_stop in CASES:
            queue = Queue(waiting, policy, due=due, accounts=accounts, may_stop=may_stop)
            gc.collect()
            alone, whole = zip(*(queue.turn() for _ in range(150 if quick else 400)), strict=True)
            words = f"{policy}{', 5 % with deadlines' if due else ''}{', with budgets' if accounts else ''}"
            words += f"{', running jobs may be stopped' if may_stop else ''}, {waiting} waiting"
            if not accounts:
                changed = max(queue.preferred_ms() for _ in range(5 if quick else 20))
                what = f"a job is given priority, decide: {words}, most"
                found.append(Measure(bench="P", what=what, value=changed, unit="ms CPU", target=CHANGE_MS))
            for what, took, target in (("decide", alone, target_ms), ("end, decide, start", whole, None)):
                found.append(
                    Measure(
                        bench="P",
                        what=f"{what}: {words}, p99",
                        value=percentile(took, 99),
                        unit="ms CPU",
                        target=target,
                        note=f"p50 {percentile(took, 50):.2f}",
                    )
                )
    return [*found, *noting(), *asking()]
