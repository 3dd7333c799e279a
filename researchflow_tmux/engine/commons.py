"""Sharing accounts and GPUs with the other workspaces of the machine, through its register.

Whatever books something of a shared account (a start, a larger grant) does so in a `turn`: the gate is held, everybody
else's pages are read, we decide, and our own page says so before anything starts. A turn never waits long for the gate:
without it, and while a page cannot be read, what is on a shared account with a limit does not start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Protocol

from msgspec.structs import replace

from researchflow_tmux.domain.events import Notice
from researchflow_tmux.domain.register import NOBODY, Others, Page, Seen
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.decide import Start
from researchflow_tmux.engine.pages import Pages
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.wanting import latest_starts, want_of
from researchflow_tmux.policies.commons.adding import others
from researchflow_tmux.policies.commons.yielding import YIELD_S, Yielding
from researchflow_tmux.policies.planning.usage import HALF_LIFE_S

GATE_S = 0.05
"""How long a tick waits for the gate. Others hold it for a decision: some milliseconds."""
AGAIN_S = 1.0
"""After that a gate that could not be had is tried again."""
STUCK_S = 5.0
"""A gate that could not be had for so long is worth a word; before that somebody was just busy."""
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
    """One workspace's part in the register."""

    def __init__(
        self, context: Context, register: Register, pages: Pages, planner: Callable[[], Planner | None] = lambda: None
    ) -> None:
        """`pages` makes ours, and knows which accounts are the whole machine's."""
        self._it = context
        self._register = register
        self._pages = pages
        self._planner = planner
        self._yielding = Yielding()
        self._booked = False
        """Our page is ahead of the workload: what starts is in it already."""
        self.untold: str | None = None
        """Why others could not be told how we stand, when that was last tried; None = they were."""
        self._others: Others = NOBODY
        self._seen: Sequence[Seen] = ()
        self._last: tuple[list[object], datetime, Others] | None = None
        self._told: tuple[str, ...] = ()
        self._stuck_s: float | None = None
        """Since when the gate cannot be had, monotonic."""
        self._said: tuple[object, ...] | None = None
        self._said_s = float("-inf")
        self._due_s = float("inf")
        """When to look again by ourselves, monotonic."""

    @property
    def names(self) -> frozenset[str]:
        """The accounts that are shared."""
        return self._pages.names

    def due_s(self) -> float:
        """Seconds until it should be looked at again though nothing happened."""
        return max(self._due_s - self._it.clock.monotonic(), 0.0)

    @contextmanager
    def turn(self, now: datetime) -> Iterator[None]:
        """Between beginning and end of it nobody else books; what we booked is published at its end."""
        self._due_s = float("inf")
        if not self._pages.shared:
            yield
            return
        trouble = self._register.lock(GATE_S)
        self._booked = False
        if trouble is None and self.untold is not None:
            trouble = self._told_again(now)
        try:
            self._look(now, trouble)
            yield
            if trouble is None and not self._booked:
                self.publish(now)
        finally:
            self._register.unlock()

    def allowed(self, starts: Sequence[Start], now: datetime) -> list[Start]:
        """Those of our starts that need not yield to a better claim of another workspace."""
        left: Counter[str] = Counter()
        for whose, want in self._others.wants:
            left[whose] = max(left[whose], want.gpus)
        if not left or not self._pages.leased:
            return list(starts)
        planner, now_s = self._planner(), self._it.clock.monotonic()
        loan = 0.0 if planner is None else planner.index.loan_gpu_s
        urgent = latest_starts(planner, now)
        kept = []
        for start in starts:
            path: str | None = None
            if any(gpu.uuid in self._pages.leased for gpu in start.allocation.gpus):
                mine = want_of(planner, start.job, self._pages.projects, urgent, now)
                wants = [(whose, want) for whose, want in self._others.wants if left[whose] > 0]
                path = self._yielding.to(mine, wants, loan, now_s)
            if path is None:
                kept.append(start)
            else:
                left[path] -= len(start.allocation.gpus)
                self._due_s = min(self._due_s, now_s + YIELD_S / 5)
        return kept

    def booked(self, starts: Sequence[Start], now: datetime) -> list[Start]:
        """Say that these start, before they do; those that are not said do not start. Within a turn."""
        ours = [start for start in starts if self._pages.concerns(start)]
        if not ours:
            return list(starts)
        if not self._published(self._pages.with_starts(ours, now)):
            self._unknown(self.untold or "", now)
            return [start for start in starts if start not in ours]
        self._booked, self._said = True, None
        return list(starts)

    def publish(self, now: datetime, *, soon: bool = False) -> None:
        """Say what we have and want, if it is not what we said last. `soon` = not more often than once a second."""
        since_s = self._it.clock.monotonic() - self._said_s
        if soon and since_s < 1.0 and self._said is not None:
            return
        page = self._pages.page(now)
        said = self._pages.facts(page)
        if said == self._said and since_s < REPUBLISH_S:
            return
        if self._published(page):
            self._said, self._said_s = said, self._it.clock.monotonic()
        elif self._pages.shared:
            self._unknown(self.untold or "", now)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _published(self, page: Page) -> bool:
        try:
            self._register.publish(page)
        except OSError as error:
            self.untold = f"our own page cannot be written: {error.strerror or error}"
            return False
        self.untold = None
        return True

    def _told_again(self, now: datetime) -> str | None:
        """Try once more to say how we stand; why it fails again."""
        self._published(self._pages.page(now))
        return self.untold

    def _look(self, now: datetime, trouble: str | None) -> None:
        try:
            seen = self._register.read(now)
        except OSError as error:
            seen, trouble = self._seen, trouble or f"the machine register cannot be read: {error.strerror or error}"
        found = self._added_up(seen, now)
        now_s = self._it.clock.monotonic()
        if trouble is None:
            self._stuck_s = None
        else:
            found = replace(found, unknown=(*found.unknown, trouble))
            self._stuck_s = now_s if self._stuck_s is None else self._stuck_s
            self._due_s = now_s + AGAIN_S
        self._use(found, now)
        if self._stuck_s is None or now_s - self._stuck_s >= STUCK_S:
            self._tell(found.unknown, now)

    def _added_up(self, seen: Sequence[Seen], now: datetime) -> Others:
        """What they come to; as long as no page changes it is the same, but for what fades in a month."""
        key: list[object] = [(id(each.page), each.alive, each.problem, each.living) for each in seen]
        if self._last is None or self._last[0] != key or not timedelta() <= now - self._last[1] < FADES:
            self._last = (key, now, others(seen, self._pages.me.workspace_id, now, HALF_LIFE_S))
        self._seen = seen  # keeps the pages, and with them their ids
        return self._last[2]

    def _unknown(self, why: str, now: datetime) -> None:
        self._use(replace(self._others, unknown=(*self._others.unknown, why)), now)
        self._tell(self._others.unknown, now)

    def _use(self, found: Others, now: datetime) -> None:
        self._others = found
        accounting, shared = self._it.accounting, self._pages.shared
        accounting.others = {owner: use for owner in shared if (use := found.uses.get(str(owner))) is not None}
        accounting.unknown = dict.fromkeys(shared, "; ".join(found.unknown)) if found.unknown else {}
        accounting.others_used = {project: found.used_gpu_s.get(project, 0.0) for project in self._pages.projects}
        planner = self._planner()
        if planner is not None:
            planner.index.usage.set_others(accounting.others_used, now.timestamp())

    def _tell(self, unknown: tuple[str, ...], now: datetime) -> None:
        """Once for each trouble."""
        if unknown and unknown != self._told:
            why = "; ".join(unknown)
            text = f"what other workspaces use is not known ({why}): jobs on shared accounts with a limit wait"
            self._it.apply(Notice(text=text, level="warning"), now)
        self._told = unknown
