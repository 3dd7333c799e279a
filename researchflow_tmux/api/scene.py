"""Everything that a plan is made from, and the real decisions over it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from researchflow_tmux.adapters.live_file import Live
from researchflow_tmux.adapters.room_settings import foreseeable
from researchflow_tmux.api.durations import Durations
from researchflow_tmux.api.planning import Plan
from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended, Exited
from researchflow_tmux.domain.gpus import GpuCondition
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.reasons import Reason
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.engine.accounting import Accounting
from researchflow_tmux.engine.capacity import Capacity, capacity
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.accounts import NO_ACCOUNTS
from researchflow_tmux.policies.planning.estimates import Estimate
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.policies.topology import Links

if TYPE_CHECKING:
    from researchflow_tmux.simulation.foresight import Foreseen


@dataclass(frozen=True)
class Machine:
    """What jobs would run on."""

    devices: list[GpuDevice]
    share: float
    cpu_places: int
    rules: RoomRules
    halted: Reason | None = None
    """Why nothing is started just now, and would not be."""
    others: int = 0
    """GPUs on which somebody else has something, which is not foreseen."""


@dataclass(frozen=True)
class Scene:
    """Everything that a plan is made from, read at one moment."""

    jobs: list[Job]
    attempts: list[Attempt]
    conditions: list[GpuCondition]
    machine: Machine
    plan: Plan | None
    durations: Durations
    now: datetime
    live: Live | None
    """What the scheduler last saw; None = none runs."""
    accounting: Callable[[Workload], Accounting | None] = lambda _workload: None
    """The accounts of projects and users over a workload; None = there are none."""

    @property
    def running(self) -> bool:
        """Whether a scheduler runs."""
        return self.live is not None

    def choice(self) -> Choice:
        """Who decides, over a workload of its own."""
        workload = Workload(self.jobs, self.attempts, gpus=self.conditions)
        choice = Choice(workload)
        if self.plan is not None:
            machine, known = self.machine, Unlearning(self.durations.history)
            gpus = (machine.devices, machine.share)
            accounts = self.accounting(workload)
            claims = None if accounts is None else accounts.claims
            planner = self.plan.planner(workload, self.live, self.now, machine=gpus, estimator=known, claims=claims)
            choice.use(planner)
        return choice

    def room(self, workload: Workload) -> Callable[[datetime], Capacity]:
        """What may be used, as the workload is when it is called."""
        machine = self.machine
        blocked = {gpu.uuid: gpu.reason for gpu in self.conditions if gpu.reason is not None}
        links = Links(machine.devices)
        accounting = self.accounting(workload)
        charged: dict[AttemptKey, Attempt] = {}

        def look(now: datetime) -> Capacity:
            if accounting is not None:
                _charge(accounting, workload, charged, now)
            return capacity(
                workload,
                machine.devices,
                share=machine.share,
                max_cpu_jobs=machine.cpu_places,
                blocked=blocked,
                halted=machine.halted,
                rules=machine.rules,
                links=links,
                accounts=NO_ACCOUNTS if accounting is None else accounting.accounts(now),
            )

        return look

    def foresee(
        self,
        lengths: Callable[[Job], float],
        ends: Mapping[AttemptKey, datetime],
        wanted: Collection[int] | None = None,
        most: int | None = None,
    ) -> tuple[Foreseen, Choice]:
        """How it would go on."""
        from researchflow_tmux.simulation.foresight import go_on  # a look at the status does without

        choice = self.choice()
        room = self.room(choice.workload)
        found = go_on(choice, room, self.now, lengths=lengths, ends=ends, wanted=wanted, most=most)
        return found, choice


def _charge(accounting: Accounting, workload: Workload, charged: dict[AttemptKey, Attempt], now: datetime) -> None:
    """Charge the accounts for what has ended since the last look: it ended right now."""
    for key in charged.keys() - workload.attempts.keys():
        attempt = charged.pop(key)
        began = now if attempt.grant is None else attempt.grant.at
        outcome = Exited(code=0, succeeded=True)
        ended = Ended(outcome=outcome, started_at=began, ended_at=now, ran_s=(now - began).total_seconds())
        accounting.settle(replace(attempt, boot_id=""), ended)  # it is not known how long ago that was
    charged.update(workload.attempts)


class Unlearning:
    """An Estimator that learns nothing: what is only foreseen has not happened."""

    def __init__(self, known: History) -> None:
        self._known = known

    def of(self, job: Job) -> Estimate:
        """What the history says."""
        return self._known.of(job)

    def learn(self, job: Job, took_s: float) -> None:
        """Nothing."""


def machine_of(live: Live) -> Machine:
    """As the scheduler last saw it."""
    return Machine(
        devices=[gpu.device for gpu in live.gpus],
        share=live.share,
        cpu_places=live.cpu_places,
        rules=foreseeable(live.rules),
        halted=live.halt,
        others=sum(bool(gpu.tickets) for gpu in live.gpus),
    )
