"""A machine in memory whose scheduler may be killed at any step, with a policy to choose by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.choice import META_USAGE, kept_usage
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.policies.planning.preemption import PreemptRules
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.testing.machine import IDLE_TICKS, WORKSPACE, Machine
from tests.scenario.invariants import check_invariants

__all__ = ["IDLE_TICKS", "WORKSPACE", "Crash", "World"]


class Crash(BaseException):
    """kill -9 of the scheduler: nothing catches it."""


class Guarded:
    """A port whose effects are crash points: the scheduler may die right before and right after each."""

    EFFECTS = frozenset({"commit", "prepare", "launch", "fence", "stop", "grant", "destroy", "close_sessions"})

    def __init__(self, target: Any, step: Callable[[str], None]) -> None:
        self._target = target
        self._step = step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self.EFFECTS:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._step(f"before {name}")
            result = found(*args, **kwargs)
            self._step(f"after {name}")
            return result

        return call


class World(Machine):
    """One workspace, one machine. Drive it with `step`, `run_until`, `crash_at`, `restart`."""

    def __init__(
        self, *args: Any, policy: str | None = None, preempt: PreemptRules | None = None, **options: Any
    ) -> None:
        self.policy = policy
        self.preempt = preempt or PreemptRules()
        self.passes: Counter[str] = Counter()
        """How often each crash point was passed."""
        self.checked: tuple[Engine, int] | None = None
        """The rows of which commit were last compared with the memory of which engine."""
        self._aim: tuple[str, int] | None = None
        if policy is not None:
            options.setdefault("accounts", {Owner("project", "b"): Bounds(gpus=2)})
        super().__init__(*args, **options)

    def ports(self) -> Any:
        return Guarded(self.store, self._pass), Guarded(self.host, self._pass)

    def prepare(self, engine: Engine) -> None:
        engine.context.step = self._pass
        if self.policy is not None:
            engine.choice.use(self._planner(engine))

    def check(self) -> None:
        check_invariants(self)

    def _planner(self, engine: Engine) -> Planner:
        rules = PlanRules(policy=POLICIES[self.policy or ""], weights={"a": 2.0}, preempt=self.preempt)
        now, before = self.clock.now(), engine.choice.planner
        if before is None:
            kept = kept_usage(self.store.load().meta.get(META_USAGE))
        else:
            kept = before.index.usage.kept(now.timestamp())
        return Planner(
            engine.workload,
            rules,
            History(),
            devices=self.devices,
            share=self.share,
            now=now,
            kept=kept,
            claims=engine.context.accounting.claims,
        )

    def _pass(self, step: str) -> None:
        self.passes[step] += 1
        if self._aim == (step, self.passes[step]):
            self._aim = None
            raise Crash(step)

    def crash_at(self, step: str, number: int) -> None:
        """Kill the scheduler at the `number`-th pass of a step, counted from the beginning of this world."""
        self._aim = (step, number)

    def step(self, downtime_s: float = 0.0) -> None:
        """One tick and the wait after it; a crash in it is followed by a restart after `downtime_s`."""
        before = self._progress()
        try:
            super().step()
        except Crash:
            self.virtual.advance(downtime_s)
            self.restart()
            check_invariants(self)
            self._notice_spinning(before)

    def run_until(self, done: Callable[[], bool], *, limit_s: float = 3600.0, downtime_s: float = 0.0) -> None:
        """Step until `done`; AssertionError after `limit_s` seconds of the world's time."""
        until = self.virtual.monotonic() + limit_s
        while not done():
            assert self.virtual.monotonic() <= until, f"not within {limit_s} s: {self.summary()}"
            self.step(downtime_s)

    def finish(self, *, limit_s: float = 3600.0, downtime_s: float = 0.0) -> None:
        """Run until every job has ended and nothing is left to happen."""
        self.run_until(self.idle, limit_s=limit_s, downtime_s=downtime_s)
