"""Which version of the code ran: the git commit of a directory, and what was changed in it."""

from __future__ import annotations

import os
import subprocess

import msgspec

TIMEOUT_S = 10.0
MAX_DIFF_BYTES = 1024 * 1024


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a git work tree; every field None outside of one, or where git does not answer in time."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    """Whether tracked files differ from the commit."""
    diff: str | None = None
    """`git diff HEAD`, cut after 1 MiB; None when clean."""
    root: str | None = None


def provenance(directory: str) -> Provenance:
    """Look at the work tree that `directory` is in. Never raises; 20 seconds at the most."""
    root = _work_tree(directory)
    if root is None:
        return Provenance()
    head = _git(root, "log", "-1", "--format=%H%n%D")
    if head is None:
        return Provenance(root=root)
    commit, _, names = head.partition("\n")
    diff = _git(root, "diff", "HEAD", "--no-color", "--no-ext-diff")
    return Provenance(
        commit=commit.strip() or None,
        branch=_branch(names.strip()),
        dirty=None if diff is None else bool(diff.strip()),
        diff=diff[:MAX_DIFF_BYTES] if diff and diff.strip() else None,
        root=root,
    )


def _work_tree(directory: str) -> str | None:
    here = os.path.abspath(directory)
    while not os.path.exists(os.path.join(here, ".git")):
        parent = os.path.dirname(here)
        if parent == here:
            return None
        here = parent
    return here


def _branch(names: str) -> str | None:
    """From `HEAD -> main, origin/main`; None for a detached head."""
    first = names.split(",")[0]
    return first.removeprefix("HEAD -> ") if first.startswith("HEAD -> ") else None


def _git(root: str, *args: str) -> str | None:
    # Optional locks off: looking must not get in the way of the user's own git.
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", root, *args],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
