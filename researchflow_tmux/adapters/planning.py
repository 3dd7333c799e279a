"""What a policy needs of a workspace: its rules from the settings, and how long jobs took from the history."""

from __future__ import annotations

from collections.abc import Mapping

from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.adapters.lessons import recent, remembered
from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.plugin import DEFAULT_POLICY, is_plugin
from researchflow_tmux.domain.units import parse_duration
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.policies.accounts.account import Bounds, bounds_of
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.policies.planning.preemption import PreemptRules
from researchflow_tmux.policies.prediction.history import History
from researchflow_tmux.runner.grants import stop_s


def plan_rules(settings: Settings) -> PlanRules | None:
    """What people decided about planning; None = the queue's own order. A plug-in stands on the default policy."""
    chosen = DEFAULT_POLICY if is_plugin(settings.policy) else settings.policy
    policy = POLICIES.get(chosen)
    if policy is None:
        return None
    projects = settings.projects
    return PlanRules(
        policy=policy,
        weights={name: project.weight for name, project in projects.items()},
        preempt=PreemptRules(
            save_s=parse_duration(settings.preempt_grace),
            stop_s=settings.stop_grace,
            after_s=parse_duration(settings.preempt_after),
        ),
        deadlines={name: parse_deadline(one.deadline).timestamp() for name, one in projects.items() if one.deadline},
    )


def bounds(settings: Settings) -> dict[Owner, Bounds]:
    """Whoever has an account, and its limits."""
    found = {Owner("project", name): bounds_of(project) for name, project in settings.projects.items()}
    return found | {Owner("user", name): bounds_of(user) for name, user in settings.users.items()}


def claims_of(settings: Settings, known: History | None) -> Claims:
    """What jobs ask of the accounts; `known` = how long they take, None = nobody knows."""

    def known_s(job: Job) -> float | None:
        return None if known is None or known.predict(job) is None else known.of(job).p80_s

    return Claims(bounds(settings), stop_s=stop_s(settings.stop_grace), known_s=known_s)


def history(paths: WorkspacePaths, jobs: Mapping[int, Job]) -> History:
    """How long the jobs of a workspace took that succeeded. Raises StoreError when its state cannot be read."""
    found, event = remembered(paths)
    for end in recent(paths, event, jobs)[1]:
        found.learn(end.job, end.took_s)
    return found
