"""Submitting from Python: commands, argument lists and calls of functions, one by one or thousands at a time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from researchflow_tmux.api import call_files, control
from researchflow_tmux.api.adding import ensure_scheduler
from researchflow_tmux.api.drafting import Drafter
from researchflow_tmux.api.functions import Call
from researchflow_tmux.api.handles import JobHandle, handle_of
from researchflow_tmux.api.wishes import wish_of
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.engine.submitting import Draft, in_dependency_order
from researchflow_tmux.intake import submissions

BATCH = 2000
"""Jobs submitted at once: the scheduler answers each batch within a fraction of a second."""

T = TypeVar("T")
Command = str | Sequence[str | os.PathLike[str]] | Call[Any]
"""A shell line, a program with its arguments, or a call of a function."""
Wanted = tuple[Command, Mapping[str, Any]]
"""A command with its options."""


class Submitter:
    """Submits to one workspace. Settings, environment and directory are looked at anew for each submission."""

    def __init__(self, workspace: Workspace, *, may_start: bool) -> None:
        self.workspace = workspace
        self.may_start = may_start
        self._drafter: Drafter | None = None
        self._made_for: tuple[object, ...] = ()

    def submit(self, wanted: Sequence[Wanted]) -> list[JobHandle[Any]]:
        """Queue these together: all, or none and an error. Their handles, in order."""
        drafter = self.ready()
        drafts = list(self._drafts(drafter, wanted))
        handles = self.queue(drafts)
        ensure_scheduler(self.workspace, drafter.captured.digest, may_start=self.may_start)
        return handles

    def submit_many(self, wanted: Iterable[Wanted]) -> Iterator[JobHandle[Any]]:
        """Queue these in batches, as they come."""
        for batch in batches(wanted, BATCH):
            yield from self.submit(batch)

    def queue(self, drafts: Sequence[Draft]) -> list[JobHandle[Any]]:
        """Queue drafts together; their handles, in order."""
        done = self.workspace.submit_drafts(drafts)
        ids = {draft.spec.key: job_id for draft, job_id in zip(in_dependency_order(drafts), done.ids, strict=True)}
        return [handle_of(self.workspace, ids[draft.spec.key], draft.spec.name) for draft in drafts]

    def ready(self) -> Drafter:
        """A drafter for settings, environment and directory as they are now."""
        workspace, captured = self.workspace, submissions.capture()
        config = os.stat(workspace.paths.config)
        settings_at = (config.st_mtime_ns, config.st_size, config.st_ino)
        inbox = workspace.asker.inbox()  # another one where the state was replaced: the environment is not in that
        made_for = (captured.digest, os.getcwd(), settings_at, id(inbox))
        if self._drafter is None or made_for != self._made_for:
            workspace.forget_settings()
            self._drafter = Drafter(workspace.paths, workspace.settings, control.ready(workspace))
            self._made_for = made_for
        return self._drafter

    def _drafts(self, drafter: Drafter, wanted: Sequence[Wanted]) -> Iterator[Draft]:
        root = self.workspace.paths.root
        calls = [command for command, _ in wanted if isinstance(command, Call)]
        wishes = [wish_of(_with_name(command, options), root) for command, options in wanted]
        packed = call_files.pack(self.workspace.paths, calls) if calls else iter(())
        for (command, _), wish in zip(wanted, wishes, strict=True):
            if isinstance(command, Call):
                key, words = next(packed)
                name = wish.name or f"{command.name}-{key[:4]}{key.partition(':')[2].removeprefix('0')}"
                yield drafter.draft(words, wish, source=call_files.SOURCE, key=key, name=name)
            else:
                yield drafter.draft(words_of(command), wish)


def _with_name(command: Command, options: Mapping[str, Any]) -> dict[str, Any]:
    return {**(command.options if isinstance(command, Call) else {}), **options}


def words_of(command: str | Sequence[str | os.PathLike[str]]) -> list[str]:
    """A shell line as one word, a program with its arguments as several. Raises UsageError for anything else."""
    if isinstance(command, str):
        if not command.strip():
            raise UsageError("an empty command", hint="submit a shell line, a list of words, or a function's `.job(…)`")
        return [command]
    if callable(command):
        raise UsageError(f"{command!r} is a function", hint="submit `job(function).job(arguments…)`")
    if not isinstance(command, Sequence) or not command:
        raise UsageError(f"{command!r} is no command", hint="submit a shell line, or a list of words")
    words = [os.fspath(word) if isinstance(word, str | os.PathLike) else word for word in command]
    odd = [word for word in words if not isinstance(word, str)]
    if odd:
        raise UsageError(f"{odd[0]!r} in {command!r} is no text", hint="write str(…) around it")
    return words if len(words) > 1 else [shlex.quote(words[0])]


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
