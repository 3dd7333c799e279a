"""The policy of a workspace, for saying why its jobs wait without asking the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters import policy_file
from researchflow_tmux.adapters.live_file import Live
from researchflow_tmux.adapters.planning import history, plan_rules
from researchflow_tmux.adapters.policy_file import PolicyState
from researchflow_tmux.domain.plugin import is_plugin
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.planning.choice import kept_usage
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.engine.planning.planner import Planner
from researchflow_tmux.engine.planning.said import Said
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.policies.planning.estimates import Estimator
from researchflow_tmux.policies.planning.orders import ordered_by
from researchflow_tmux.policies.planning.usage import Kept
from researchflow_tmux.policies.prediction.history import History


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the scheduler goes by, as far as it can be read."""

    rules: PlanRules
    history: History
    kept: Kept | None
    own: PolicyState | None = None
    """What a policy plug-in said, if one decides."""

    def planner(
        self,
        workload: Workload,
        live: Live | None,
        now: datetime,
        *,
        machine: tuple[Sequence[GpuDevice], float] | None = None,
        estimator: Estimator | None = None,
        claims: Claims | None = None,
    ) -> Planner:
        """A planner for a look; `live` = the GPUs as the scheduler last saw them.

        `machine` = other GPUs, and the share of one job; `estimator` = who is asked about durations, not the history,
        `claims` = who has an account.
        """
        seen = ([gpu.device for gpu in live.gpus], live.share) if live is not None else ([], 1.0)
        devices, share = machine or seen
        said, rules, who = None, self.rules, estimator or self.history
        if self.own is not None and live is not None and live.policy_trouble is None:
            said = Said(orders=self.own.orders)
            said.restore(self.own.keys, self.own.refused, self.own.spoken)
            rules = replace(rules, policy=ordered_by(self.own.name) if said.orders else rules.policy)
        return Planner(
            workload, rules, who, devices=devices, share=share, now=now, kept=self.kept, said=said, claims=claims
        )


def plan_of(paths: WorkspacePaths, settings: Settings, workload: Workload, usage: str | None) -> Plan | None:
    """The plan that the settings choose; None = the queue's own order. `usage` = what was saved of it."""
    rules = plan_rules(settings)
    if rules is None:
        return None
    own = policy_file.read(paths.policy) if is_plugin(settings.policy) else None
    own = own if own is not None and own.name == settings.policy else None
    return Plan(rules=rules, history=history(paths, workload.jobs), kept=kept_usage(usage), own=own)
