"""What users drive in tests of their policies and pipelines: a workspace in memory, and time that is told to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.attempt import Ended, Exited, Running, Stopping
from researchflow_tmux.domain.decisions import Decision
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.hardware import hardware
from researchflow_tmux.domain.job import Condition, Job
from researchflow_tmux.domain.projects import Project
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.units import parse_duration, parse_size
from researchflow_tmux.domain.wording import describe
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.choice import META_USAGE, kept_usage
from researchflow_tmux.engine.planning.guest import Guest
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.recording import Recorder
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.submitting import Draft, Submission
from researchflow_tmux.policies.accounts.account import bounds_of
from researchflow_tmux.policies.gpu_health import LOST_READINGS
from researchflow_tmux.policies.planning.estimates import Estimate, Estimator, certain
from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.policies.prediction.history import ASSUMED_S, History
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.simulation.clock import EPOCH
from researchflow_tmux.simulation.script import SUCCESS, Script
from researchflow_tmux.testing.invariants import check_machine
from researchflow_tmux.testing.machine import Machine
from researchflow_tmux.testing.policy import PolicyHere

Span = str | float
"""Seconds, or `90m`, `4h`, `2d`."""
SWEEP_S = 3600.0
"""Nothing is overlooked here: sweeps would only cost time."""
KIND_WORDS = ("gpu_type", "min_gpu_memory", "compute_capability", "topology")
LOOK_S = 5.0
"""How often a GPU that was lost and reads well again is looked at, until it counts as back."""
INTRUDER = 666_000
"""Pid of the process that fills a GPU from outside, less its index."""


class World(Machine):
    """One workspace on one machine, in memory. The scheduler is the real one; the clock, GPUs and jobs are not.

    Nothing happens by itself: `advance` and `run_until_idle` let time go by. The same calls give the same history.
    After each step of the scheduler is checked that no GPU is booked twice and no attempt starts twice.
    """

    def __init__(
        self,
        *,
        gpus: int = 2,
        jobs_per_gpu: int = 1,
        cpu_jobs: int = 2,
        policy: object = "balanced",
        projects: Mapping[str, Project | Mapping[str, Any]] | None = None,
        known: bool = True,
        isolated: bool = False,
        record: bool = False,
        **machine: Any,
    ) -> None:
        """A machine with nothing on it.

        Args:
            gpus: How many.
            jobs_per_gpu: Jobs that share one; 0 = any number.
            cpu_jobs: Jobs without a GPU at a time.
            policy: The name of a built-in one or `queue`; or yours: an object, a class, a function, or the name of one.
            projects: As in the settings, such as `{"vision": {"weight": 2, "max_gpus": 4}}`.
            known: Whether the policy knows how long jobs will take; else it learns that from those that ended.
            isolated: Let the default policy take over when yours raises, as it does in a workspace; else the test
                ends with that error.
            record: Keep `decisions`.
            machine: What else `Machine` takes.
        """
        self._policy = policy
        given = {name: _project(name, each) for name, each in (projects or {}).items()}
        self._weights = {name: each.weight for name, each in given.items()}
        accounts = {Owner("project", name): bounds_of(each) for name, each in given.items()}
        self._known = known
        self._isolated = isolated
        self.decisions: list[Decision] | None = [] if record else None
        """All decisions so far with what they went by, if they are recorded."""
        self._estimator: Estimator | None = None
        super().__init__(
            **{"leased": True, "sweep_s": SWEEP_S, "accounts": accounts, **machine},
            gpus=gpus,
            jobs_per_gpu=jobs_per_gpu,
            cpu_places=cpu_jobs,
        )

    def prepare(self, engine: Engine) -> None:
        """Let the policy decide."""
        policy = self._policy
        if self.decisions is not None:
            engine.choice.recorder = Recorder()
        if policy == "queue":
            return
        if isinstance(policy, str) and policy in POLICIES:
            engine.choice.use(self._planner(engine, POLICIES[policy], None))
            return

        def planner(by: Policy, said: Said | None) -> Planner:
            return self._planner(engine, by, said)

        engine.choice.invite(Guest(PolicyHere(policy), planner, strict=not self._isolated))

    def _planner(self, engine: Engine, policy: Policy, said: Said | None) -> Planner:
        if self._estimator is None:
            self._estimator = _Scripted(self) if self._known else History()
        now, before = self.clock.now(), engine.choice.planner
        if before is None:
            kept = kept_usage(self.store.load().meta.get(META_USAGE))
        else:
            kept = before.index.usage.kept(now.timestamp())
        rules = PlanRules(policy=policy, weights=self._weights)
        return Planner(
            engine.workload,
            rules,
            self._estimator,
            devices=self.devices,
            share=self.share,
            now=now,
            kept=kept,
            said=said,
            claims=engine.context.accounting.claims,
        )

    def check(self) -> None:
        """What must always hold."""
        check_machine(self)
        recorder = self.engine.choice.recorder
        if self.decisions is not None and recorder is not None:
            self.decisions += recorder.take()

    # -- jobs

    def submit(
        self,
        *names: str,
        takes: Span = "1h",
        fails: int | Sequence[bool] = 0,
        gpus: int = 1,
        project: str | None = None,
        priority: int = 0,
        after: Sequence[str] = (),
        when: Condition = "success",
        deadline: Span | datetime | None = None,
        time_limit: Span | None = None,
        retries: int = 0,
        held: bool = False,
        user: str | None = None,
        group: str | None = None,
        labels: Mapping[str, str] | None = None,
        preemptible: bool = False,
        **needs: Any,
    ) -> None:
        """Queue jobs, each of which will run for `takes` once it starts.

        Args:
            names: One or several that are alike but for their names.
            takes: How long an attempt runs.
            fails: The exit code, or for each attempt whether it fails (the last one counts for all later ones).
            gpus: GPUs that it needs; 0 = a CPU job.
            project: Whose it is.
            priority: Higher ones first, if the policy minds.
            after: Names of the jobs it comes after.
            when: How those must have ended.
            deadline: A moment, or a span from now.
            time_limit: At which it is stopped.
            retries: Further attempts after a failure.
            held: It waits to be released.
            user: Whose login.
            group: A label by which policies and people know them.
            labels: Further ones, `key: value`.
            preemptible: It may be stopped for a more urgent one.
            needs: What else a request may say, such as `pinned`, `share`, `cpus`, `gpu_memory_mib`; `gpu_type`,
                `min_gpu_memory`, `compute_capability` and `topology` as in a job's config.
        """
        limit_s = None if time_limit is None else parse_duration(time_limit)
        kind = {word: needs.pop(word) for word in KIND_WORDS if word in needs}
        for name in names:
            self.script(name, takes=takes, fails=fails)
        self.add(
            *names,
            gpus=gpus,
            project=project,
            priority=priority,
            after=after,
            when=when,
            deadline=self._moment(deadline),
            retries=retries,
            held=held,
            pinned=tuple(needs.pop("pinned", ())),
            needs={**needs, "hardware": hardware(**kind), "time_limit_s": limit_s},
            spec={"user": user, "group": group, "labels": dict(labels or {}), "preemptible": preemptible},
        )

    def script(self, name: str, *, takes: Span = "1h", fails: int | Sequence[bool] = 0) -> None:
        """Say what the attempts of a job will do; for jobs of pipelines and sweeps, before they start."""
        codes = [fails] if isinstance(fails, int) else [int(each) for each in fails]
        seconds = parse_duration(takes)
        outcomes = [Exited(code=code, succeeded=False) if code else SUCCESS for code in codes]
        self.scripts.set(name, *(Script(duration_s=seconds, outcome=outcome) for outcome in outcomes))

    def submit_drafts(self, drafts: Sequence[Draft]) -> None:
        """Queue jobs as a job source read them: see `researchflow_tmux.testing.pipelines`."""
        for draft in drafts:
            self.store.save_environment(draft.spec.env_digest, {"env": {}})
        self.ask("submit", msgspec.to_builtins(Submission(drafts=tuple(drafts))))

    def cancel(self, *names: str) -> None:
        """As `rfsched cancel`; `requeue`, `hold` and `release` are done with `tell`."""
        self._settle()
        self.tell("cancel", *names)

    # -- time

    @property
    def now_s(self) -> float:
        """Seconds since the beginning."""
        return self.virtual.monotonic()

    def advance(self, span: Span) -> None:
        """Let time go by."""
        self.run(parse_duration(span))

    def run_until_idle(self, limit: Span = "60d") -> None:
        """Let time go by until every job has ended; AssertionError if some have not after `limit`."""
        self.finish(limit_s=parse_duration(limit))

    # -- GPUs

    def gpu_fails(self, index: int, why: str = "GPU is lost") -> None:
        """The driver loses a GPU; its jobs go to another one."""
        self.probe.fail(self.devices[index].uuid, why, lost=True)
        self._look_at_gpus()

    def gpu_returns(self, index: int) -> None:
        """It reads well again, and whoever filled it has left."""
        uuid = self.devices[index].uuid
        self.probe.fail(uuid, None)
        self.probe.intrude(uuid, INTRUDER + index, 0)
        self._look_at_gpus()

    def gpu_fills(self, index: int, memory: str = "20GiB") -> None:
        """Somebody else takes memory of a GPU."""
        self.probe.intrude(self.devices[index].uuid, INTRUDER + index, round(parse_size(memory)))
        self._look_at_gpus()

    def _look_at_gpus(self) -> None:
        """As the sampler beside a real scheduler does every few seconds; it goes on while a GPU is lost."""
        engine = self.engine
        for _ in range(LOST_READINGS):  # once is no proof
            engine.gpus.see(self.probe.read(), self.clock.monotonic(), self.devices)
        engine.room.read(engine.workload)
        self.tick(Wakeup(poked=True))
        if engine.gpus.any_lost and self._reads_well():
            self.at(self.now_s + LOOK_S, self._look_at_gpus)

    def _reads_well(self) -> bool:
        lost = {gpu.uuid for gpu in self.engine.workload.gpus.values() if gpu.lost_at is not None}
        return any(reading.uuid in lost and reading.error is None for reading in self.engine.room.readings)

    # -- looking

    def _settle(self) -> None:
        """Let the scheduler see what was asked of it."""
        if self.store.requests():
            self.tick(Wakeup(poked=True))

    def job(self, name: str) -> Job:
        """The job of that name. Raises UsageError if there is none."""
        self._settle()
        found = [job for job in self.jobs() if job.name == name]
        if not found:
            raise UsageError(f"there is no job {name!r}", hint=f"there are {', '.join(j.name for j in self.jobs())}")
        return found[-1]

    @property
    def started(self) -> list[str]:
        """Names in the order in which attempts started; a job that was tried twice is there twice."""
        self._settle()
        return [self.engine.workload.jobs[job_id].name for job_id, _ in self.host.starts]

    def _times(self, name: str) -> tuple[datetime | None, datetime | None]:
        attempts = self.store.attempts_of(self.job(name).id)
        phase = attempts[-1].phase if attempts else None
        started = phase.started_at if isinstance(phase, Running | Stopping | Ended) else None
        return started, phase.ended_at if isinstance(phase, Ended) else None

    def start_of(self, name: str) -> float:
        """Seconds from the beginning to the start of its latest attempt. AssertionError if it has none."""
        started, _ = self._times(name)
        assert started is not None, f"{name} has not started: {self.why(name)}"
        return (started - EPOCH).total_seconds()

    def end_of(self, name: str) -> float:
        """Seconds from the beginning to the end of its latest attempt. AssertionError if it has not ended."""
        _, ended = self._times(name)
        assert ended is not None, f"{name} has not ended: {self.why(name)}"
        return (ended - EPOCH).total_seconds()

    def gpus_of(self, name: str) -> list[int]:
        """Indices of the GPUs of its latest attempt."""
        attempts = self.store.attempts_of(self.job(name).id)
        return list(attempts[-1].allocation.indices) if attempts else []

    def reason(self, name: str) -> Reason | None:
        """Why it waits, or ended as it did."""
        job = self.job(name)
        self.tick(Wakeup(poked=True))
        return self.engine.choice.explain(self.engine.look(), self.clock.now()).get(job.id) or self.job(name).reason

    def why(self, name: str) -> str:
        """The same in words, as `rfsched why` has them."""
        return str(self.reason(name) or self.job(name).state)

    def history(self) -> list[str]:
        """What happened, a sentence each, as `rfsched history` has them."""
        jobs = self.engine.workload.jobs
        lines = (describe(event.payload, lambda job_id: jobs[job_id].name) for event in self.store.events())
        return [line for line in lines if line is not None]

    @property
    def policy_trouble(self) -> str | None:
        """Why another policy decides than the one that was chosen; None = it does not."""
        return self.engine.choice.trouble

    def _moment(self, deadline: Span | datetime | None) -> datetime | None:
        if deadline is None or isinstance(deadline, datetime):
            return deadline
        return self.clock.now() + timedelta(seconds=parse_duration(deadline))


class _Scripted:
    """An Estimator that knows the scripts."""

    def __init__(self, world: World) -> None:
        self._world = world

    def of(self, job: Job) -> Estimate:
        """What the next attempt will take, or an hour if that is never."""
        duration_s = self._world.scripts.of(job.name, job.attempts + 1).duration_s
        return certain(ASSUMED_S if duration_s is None else duration_s, job.spec.request.time_limit_s)

    def learn(self, job: Job, took_s: float) -> None:
        """Nothing: all is known."""


def _project(name: str, given: Project | Mapping[str, Any]) -> Project:
    if isinstance(given, Project):
        return given
    try:
        return Project(**given)
    except TypeError as error:
        raise UsageError(f"project {name}: {error}") from None
