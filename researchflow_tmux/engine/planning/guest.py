"""A policy plug-in beside the engine: asked before each decision, and replaced by the default when it misbehaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from researchflow_tmux.domain.errors import PolicyError
from researchflow_tmux.domain.events import Payload
from researchflow_tmux.domain.plugin import DEFAULT_POLICY, Hooks, Question
from researchflow_tmux.engine.capacity import Capacity
from researchflow_tmux.engine.planning import telling
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.policies.planning.orders import POLICIES, Policy, ordered_by
from researchflow_tmux.ports import PolicyPlugin

MOST_JOBS = 5_000
"""Told at once: many more would take longer than a plug-in may. The next question follows immediately."""
LOADING_S = 0.1
"""How often is looked whether it is loaded."""

MakePlanner = Callable[[Policy, Said | None], Planner]
"""A planner by a policy for the workload as it is now; with what a plug-in says of it, if one does."""


class Guest:
    """Knows whether the plug-in decides, or the default policy in its place, and why."""

    def __init__(self, plugin: PolicyPlugin, make: MakePlanner, *, strict: bool = False) -> None:
        """`strict` = raise PolicyError instead of letting the default take over: for simulations and tests."""
        self.plugin = plugin
        self.error: str | None = None
        """Why the default decides; None = the plug-in does."""
        self.said: Said | None = None
        self.hooks: Hooks | None = None
        self.known = False
        """Whether it was loaded, or found to be impossible to load, at least once."""
        self._make = make
        self._strict = strict

    @property
    def name(self) -> str:
        """As the settings have it."""
        return self.plugin.name

    @property
    def default(self) -> Policy:
        """What decides in its place."""
        return POLICIES[DEFAULT_POLICY]

    @property
    def loading(self) -> bool:
        """Whether it is being loaded, for the first time or again."""
        return self.said is None and self.error is None

    def arrive(self) -> Planner | None:
        """A new planner for `Choice`, if it is just now that the plug-in is loaded. Raises PolicyError.

        While one that was edited is loaded anew, what it said before holds.
        """
        if not self.loading:
            if not self.plugin.changed():
                return None
            self.error = self.said = self.hooks = None
            self.plugin.reload()
        hooks = self.hooks = self.plugin.hooks()
        if hooks is None:
            return None
        self.known = True
        self.said = Said(orders=bool(hooks.order), events=bool(hooks.on_event))
        return self._make(ordered_by(self.name) if hooks.order else self.default, self.said)

    def fail(self, error: PolicyError) -> Planner:
        """It misbehaved: the default's planner. Raises the error if that is wanted."""
        if self._strict:
            raise error
        self.error, self.said, self.known = str(error), None, True
        return self.stand_in()

    def stand_in(self) -> Planner:
        """The default's planner: decides in its place, or only follows what happens until it is loaded."""
        return self._make(self.default, None)

    def see(self, planner: Planner, payload: Payload, at: datetime) -> None:
        """One event was applied to the workload."""
        if self.said is not None and self.hooks is not None and self.hooks.on_event:
            event = telling.event_view(planner.workload, payload, at)
            if event is not None:
                self.said.happened(event)

    def ask(self, planner: Planner, room: Capacity, now: datetime) -> bool:
        """Let it speak about what waits; False = there is more to tell it before anything starts.

        Raises PolicyError.
        """
        said, hooks = self.said, self.hooks
        if said is None or hooks is None:
            return True
        room.one_by_one = hooks.by_facts
        if not said.news and not hooks.by_facts:
            return True
        asked = said.next_fresh(MOST_JOBS)
        index = planner.index
        question = Question(
            facts=telling.facts(planner.workload, index, room, now),
            jobs=[telling.job_view(index, planner.workload.jobs[job_id]) for job_id in asked],
            gone=said.take_gone(),
            events=said.take_events(),
        )
        index.file_again(said.take(self.plugin.ask(question), asked), now)
        return said.complete
