"""Sharing accounts and GPUs with the other workspaces of the machine, through its register.

Whatever books something of a shared account (a start, a larger grant) does so in a `turn`: the gate is held, everybody
else's pages are read, we decide, and our own page says so before anything starts. A turn never waits long for the gate:
without it, and while a page cannot be read, what is on a shared account with a limit does not start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from researchflow_tmux.domain.accounts import NO_USE, AccountUse, Owner, Rate
from researchflow_tmux.domain.attempt import Ended, Launching, Planned
from researchflow_tmux.domain.events import Notice
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.register import NOBODY, LiveAttempt, Others, Page, Seen
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.decide import Start
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.wanting import want_of, wants_of
from researchflow_tmux.policies.accounts.periods import spread
from researchflow_tmux.policies.commons.adding import others
from researchflow_tmux.policies.commons.yielding import YIELD_S, Yielding
from researchflow_tmux.policies.planning.usage import HALF_LIFE_S

GATE_S = 0.05
"""How long a tick waits for the gate. Others hold it for a decision: some milliseconds."""
AGAIN_S = 1.0
"""After that a gate that could not be had is tried again."""
FADES = timedelta(seconds=10)
REPUBLISH_S = 10.0
"""A page in which only amounts have grown is published so often."""


class Register(Protocol):
    """What the workspaces of this machine tell each other; see `domain.register`."""

    def lock(self, patience_s: float) -> str | None:
        """Take the gate: nobody else books until `unlock`. None = it is ours; else why not, after `patience_s`."""
        ...

    def unlock(self) -> None:
        """Give the gate back; fine when it is not held."""
        ...

    def publish(self, page: Page) -> None:
        """Replace a workspace's page. Raises OSError."""
        ...

    def read(self, now: datetime) -> Sequence[Seen]:
        """Everybody's pages, one's own included. Raises OSError."""
        ...


