"""Which version of the code ran: the git commit of a directory and what was changed in it, noted as an attempt starts.

Code changes while a job waits and while it runs, so this cannot wait for the record.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.records.bounded_git import git

TIMEOUT_S = 10.0
MAX_DIFF_BYTES = 1024 * 1024


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a git work tree; every field None outside of one, or where git does not answer in time."""

    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    """Whether tracked files differ from the commit."""
    diff: bytes | None = None
    """`git diff HEAD`, cut after 1 MiB; None when clean."""
    root: str | None = None


def provenance(directory: str, *, with_diff: bool = True) -> Provenance:
    """Look at the work tree that `directory` is in. Never raises; 20 seconds at the most."""
    root = _work_tree(directory)
    if root is None:
        return Provenance()
    head = git(root, "log", "-1", "--format=%H%n%D", timeout_s=TIMEOUT_S, most_bytes=4096)
    if head is None:
        return Provenance(root=root)
    commit, _, names = head.decode("utf-8", "replace").partition("\n")
    diff = _diff(root) if with_diff else None
    return Provenance(
        commit=commit.strip() or None,
        branch=_branch(names.strip()),
        dirty=None if diff is None else bool(diff.strip()),
        diff=diff if diff and diff.strip() else None,
        root=root,
    )


class CodeNotes:
    """Notes which code attempts run, into their directories.

    A work tree whose `git diff` took too long is not asked for it again by this process.
    """

    def __init__(self) -> None:
        self._slow: set[str] = set()

    def note(self, started: dict[str, str], at: datetime) -> None:
        """`started`: attempt directory → the job's working directory. Each work tree is looked at once."""
        looked_at: dict[str, Provenance] = {}
        for directory, workdir in started.items():
            if os.path.exists(_code_path(directory)):
                continue  # noted before a restart of the scheduler
            if workdir not in looked_at:
                looked_at[workdir] = self._look(workdir)
            write_note(directory, looked_at[workdir], at)

    def _look(self, workdir: str) -> Provenance:
        found = provenance(workdir, with_diff=workdir not in self._slow)
        if found.commit is not None and found.dirty is None:
            self._slow.add(workdir)
        return found


def write_note(directory: str, found: Provenance, at: datetime) -> None:
    """Write what was found into an attempt's directory; nothing where there is no commit."""
    if found.commit is None:
        return
    facts = {name: getattr(found, name) for name in ("commit", "branch", "dirty", "root")}
    with contextlib.suppress(OSError):  # no directory any more, or no room: the record then says nothing of the code
        if found.diff is not None:
            _private_write(diff_path(directory), found.diff)
        _private_write(_code_path(directory), msgspec.json.encode({**facts, "noted_at": at.isoformat()}))


def code_of(directory: str) -> dict[str, Any] | None:
    """What was noted about an attempt's code; None = nothing."""
    try:
        with open(_code_path(directory), "rb") as file:
            return msgspec.json.decode(file.read(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return None


def diff_path(directory: str) -> str:
    """Where an attempt's uncommitted changes are."""
    return os.path.join(directory, "code.diff")


def _code_path(directory: str) -> str:
    return os.path.join(directory, "code.json")


def _diff(root: str) -> bytes | None:
    # Nothing of the user's configuration may run: external differs, text converters, file system monitors.
    words = ("diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty")
    return git(root, *words, timeout_s=TIMEOUT_S, most_bytes=MAX_DIFF_BYTES)


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


def _private_write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
