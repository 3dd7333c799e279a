"""What a policy needs of a workspace: its rules from the settings, and how long jobs took from the history."""

from __future__ import annotations

from collections.abc import Mapping

from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.adapters.lessons import recent, remembered
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.plugin import DEFAULT_POLICY, is_plugin
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.policies.planning.orders import POLICIES
from researchflow_tmux.policies.prediction.history import History


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
        caps={name: project.max_gpus for name, project in projects.items() if project.max_gpus is not None},
        deadlines={name: parse_deadline(one.deadline).timestamp() for name, one in projects.items() if one.deadline},
    )


def history(paths: WorkspacePaths, jobs: Mapping[int, Job]) -> History:
    """How long the jobs of a workspace took that succeeded. Raises StoreError when its state cannot be read."""
    found, event = remembered(paths)
    for end in recent(paths, event, jobs)[1]:
        found.learn(end.job, end.took_s)
    return found