class Commons:
    """One workspace's part in the register. `shared` = the accounts that are the whole machine's."""

    def __init__(
        self,
        context: Context,
        register: Register,
        me: Page,
        *,
        shared: frozenset[Owner] = frozenset(),
        leased: frozenset[str] = frozenset(),
        planner: Callable[[], Planner | None] = lambda: None,
    ) -> None:
        """`me` = a page with what never changes; `leased` = the GPUs that others may have, too."""
        self.shared = shared
        self._it = context
        self._register = register
        self._me = me
        self._leased = leased
        self._planner = planner
        self._yielding = Yielding()
        self._booked = False
        """Our page is ahead of the workload: what starts is in it already."""
        self._others: Others = NOBODY
        self._seen: Sequence[Seen] = ()
        self._last: tuple[list[object], datetime, Others] | None = None
        self._told: tuple[str, ...] = ()
        self._said: tuple[object, ...] | None = None
        self._said_s = float("-inf")
        self._due_s = float("inf")
        """When to look again by ourselves, monotonic."""

    @property
    def projects(self) -> frozenset[str]:
        """The shared projects."""
        return frozenset(owner.name for owner in self.shared if owner.kind == "project")

    def due_s(self) -> float:
        """Seconds until it should be looked at again though nothing happened."""
        return max(self._due_s - self._it.clock.monotonic(), 0.0)

    @contextmanager
    def turn(self, now: datetime) -> Iterator[None]:
        """Between beginning and end of it nobody else books; what we booked is published at its end."""
        self._due_s = float("inf")
        if not self.shared:
            yield
            return
        trouble = self._register.lock(GATE_S)
        self._booked = False
        try:
            self._look(now, trouble)
            yield
            if trouble is None and not self._booked:
                self.publish(now)
        finally:
            self._register.unlock()

    def allowed(self, starts: Sequence[Start], now: datetime) -> list[Start]:
        """Those of our starts that need not yield to a better claim of another workspace."""
        left = {path: want.gpus for path, want in self._others.wants}
        if not left or not self._leased:
            return list(starts)
        planner = self._planner()
        loan = 0.0 if planner is None else planner.index.loan_gpu_s
        kept = []
        for start in starts:
            if not any(gpu.uuid in self._leased for gpu in start.allocation.gpus):
                kept.append(start)
                continue
            wants = [(path, want) for path, want in self._others.wants if left[path] > 0]
            mine = want_of(planner, start.job, self.projects, now)
            path = self._yielding.to(mine, wants, loan, self._it.clock.monotonic())
            if path is None:
                kept.append(start)
            else:
                left[path] -= len(start.allocation.gpus)
                self._due_s = min(self._due_s, self._it.clock.monotonic() + YIELD_S / 5)
        return kept

    def booked(self, starts: Sequence[Start], now: datetime) -> list[Start]:
        """Say that these start, before they do; those that are not said do not start. Within a turn."""
        names = {str(owner) for owner in self.shared}
        ours = [start for start in starts if start.grant is not None and names & set(start.grant.owners)]
        if not ours:
            return list(starts)
        page = self._page(now)
        uses = dict(page.uses)
        for start in ours:
            for owner, use in self._use_of(start).items():
                uses[owner] = uses.get(owner, NO_USE).plus(use)
        coming = tuple(self._coming(start) for start in ours)
        try:
            self._register.publish(replace(page, uses=uses, attempts=page.attempts + coming))
        except OSError as error:
            self._unknown(f"our own page cannot be written: {error.strerror or error}", now)
            return [start for start in starts if start not in ours]
        self._booked, self._said = True, None
        return list(starts)

    def publish(self, now: datetime, *, soon: bool = False) -> None:
        """Say what we have and want, if it is not what we said last. `soon` = not more often than once a second."""
        page = self._page(now)
        said = (
            page.counts,
            page.gpus,
            page.next_deadline,
            page.attempts,
            _wanted(page),
            self._grants(),
            _settled(page),
        )
        since_s = self._it.clock.monotonic() - self._said_s
        if (said == self._said and since_s < REPUBLISH_S) or (soon and since_s < 1.0):
            return
        try:
            self._register.publish(page)
        except OSError as error:
            if self.shared:
                self._unknown(f"our own page cannot be written: {error.strerror or error}", now)
            return
        self._said, self._said_s = said, self._it.clock.monotonic()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _look(self, now: datetime, trouble: str | None) -> None:
        try:
            seen = self._register.read(now)
        except OSError as error:
            seen, trouble = self._seen, trouble or f"the machine register cannot be read: {error.strerror or error}"
        found = self._added_up(seen, now)
        if trouble is not None:
            found = replace(found, unknown=(*found.unknown, trouble))
            self._due_s = self._it.clock.monotonic() + AGAIN_S
        self._use(found, now)

    def _added_up(self, seen: Sequence[Seen], now: datetime) -> Others:
        """What they come to; as long as no page changes it is the same, but for what fades in a month."""
        key: list[object] = [(id(each.page), each.alive, each.problem, each.living) for each in seen]
        if self._last is None or self._last[0] != key or not timedelta() <= now - self._last[1] < FADES:
            self._last = (key, now, others(seen, self._me.workspace_id, now, HALF_LIFE_S))
        self._seen = seen  # keeps the pages, and with them their ids
        return self._last[2]

    def _unknown(self, why: str, now: datetime) -> None:
        self._use(replace(self._others, unknown=(*self._others.unknown, why)), now)

    def _use(self, found: Others, now: datetime) -> None:
        self._others = found
        accounting = self._it.accounting
        accounting.others = {owner: use for owner in self.shared if (use := found.uses.get(str(owner))) is not None}
        why = "; ".join(found.unknown)
        accounting.unknown = dict.fromkeys(self.shared, why) if why else {}
        planner = self._planner()
        if planner is not None:
            used = {project: found.used_gpu_s.get(project, 0.0) for project in self.projects}
            planner.index.usage.set_others(used, now.timestamp())
        if found.unknown != self._told:
            self._told = found.unknown
            if why:
                text = f"what other workspaces use is not known ({why}): jobs on shared accounts with a limit wait"
                self._it.apply(Notice(text=text, level="warning"), now)

    def _page(self, now: datetime) -> Page:
        workload = self._it.workload
        uses = self._it.accounting.own_uses()
        planner = self._planner()
        return replace(
            self._me,
            at=now,
            counts={str(state): workload.counts[state] for state in JobState if workload.counts[state]},
            gpus=tuple(sorted({index for each in workload.attempts.values() for index in each.allocation.indices})),
            next_deadline=self._next_deadline(planner),
            uses={str(owner): use for owner, use in uses.items() if owner in self.shared},
            used_gpu_s={} if planner is None else self._used(planner, now),
            attempts=tuple(self._attempts()),
            wants=wants_of(planner, self.projects, now) if self._leased else (),
        )

    def _used(self, planner: Planner, now: datetime) -> dict[str, float]:
        used = planner.index.usage.all_used(now.timestamp())
        return {project: used[project] for project in sorted(self.projects & used.keys())}

    def _use_of(self, start: Start) -> dict[str, AccountUse]:
        grant = start.grant
        if grant is None:
            return {}
        hours = {} if grant.seconds is None else spread(grant.rate, grant.at, grant.seconds, self._it.accounting.zone)
        names = {str(owner) for owner in self.shared}
        return {owner: AccountUse(running=grant.rate, granted=hours) for owner in grant.owners if owner in names}

    def _coming(self, start: Start) -> LiveAttempt:
        tag = f"{self._it.rules.workspace_id}/{start.job.id}.{start.job.attempts + 1}"
        uuids = tuple(gpu.uuid for gpu in start.allocation.gpus if gpu.uuid in self._leased)
        rate = Rate() if start.grant is None else start.grant.rate
        return LiveAttempt(tag=tag, owners=tuple(self._use_of(start)), rate=rate, uuids=uuids)

    def _attempts(self) -> Iterator[LiveAttempt]:
        names = {str(owner) for owner in self.shared}
        for attempt in self._it.workload.attempts.values():
            grant = attempt.grant
            if grant is None or not names & set(grant.owners) or isinstance(attempt.phase, Ended):
                continue
            pid = None if isinstance(attempt.phase, Planned) else attempt.phase.runner_pid
            yield LiveAttempt(
                tag=self._it.tag(attempt),
                owners=tuple(owner for owner in grant.owners if owner in names),
                rate=grant.rate,
                uuids=tuple(gpu.uuid for gpu in attempt.allocation.gpus if gpu.uuid in self._leased),
                runner_pid=None if isinstance(attempt.phase, Launching) and not pid else pid,
            )

    def _grants(self) -> tuple[object, ...]:
        return tuple(
            (key, attempt.grant.seconds)
            for key, attempt in self._it.workload.attempts.items()
            if attempt.grant is not None
        )

    def _next_deadline(self, planner: Planner | None) -> datetime | None:
        jobs = self._it.workload.jobs
        running = (jobs[attempt.job_id].spec.deadline for attempt in self._it.workload.attempts.values())
        dues = [due for due in running if due is not None]
        first = None if planner is None else planner.index.deadlines.first()
        if first is not None and (due := jobs[first].spec.deadline) is not None:
            dues.append(due)
        return min(dues, default=None)


def _wanted(page: Page) -> tuple[object, ...]:
    return tuple((want.project, want.gpus, want.latest_start_s) for want in page.wants)


def _settled(page: Page) -> tuple[object, ...]:
    return tuple((owner, use.running, use.settled) for owner, use in sorted(page.uses.items()))
