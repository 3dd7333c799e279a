"""The workspace: its file system, free space, private state and logs."""

from __future__ import annotations

import os
import shutil
import stat

from researchflow_tmux.adapters.doctor.check import Check, Context, fail, ok, warn
from researchflow_tmux.adapters.policy_check import check_plugin
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.plugin import is_plugin
from researchflow_tmux.mounts import is_network_fs

GIB = 1024**3
LITTLE_BYTES = GIB
TOO_LITTLE_BYTES = 64 * 1024**2


def file_system(context: Context) -> list[Check]:
    """Whether other machines may have the same files open."""
    if context.paths is None:
        return []
    kind = is_network_fs(context.paths.root)
    if kind is None:
        return [ok("file system", f"{context.paths.root} is on this machine's own disk")]
    fact = (
        f"{context.paths.root} is on a network ({kind}): the state is kept without a write-ahead log, "
        "and what other machines write there is seen only every few seconds"
    )
    return [warn("file system", fact, "use the workspace from one machine at a time; a local disk is faster")]


def space(context: Context) -> list[Check]:
    """Room for the state and the logs."""
    if context.paths is None:
        return []
    places = {nearest(context.paths.state), nearest(log_dir(context) or context.paths.state)}
    return [_space(place) for place in sorted(places)]


def _space(place: str) -> Check:
    free = shutil.disk_usage(place).free
    facts = os.statvfs(place)
    fact = f"{free / GIB:.1f} GiB free at {place}"
    if free < TOO_LITTLE_BYTES:
        return fail("disk space", fact, "make room: no job can be started without a record of it")
    if facts.f_files and not facts.f_favail:
        return fail("disk space", f"no more files can be made at {place}", "remove files: all inodes are in use")
    if free < LITTLE_BYTES:
        return warn("disk space", fact, "make room: logs drop output when the disk is full")
    return ok("disk space", fact)


def state(context: Context) -> list[Check]:
    """The state directory is ours alone: it holds environments."""
    if context.paths is None:
        return []
    directory = context.paths.state
    try:
        facts = os.stat(directory)
    except FileNotFoundError:
        return [_writable("state", nearest(directory), f"{directory} is made when it is first needed")]
    if facts.st_uid != os.geteuid():
        owner = f"it belongs to user number {facts.st_uid}"
        return [fail("state", f"{directory}: {owner}", "work as that user, or in a workspace of your own")]
    if stat.S_IMODE(facts.st_mode) & 0o077:
        fact = (
            f"{directory} (mode {stat.S_IMODE(facts.st_mode):o}) can be read by others, and environments hold secrets"
        )
        return [warn("state", fact, f"`chmod 700 {directory}`")]
    return [_writable("state", directory, f"{directory} is private and can be written")]


def logs(context: Context) -> list[Check]:
    """Logs can be written."""
    directory = log_dir(context)
    if directory is None:
        return []
    return [_writable("logs", nearest(directory), f"{directory} can be written")]


def policy(context: Context) -> list[Check]:
    """The policy plug-in, if there is one, can be loaded."""
    if context.paths is None or context.settings is None or not is_plugin(context.settings.policy):
        return []
    try:
        check_plugin(context.settings.policy, context.paths.root)
    except ConfigError as error:
        problem = error.problems[0]
        return [fail("policy", problem.message, problem.hint or "")]
    return [ok("policy", f"{context.settings.policy} can be loaded")]


def log_dir(context: Context) -> str | None:
    """The absolute log directory; None = no logs are written, or it is not known."""
    if context.paths is None or context.settings is None or not context.settings.enable_logging:
        return None
    return os.path.join(context.paths.root, os.path.expanduser(context.settings.log_dir))


def nearest(path: str) -> str:
    """The path, or the nearest directory above it that is there."""
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return path


def _writable(name: str, place: str, fact: str) -> Check:
    if not os.path.isdir(place):
        return fail(name, f"{place} is not a directory", "remove it or name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        return fail(name, f"{place} cannot be written", f"look at it with `ls -ld {place}`")
    return ok(name, fact)
