"""The page that a workspace publishes in the machine register: what it has and wants, from its workload."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec.structs import replace

from researchflow_tmux.domain.accounts import NO_USE, AccountUse, Owner
from researchflow_tmux.domain.attempt import Ended, Planned
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.register import LiveAttempt, Page
from researchflow_tmux.domain.resources import Allocation
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.decide import Start
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.wanting import wants_of
from researchflow_tmux.policies.accounts.periods import spread


class Pages:
    """Makes the pages of one workspace."""

    def __init__(
        self,
        context: Context,
        me: Page,
        *,
        shared: frozenset[Owner] = frozenset(),
        leased: frozenset[str] = frozenset(),
        planner: Callable[[], Planner | None] = lambda: None,
    ) -> None:
        """`me` = what never changes; `shared` = the machine's accounts; `leased` = GPUs that others may have, too."""
        self.me = me
        self.shared = shared
        self.leased = leased
        self.projects = frozenset(owner.name for owner in shared if owner.kind == "project")
        """The shared ones."""
        self._it = context
        self._planner = planner
        self.names = frozenset(map(str, shared))

    def page(self, now: datetime) -> Page:
        """As the workload stands."""
        workload, planner = self._it.workload, self._planner()
        uses = self._it.accounting.own_uses()
        used = {} if planner is None else planner.index.usage.all_used(now.timestamp())
        return replace(
            self.me,
            at=now,
            counts={str(state): workload.counts[state] for state in JobState if workload.counts[state]},
            gpus=tuple(sorted({index for each in workload.attempts.values() for index in each.allocation.indices})),
            next_deadline=self._next_deadline(planner),
            uses={str(owner): use for owner, use in uses.items() if owner in self.shared},
            used_gpu_s={project: used[project] for project in sorted(self.projects & used.keys())},
            attempts=tuple(self._attempts()),
            wants=wants_of(planner, self.projects, now) if self.leased else (),
        )

    def facts(self, page: Page) -> tuple[object, ...]:
        """What of a page others must hear of at once; amounts that merely grow or fade are not part of it."""
        wants = tuple((want.project, want.gpus, want.latest_start_s) for want in page.wants)
        settled = tuple((owner, use.running, use.settled) for owner, use in sorted(page.uses.items()))
        live = self._it.workload.attempts.items()
        grants = tuple((key, attempt.grant.seconds) for key, attempt in live if attempt.grant is not None)
        return page.counts, page.gpus, page.next_deadline, page.attempts, wants, settled, grants

    def concerns(self, start: Start) -> bool:
        """Whether a start is on a shared account."""
        return start.grant is not None and not self.names.isdisjoint(start.grant.owners)

    def with_starts(self, starts: Sequence[Start], now: datetime) -> Page:
        """As it stands when these have started."""
        page = self.page(now)
        uses = dict(page.uses)
        coming = []
        for start in starts:
            grant = start.grant
            if grant is None:
                continue
            hours = {}
            if grant.seconds is not None:
                hours = spread(grant.rate, grant.at, grant.seconds, self._it.accounting.zone)
            owners = tuple(owner for owner in grant.owners if owner in self.names)
            for owner in owners:
                uses[owner] = uses.get(owner, NO_USE).plus(AccountUse(running=grant.rate, granted=hours))
            tag = f"{self._it.rules.workspace_id}/{start.job.id}.{start.job.attempts + 1}"
            uuids = self._leased_of(start.allocation)
            coming.append(LiveAttempt(tag=tag, owners=owners, rate=grant.rate, uuids=uuids))
        return replace(page, uses=uses, attempts=(*page.attempts, *coming))

    def _attempts(self) -> Iterator[LiveAttempt]:
        """Those on shared accounts."""
        for attempt in self._it.workload.attempts.values():
            grant, phase = attempt.grant, attempt.phase
            if grant is None or self.names.isdisjoint(grant.owners) or isinstance(phase, Ended):
                continue
            yield LiveAttempt(
                tag=self._it.tag(attempt),
                owners=tuple(owner for owner in grant.owners if owner in self.names),
                rate=grant.rate,
                uuids=self._leased_of(attempt.allocation),
                runner_pid=None if isinstance(phase, Planned) else phase.runner_pid,
            )

    def _leased_of(self, allocation: Allocation) -> tuple[str, ...]:
        return tuple(gpu.uuid for gpu in allocation.gpus if gpu.uuid in self.leased)

    def _next_deadline(self, planner: Planner | None) -> datetime | None:
        jobs = self._it.workload.jobs
        running = (jobs[attempt.job_id].spec.deadline for attempt in self._it.workload.attempts.values())
        dues = [due for due in running if due is not None]
        first = None if planner is None else planner.index.deadlines.first()
        if first is not None and (due := jobs[first].spec.deadline) is not None:
            dues.append(due)
        return min(dues, default=None)
