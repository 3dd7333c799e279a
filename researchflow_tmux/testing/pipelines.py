"""The jobs of a pipeline file for a world in memory, read by what reads it in a workspace."""

from __future__ import annotations

import os

import msgspec

from researchflow_tmux.adapters.sources.pipelines.scan import scan
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.testing.machine import ENVIRONMENT
from researchflow_tmux.testing.world import World


def submit_pipeline(world: World, path: str | os.PathLike[str], settings: Settings | None = None) -> list[str]:
    """Queue all jobs of a pipeline file; their names. What each of them does is said by `world.script(NAME, …)`.

    Inputs and outputs are not looked at: nothing is executed. Raises ConfigError with every problem of the file.
    """
    file = os.path.abspath(os.fspath(path))
    root = os.path.dirname(file)
    paths = WorkspacePaths(root=root, config=os.path.join(root, "scheduler_config.yml"))
    found = scan(file, paths, settings or Settings(task_name="test"), dict(os.environ))
    names = {job.draft.key: job.draft.name for job in found.jobs}
    drafts = []
    for job in found.jobs:
        spec = msgspec.structs.replace(job.draft.to_spec(ENVIRONMENT), files=None, user=None)
        drafts.append(Draft(spec=spec, after_names=tuple(names[key] for key in job.needs)))
    world.submit_drafts(drafts)
    return list(names.values())
