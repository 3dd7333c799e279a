"""Limits: of this login, and of the container or control group around it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

from researchflow_tmux.adapters import user_systemd
from researchflow_tmux.adapters.doctor.check import Check, Context, ok, warn

FEW_FILES = 1024
FEW_PROCESSES = 256
LITTLE_MEMORY = 2 * 1024**3


def open_files(context: Context) -> list[Check]:
    """`ulimit -n`: jobs inherit it, and data loaders need many."""
    del context
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fact = f"{_number(soft)} (`ulimit -n`), at most {_number(hard)}"
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        return [warn("open files", fact, "`ulimit -n 4096` before the first job: jobs and data loaders inherit it")]
    return [ok("open files", fact)]


def processes(context: Context) -> list[Check]:
    """`ulimit -u` against what this user already runs, threads included."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == resource.RLIM_INFINITY or os.geteuid() == 0:
        return [ok("processes", "no limit (`ulimit -u`)")]
    used = sum(_threads(context))
    fact = f"{used} of {soft} are in use (`ulimit -u`)"
    if soft - used < FEW_PROCESSES:
        return [warn("processes", fact, "raise nproc in /etc/security/limits.conf, or end what is not needed")]
    return [ok("processes", fact)]


def _threads(context: Context) -> Iterator[int]:
    for name in os.listdir(context.place("/proc")):
        try:
            if name.isdecimal() and os.stat(context.place(f"/proc/{name}")).st_uid == os.geteuid():
                yield len(os.listdir(context.place(f"/proc/{name}/task")))
        except OSError:
            continue  # it has ended


def job_memory(context: Context) -> list[Check]:
    """Who holds a job to its `memory:`; the runner does where the kernel cannot be asked to."""
    del context
    missing = user_systemd.why_not()
    if missing is None:
        return [ok("memory of jobs", "limits (`memory`) are held by the kernel, in scopes of your systemd")]
    return [ok("memory of jobs", f"limits (`memory`) are held by looking once a second: {missing}")]


def container(context: Context) -> list[Check]:
    """Limits of the control groups around us, the tightest of each kind; and whether this is a container."""
    if not os.path.exists(context.place("/sys/fs/cgroup/cgroup.controllers")):
        return [ok("control group", "limits of the first version of control groups are not looked at")]
    tasks = _tightest(context, "pids")
    memory = _tightest(context, "memory")
    found = []
    if tasks is not None and tasks[0] - tasks[1] < FEW_PROCESSES:
        fact = f"{tasks[1]} of {tasks[0]} tasks of the control group are in use"
        found.append(warn("control group", fact, "start the container with a larger --pids-limit, or raise TasksMax"))
    if memory is not None and memory[0] < LITTLE_MEMORY:
        fact = f"memory is limited to {memory[0] / 1024**3:.1f} GiB"
        found.append(warn("control group", fact, "jobs above it are killed: raise the container's or slice's limit"))
    if found:
        return found
    inside = any(os.path.exists(context.place(mark)) for mark in ("/.dockerenv", "/run/.containerenv"))
    parts = ["in a container" if inside else "not in a container"]
    parts.append("no limit of tasks" if tasks is None else f"{tasks[0]} tasks")
    parts.append("no limit of memory" if memory is None else f"{memory[0] / 1024**3:.1f} GiB of memory")
    return [ok("control group", ", ".join(parts))]


def _tightest(context: Context, controller: str) -> tuple[int, int] | None:
    """(limit, in use) of the tightest group from ours up to the root; None = no limit."""
    limit_file, use_file = ("pids.max", "pids.current") if controller == "pids" else ("memory.max", "memory.current")
    best: tuple[int, int] | None = None
    for directory in _groups(context):
        limit = (context.text(f"{directory}/{limit_file}") or "").strip()
        used = (context.text(f"{directory}/{use_file}") or "0").strip()
        if limit.isdecimal() and used.isdecimal() and (best is None or int(limit) < best[0]):
            best = (int(limit), int(used))
    return best


def _groups(context: Context) -> Iterator[str]:
    """Directories of our control group (version 2) and those above it; in a container the root is its own."""
    lines = (context.text("/proc/self/cgroup") or "").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/").strip("/")
    while path:
        yield f"/sys/fs/cgroup/{path}"
        path = os.path.dirname(path)
    yield "/sys/fs/cgroup"


def _number(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
