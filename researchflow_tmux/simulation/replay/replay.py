"""A trace through the real engine on a virtual clock: the same submit, reconcile, decide and launch as ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.attempt import PREEMPTED, Killed
from researchflow_tmux.domain.events import AttemptEnded, AttemptPlanned, Payload
from researchflow_tmux.domain.hardware import NO_HARDWARE, hardware
from researchflow_tmux.domain.job import JobSpec
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.resources import GpuDevice, ResourceRequest
from researchflow_tmux.engine.context import Rules
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.guest import Guest
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.room import RoomReader
from researchflow_tmux.engine.submitting import Draft, Submission
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.policies.planning.estimates import Estimator
from researchflow_tmux.policies.planning.orders import Policy
from researchflow_tmux.policies.planning.preemption import RESTART_S
from researchflow_tmux.ports import PolicyPlugin
from researchflow_tmux.simulation.clock import EPOCH, VirtualClock
from researchflow_tmux.simulation.drive import MemoryWaiter, drive
from researchflow_tmux.simulation.leases import ScriptedLeases
from researchflow_tmux.simulation.memory_store import MemoryStore
from researchflow_tmux.simulation.replay.figures import Piece, Ran
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob
from researchflow_tmux.simulation.script import Script, Scripts
from researchflow_tmux.simulation.session_host import MemoryHost

WORKSPACE = "replay"
SAVES_EVERY_S, STOPS_IN_S = 1800.0, 30.0
NO_SWEEP_S = 86_400.0
"""Nothing is overlooked in a simulation: sweeps would only cost time."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a trace."""

    ran: list[Ran]
    unfinished: list[str]
    """Names of jobs that did not run to their end."""


def replay(
    trace: Trace,
    *,
    gpus: int = 0,
    devices: Sequence[GpuDevice] = (),
    keep_scarce: bool = True,
    policy: Policy | None,
    estimator: Estimator,
    weights: Mapping[str, float] | None = None,
    caps: Mapping[str, int] | None = None,
    plugin: PolicyPlugin | None = None,
) -> Replayed:
    """Let the whole trace run on `gpus` GPUs that are alike, or on `devices`.

    Without `policy` and `plugin` it goes by the queue's own order.

    Raises PolicyError when the plug-in does not do its work: nothing takes its place here.
    """
    machine = _Machine(trace, gpus, devices, keep_scarce=keep_scarce)
    claims = Claims({Owner("project", name): Bounds(gpus=most) for name, most in (caps or {}).items()})
    machine.engine.context.accounting.claims = claims
    if plugin is not None:
        machine.invite(plugin, weights or {}, estimator, claims)
    elif policy is not None:
        machine.plan_with(PlanRules(policy=policy, weights=weights or {}), estimator, claims)
    machine.run()
    return machine.result()


