"""Whatever comes when: only who allows it is stopped, no project below its share, none too often, and all jobs end."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from math import floor

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from researchflow_tmux.domain.attempt import PREEMPTED, Stopping
from researchflow_tmux.domain.events import AttemptStopping, JobChanged, Payload
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.index import project_of
from researchflow_tmux.policies.planning.preemption import MOST_TIMES, PreemptRules
from researchflow_tmux.simulation.script import Script
from tests.scenario.invariants import check_history
from tests.scenario.world import World

RULES = PreemptRules(save_s=20.0, stop_s=2.0, after_s=30.0)
WEIGHTS = {"a": 2.0}
STEPS = ["planned", "intent saved", "acted", "before commit", "after commit", "before stop", "after stop"]


class Watched(World):
    """A world that looks at each job that is told to make room."""

    def prepare(self, engine: Engine) -> None:
        super().prepare(engine)
        engine.workload.watchers.append(self._watch)

    def _watch(self, payload: Payload, at: datetime) -> None:
        if isinstance(payload, JobChanged) and payload.preemptions is not None:
            assert payload.preemptions <= MOST_TIMES
        if isinstance(payload, AttemptStopping) and payload.stopping.by == PREEMPTED:
            self._judge(payload.job_id, payload.stopping, at)

    def _judge(self, victim: int, stopping: Stopping, at: datetime) -> None:
        jobs = self.engine.workload.jobs
        job, urgent = jobs[victim], jobs[stopping.room_for or 0]
        assert job.spec.preemptible
        assert job.spec.deadline is None or not at <= job.spec.deadline < at + timedelta(seconds=8 * 100)
        assert stopping.started_at is not None
        assert (at - stopping.started_at).total_seconds() >= RULES.after_s * 2**job.preemptions
        assert urgent.spec.deadline is not None
        assert at + timedelta(seconds=RULES.grace_s + 100) <= urgent.spec.deadline
        if project_of(job) != project_of(urgent):  # within a project it has as many as before
            self._leaves_a_share(project_of(job))

    def _leaves_a_share(self, project: str) -> None:
        """What the project keeps, with what is being made free for it, is its part of all that is in use."""
        workload = self.engine.workload
        has: Counter[str] = Counter()
        for attempt in workload.attempts.values():
            phase = attempt.phase
            heir = phase.room_for if isinstance(phase, Stopping) and phase.by == PREEMPTED else None
            has[project_of(workload.jobs[attempt.job_id if heir is None else heir])] += len(attempt.allocation.gpus)
        active = {project_of(job) for job in workload.jobs.values() if not job.state.ended}
        weights = sum(WEIGHTS.get(each, 1.0) for each in active)
        share = floor(has.total() * WEIGHTS.get(project, 1.0) / weights)
        assert has[project] >= share, f"{project!r} has {has[project]} of {has.total()} GPUs, its share is {share}"


class Preempting(RuleBasedStateMachine):
    """Long jobs, urgent jobs, people and crashes."""

    @initialize(
        gpus=st.integers(1, 4),
        filled=st.lists(st.tuples(st.sampled_from([None, "a", "c"]), st.integers(1, 2)), min_size=3, max_size=5),
    )
    def begin(self, gpus: int, filled: list[tuple[str | None, int]]) -> None:
        """A machine that is full of jobs that may be stopped."""
        self.world = Watched(gpus=gpus, policy="balanced", preempt=RULES, sweep_s=20.0)
        self.gpus, self.made = gpus, 0
        for project, wide in filled:
            self._add(wide, 1500.0, True, project, None, 10.0)
        self.world.run(31.0)

    @rule(
        count=st.integers(1, 3),
        gpus=st.integers(1, 2),
        preemptible=st.sampled_from([True, True, False]),
        project=st.sampled_from([None, "a", "c"]),
        due_s=st.sampled_from([None, None, 500.0, 5000.0]),
        stop_delay_s=st.sampled_from([0.0, 10.0, 21.0]),
    )
    def add_long(
        self,
        count: int,
        gpus: int,
        preemptible: bool,
        project: str | None,
        due_s: float | None,
        stop_delay_s: float,
    ) -> None:
        for _ in range(count):
            self._add(gpus, 1000.0, preemptible, project, due_s, stop_delay_s)

    @rule(
        gpus=st.integers(1, 4), project=st.sampled_from([None, "a", "c"]), due_s=st.sampled_from([140.0, 160.0, 300.0])
    )
    def add_urgent(self, gpus: int, project: str | None, due_s: float) -> None:
        self._add(gpus, 100.0, False, project, due_s, 0.0)

    def _add(
        self,
        gpus: int,
        takes_s: float,
        preemptible: bool,
        project: str | None,
        due_s: float | None,
        stop_delay_s: float,
    ) -> None:
        name = f"j{self.made}"
        self.made += 1
        self.world.scripts.set(name, Script(duration_s=takes_s - 5.0, stop_delay_s=stop_delay_s))
        deadline = None if due_s is None else self.world.clock.now() + timedelta(seconds=due_s)
        self.world.add(
            name,
            gpus=min(gpus, self.gpus),
            needs={"time_limit_s": takes_s},
            project=project,
            deadline=deadline,
            spec={"preemptible": preemptible},
        )

    @rule(seconds=st.sampled_from([20.0, 40.0, 150.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(kind=st.sampled_from(["cancel", "requeue", "hold", "release"]), number=st.integers(0, 20))
    def ask(self, kind: str, number: int) -> None:
        jobs = self.world.jobs()
        if jobs:
            self.world.tell(kind, jobs[number % len(jobs)].name)

    @rule(step=st.sampled_from(STEPS), downtime_s=st.sampled_from([0.0, 30.0]))
    def crash(self, step: str, downtime_s: float) -> None:
        self.world.crash_at(step, self.world.passes[step] + 1)
        for _ in range(4):
            self.world.step(downtime_s)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world._aim = None
        world.run(6.0)
        world.tell("release", *(job.name for job in world.jobs()))
        world.run_until(world.idle, limit_s=60_000.0)
        assert set(world.states().values()) <= {"succeeded", "cancelled"}
        check_history(world)


TestPreempting = Preempting.TestCase
TestPreempting.settings = settings(
    max_examples=14,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
