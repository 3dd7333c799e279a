"""A process that takes the workspace lock: `python -m tests.unit.adapters.lock_process ROOT MODE`.

MODE: `hold` keeps it until a line comes in; `fork` keeps it and forks a child that outlives it; `turns` takes it and
gives it back 100 times, checking that it is alone, and looks at it in between as `status` does.
"""

from __future__ import annotations

import os
import signal
import sys

from researchflow_tmux.adapters import workspace_lock
from researchflow_tmux.domain.errors import WorkspaceBusy
from researchflow_tmux.domain.workspace import WorkspacePaths


def hold(paths: WorkspacePaths) -> None:
    with workspace_lock.acquire(paths, "scheduler", session="exp_scheduler"):
        print("held", flush=True)
        sys.stdin.readline()


def fork(paths: WorkspacePaths) -> None:
    workspace_lock.acquire(paths, "scheduler")
    child = os.fork()
    if child == 0:
        print(f"child {os.getpid()}", flush=True)
        signal.pause()
    signal.pause()


def turns(paths: WorkspacePaths) -> None:
    alone = os.path.join(paths.state, "alone")
    for _ in range(100):
        workspace_lock.holder(paths)
        with workspace_lock.acquire(paths, "cli", wait_s=30):
            os.close(os.open(alone, os.O_CREAT | os.O_EXCL))  # fails when somebody else is in here
            os.unlink(alone)


if __name__ == "__main__":
    where = WorkspacePaths(root=sys.argv[1], config=os.path.join(sys.argv[1], "scheduler_config.yml"))
    try:
        {"hold": hold, "fork": fork, "turns": turns}[sys.argv[2]](where)
    except WorkspaceBusy as error:
        print(f"busy: {error}", flush=True)
