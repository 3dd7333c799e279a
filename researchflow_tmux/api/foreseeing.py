"""Reading a workspace for a plan: its jobs, its GPUs, its policy, and what is known of durations."""

from __future__ import annotations

import os
from datetime import datetime

from researchflow_tmux.adapters import foreseen_file, live_file
from researchflow_tmux.adapters.foreseen_file import by_key
from researchflow_tmux.adapters.planning import history
from researchflow_tmux.adapters.room_settings import foreseeable
from researchflow_tmux.api import asking
from researchflow_tmux.api.accounts import accounting_of
from researchflow_tmux.api.durations import Durations
from researchflow_tmux.api.planning import plan_of
from researchflow_tmux.api.scene import Machine, Scene, machine_of
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.gpus import META_CONDITIONS, decode_conditions
from researchflow_tmux.engine.planning.choice import META_USAGE
from researchflow_tmux.engine.workload import Workload
from researchflow_tmux.policies.prediction.fingerprint import fingerprint
from researchflow_tmux.policies.prediction.history import History, Lesson


def scene(workspace: Workspace, now: datetime) -> Scene:
    """Read it all. Raises UsageError when nothing was ever queued, StoreError, ConfigError or ProbeError."""
    paths = workspace.paths
    holder = asking.scheduler(paths)
    if holder is None:
        workspace.settle()
    with workspace.reader() as reader, reader.snapshot():
        jobs, attempts, meta = reader.all_jobs(), reader.live_attempts(), reader.meta()
    settings = workspace.usable_settings
    conditions = decode_conditions(meta.get(META_CONDITIONS))
    workload = Workload(jobs, attempts, gpus=conditions)
    plan = plan_of(paths, settings, workload, meta.get(META_USAGE))
    known = plan.history if plan is not None else history(paths, workload.jobs)
    live = live_file.read(paths.live) if holder is not None else None
    foreseen = foreseen_file.read(paths.foreseen)
    _learn_from_running(known, workload, foreseen)
    return Scene(
        jobs=jobs,
        attempts=attempts,
        conditions=conditions,
        machine=_machine(workspace) if live is None else machine_of(live),
        plan=plan,
        durations=Durations(known, by_key(foreseen), now, fresh=foreseen is not None and holder is not None),
        now=now,
        live=live,
        accounting=lambda over: accounting_of(paths, settings, over, meta),
    )


def _learn_from_running(known: History, workload: Workload, foreseen: foreseen_file.Foreseen | None) -> None:
    """What runs and says how far it is, tells of its like before it has ended. This history is not kept."""
    for each in () if foreseen is None else foreseen.attempts:
        found = each.foresight
        if found is not None and found.source != "history" and each.key in workload.attempts:
            known.remember(Lesson(fingerprint(workload.jobs[each.job_id].spec), found.total_s))


def _machine(workspace: Workspace) -> Machine:
    """As a scheduler that is started now would find it."""
    from researchflow_tmux.wiring import cpu_places, gpus_now, on_this_machine, room_rules, share

    settings = workspace.usable_settings
    found, _, tickets = gpus_now(settings, os.environ)
    return Machine(
        devices=list(found.devices),
        share=share(settings),
        cpu_places=cpu_places(settings),
        rules=foreseeable(on_this_machine(room_rules(settings))),
        others=len({ticket.uuid for ticket in tickets}),
    )