class _Machine:
    """GPUs and a scheduler in memory, and the jobs of a trace as they come."""

    def __init__(
        self, trace: Trace, gpus: int = 0, devices: Sequence[GpuDevice] = (), *, keep_scarce: bool = True
    ) -> None:
        self._jobs = trace.jobs
        self._next = 0
        self.clock = VirtualClock(EPOCH)
        self._lengths = _Lengths(trace)
        self.host = MemoryHost(self.clock, WORKSPACE, self._lengths)
        self.waiter = MemoryWaiter(self.host)
        self.devices = list(devices) or [
            GpuDevice(uuid=f"gpu-{index:04}", index=index, name="simulated", kind="simulated") for index in range(gpus)
        ]
        room = RoomReader(
            devices=self.devices,
            probe=None,
            leases=ScriptedLeases(),
            clock=self.clock,
            share=1.0,
            max_cpu_jobs=len(self.devices),
            own_tag_prefix=f"{WORKSPACE}/",
            rules=RoomRules(keep_scarce_gpus=keep_scarce),
        )
        store = MemoryStore(workspace_id=WORKSPACE)
        store.save_environment(WORKSPACE, {})
        rules = Rules(
            workspace_id=WORKSPACE, prefix="r", hostname="simulated", sweep_s=NO_SWEEP_S, cleanup_on_complete=True
        )
        self.engine = Engine(rules=rules, clock=self.clock, store=store, host=self.host, room=room, waiter=self.waiter)
        self._ran: dict[int, Ran] = {}
        self._stopped: dict[int, list[Piece]] = {}
        """Attempts of jobs that have not ended yet, by job."""
        self._on: dict[int, tuple[int, ...]] = {}
        """The GPUs that each job got."""
        self._by_id: dict[int, TraceJob] = {}
        self.engine.workload.watchers.append(self._see)

    def plan_with(self, rules: PlanRules, estimator: Estimator, claims: Claims) -> None:
        """Let a policy decide."""
        self.engine.choice.use(self._planner(rules, estimator, claims, None))

    def invite(self, plugin: PolicyPlugin, weights: Mapping[str, float], estimator: Estimator, claims: Claims) -> None:
        """Let a plug-in decide."""

        def planner(policy: Policy, said: Said | None) -> Planner:
            return self._planner(PlanRules(policy=policy, weights=weights), estimator, claims, said)

        self.engine.choice.invite(Guest(plugin, planner, strict=True))

    def _planner(self, rules: PlanRules, estimator: Estimator, claims: Claims, said: Said | None) -> Planner:
        workload, devices, now = self.engine.workload, self.devices, self.clock.now()
        return Planner(workload, rules, estimator, devices=devices, share=1.0, now=now, claims=claims, said=said)

    def run(self) -> None:
        """Until all have come and nothing more happens."""
        most = 1000 + 50 * len(self._jobs)
        drive(self.engine, self.clock, self.host, self.waiter, self._done, most_ticks=most, feed=self)

    def result(self) -> Replayed:
        """What ran, in the order of the trace, and what did not."""
        ids = sorted(self._ran)
        ended = {self._ran[job_id].job.name for job_id in ids}
        unfinished = [job.name for job in self._jobs if job.name not in ended]
        return Replayed(ran=[self._ran[job_id] for job_id in ids], unfinished=unfinished)

    # -- the feed of `drive`

    def next_at(self) -> datetime | None:
        """When the next job comes."""
        if self._next == len(self._jobs):
            return None
        return EPOCH + timedelta(seconds=self._jobs[self._next].submit_s)

    def give(self, now: datetime) -> None:
        """Submit everything that has come."""
        due = []
        while (at := self.next_at()) is not None and at <= now:
            due.append(self._jobs[self._next])
            self._next += 1
        if due:
            submitted = self.engine.submit(Submission(drafts=tuple(Draft(spec=_spec(job)) for job in due)))
            self._by_id.update(zip(submitted.ids, due, strict=True))

    def _done(self) -> bool:
        workload = self.engine.workload
        return self.next_at() is None and not self.host.runners() and not workload.changed and not workload.attempts

    def _see(self, payload: Payload, _at: datetime) -> None:
        if isinstance(payload, AttemptPlanned):
            self._on[payload.attempt.job_id] = payload.attempt.allocation.indices
        if isinstance(payload, AttemptEnded) and payload.ended.started_at is not None:
            job = self._by_id[payload.job_id]
            start_s = (payload.ended.started_at - EPOCH).total_seconds()
            end_s = (payload.ended.ended_at - EPOCH).total_seconds()
            outcome = payload.ended.outcome
            if isinstance(outcome, Killed) and outcome.by == PREEMPTED:
                lost_s = self._lengths.stopped(job.name, end_s - start_s)
                self._stopped.setdefault(payload.job_id, []).append(
                    Piece(start_s, end_s, lost_s, self._on[payload.job_id])
                )
                return
            stopped = tuple(self._stopped.pop(payload.job_id, ()))
            first_s = stopped[0].start_s if stopped else start_s
            resumed_s = start_s if stopped else None
            self._ran[payload.job_id] = Ran(
                job=job,
                start_s=first_s,
                end_s=end_s,
                stopped=stopped,
                resumed_s=resumed_s,
                on=self._on[payload.job_id],
            )


class _Lengths(Scripts):
    """Every job succeeds after as long as the trace says.

    One that may be stopped saves a checkpoint every half hour (and none when it is told to: not every job can), takes
    half a minute to end, and a minute more to go on from where it was.
    """

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._left_s = {job.name: job.duration_s for job in trace.jobs}
        self._may_stop = {job.name for job in trace.jobs if job.preemptible}

    def of(self, name: str, number: int) -> Script:
        """The script of one attempt."""
        if name not in self._may_stop:
            return Script(duration_s=self._left_s[name])
        return Script(duration_s=self._left_s[name], saves_every_s=SAVES_EVERY_S, stop_delay_s=STOPS_IN_S)

    def stopped(self, name: str, ran_s: float) -> float:
        """It was stopped after so long: the next attempt goes on from its last checkpoint. Returns what it lost."""
        saved_s = ran_s // SAVES_EVERY_S * SAVES_EVERY_S
        self._left_s[name] += RESTART_S - saved_s
        return ran_s - saved_s + RESTART_S


def _spec(job: TraceJob) -> JobSpec:
    deadline = None if job.deadline_s is None else EPOCH + timedelta(seconds=job.deadline_s)
    return JobSpec(
        source="trace",
        key=job.name,
        name=job.name,
        argv=("true",),
        workdir="/",
        env_digest=WORKSPACE,
        request=ResourceRequest(gpus=job.gpus, hardware=hardware(gpu_type=job.gpu_type) if job.gpus else NO_HARDWARE),
        project=job.project or None,
        deadline=deadline,
        preemptible=job.preemptible,
    )
