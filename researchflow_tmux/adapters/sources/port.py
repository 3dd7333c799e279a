"""What a job source is: some kind of file that people write jobs into, and that may show what became of them.

A source knows files and nothing else: no tmux, no GPUs, no store. Whoever drives it (`intake.feed`) carries what it
reads to the queue, and what happened in the queue back to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths


class SourceContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a source is made with."""

    paths: WorkspacePaths
    settings: Settings
    variables: Mapping[str, str]
    """The environment captured at `start`: for finding Python, conda and the like."""
    state_dir: str
    """A private directory for what the source must remember; it need not exist yet."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a source say that the queue does not know yet."""

    drafts: tuple[JobDraft, ...] = ()
    """Jobs that are not in the queue, and those that wait and are described differently now. To repeat a known one is
    harmless; one that was withdrawn and is there again is queued again."""
    withdrawn: tuple[str, ...] = ()
    """Keys of jobs that are gone from the files. Those that still wait are cancelled, the others left alone."""
    again: tuple[str, ...] = ()
    """Keys of ended jobs that somebody wants run again, and said so in the file."""
    problems: tuple[Problem, ...] = ()
    """All there are now, with file, line and what to do. What is good runs all the same."""
    warnings: tuple[str, ...] = ()
    """All there are now."""


class JobSource(Protocol):
    """One kind of job source. All methods are called in one thread, one after the other.

    The process may be killed between any two steps, so:

    - A key is the same when the file is read again: it follows from the content, or is durable before it is returned.
    - What a user changed is what differs from what we last wrote there; that is durable (see `ledger`).

    `read` is called again only after its last Reading was carried out and is on disk, and `jobs` shows the result.
    """

    kind: str
    """`JobSpec.source` of its jobs."""

    def directories(self) -> Collection[str]:
        """Where a change matters. Those that do not exist (yet) are looked for with each sweep."""
        ...

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        """Look at the files; `jobs` are those of this kind that the queue knows, by key.

        Called at the beginning, when a directory changed and was quiet for a moment, and with each sweep: where nothing
        changed it must cost no more than asking the file system so. Raises nothing that a file can cause.
        """
        ...

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        """Show the state of the jobs with `changed` keys in the user's files; what cannot be written is a problem.

        Called at the beginning with all keys, then when something has happened; what could not be written is tried
        again by the next call (`changed` may be empty then). Raises nothing that a file can cause.
        """
        ...
