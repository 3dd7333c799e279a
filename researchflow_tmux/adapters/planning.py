"""What a policy needs of a workspace: its rules from the settings, and how long jobs took from the history."""

from __future__ import annotations

import os
from collections.abc import Mapping

from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.attempt import Exited
from researchflow_tmux.domain.events import AttemptEnded
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import Settings
from researchflow_tmux.engine.planning.index import PlanRules
from researchflow_tmux.policies.planning.history import History
from researchflow_tmux.policies.planning.orders import POLICIES

LAST_ENDS = 2_000
"""Ended attempts that are looked at: more would cost more at each start than they tell."""


def plan_rules(settings: Settings) -> PlanRules | None:
    """What people decided about planning; None = the queue's own order."""
    policy = POLICIES.get(settings.policy)
    if policy is None:
        return None
    projects = settings.projects
    return PlanRules(
        policy=policy,
        weights={name: project.weight for name, project in projects.items()},
        caps={name: project.max_gpus for name, project in projects.items() if project.max_gpus is not None},
    )


def history(database: str, jobs: Mapping[int, Job]) -> History:
    """How long the jobs of a workspace took that succeeded. Raises StoreError when its state cannot be read."""
    found = History()
    if not os.path.exists(database):
        return found
    with SqliteReader(database) as reader:
        events = reader.events(kinds=["attempt_ended"], limit=LAST_ENDS)
    for payload in (event.payload for event in events):
        if isinstance(payload, AttemptEnded) and payload.job_id in jobs:
            ended = payload.ended
            if isinstance(ended.outcome, Exited) and ended.outcome.succeeded and ended.started_at is not None:
                found.learn(jobs[payload.job_id], max((ended.ended_at - ended.started_at).total_seconds(), 0.0))
    return found
