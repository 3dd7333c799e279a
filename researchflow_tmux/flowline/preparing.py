"""The workspace beside a table, in which `run_cli` runs it."""

from __future__ import annotations

import json
import os
import re
import sys

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.adapters.sources.tables.reading import FORMATS
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.workspace import CONFIG_NAME

ORDER_MODULE = "flowline_order"
MIN_FREE_MIB = 10_000
MAX_JOBS = 4

_CONFIG = """\
# Made by run_cli for {table}. It keeps what you change here, but for the settings below the line.
# `rfsched -w {root} status` and all other commands work on it.

# FlowLine's `min` (MiB free on a GPU before a task starts there, and kept for it) and `max` (tasks at a time).
gpu_memory: {min_free}
max_jobs: {max_jobs}
max_jobs_per_gpu: unlimited

# What fails is tried again so often, later each time, behind what has not failed.
auto_restart_failed: true
max_retries: 3

# --- from the script, each time it runs
task_name: {task_name}
"""


def prepare(table: str, function: str, order: str | None) -> Workspace:
    """The workspace of this table, made if it is not there, with these functions.

    Raises UsageError if there is no such table; ConfigError if its settings were changed to what cannot be used.
    """
    path = os.path.abspath(table)
    stem, ending = os.path.splitext(os.path.basename(path))
    if ending.lower() not in FORMATS:
        raise UsageError(f"{table} is no table", hint=f"it ends in one of {', '.join(FORMATS)}")
    if not os.path.isfile(path):
        raise UsageError(f"{table} does not exist", hint="the first row names the columns, such as: name,lr,batch_size")
    root = os.path.join(os.path.dirname(path), f"{stem}_rfsched")
    config = os.path.join(root, CONFIG_NAME)
    os.makedirs(os.path.join(root, "jobs"), exist_ok=True)
    if not os.path.exists(config):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "tasks"
        text = _CONFIG.format(
            table=path, root=root, min_free=MIN_FREE_MIB, max_jobs=MAX_JOBS, task_name=json.dumps(name)
        )
        write_atomic(config, text, mode=0o644)
    workspace = Workspace(root)
    wanted = {
        "tables": [os.path.relpath(path, root)],
        "table_function": function,
        "work_dir": os.getcwd(),
        "python_env": sys.executable,
        "gpu_order": _order(root, order, workspace.settings.gpu_order),
    }
    for key, value in wanted.items():
        if getattr(workspace.settings, key) != value:
            workspace.set(key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return workspace


def _order(root: str, place: str | None, now: str) -> str:
    """The setting for a comparison of GPUs: a module in the workspace that leads to the user's function."""
    ours = f"{ORDER_MODULE}:compare"
    if place is None:
        return "spread" if now == ours else now
    text = (
        '"""Leads to the comparison of GPUs that was given to run_cli."""\n\n'
        "from researchflow_tmux.job.table_function import load\n\n"
        f"compare = load({place!r})\n"
    )
    write_atomic(os.path.join(root, f"{ORDER_MODULE}.py"), text, mode=0o644)
    return ours
