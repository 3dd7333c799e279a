"""Config files as a job source: those that appear while the scheduler runs. Nothing is written to them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources.configs import SOURCE, scan
from researchflow_tmux.adapters.sources.port import Reading, SourceContext
from researchflow_tmux.adapters.sources.selection import matching
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job

Seen = dict[str, tuple[int, int, int]]
"""What a file looked like, by path: inode, time of change and size."""


class ConfigFiles:
    """Queues configs that are new. A known one is left alone: `start` says what becomes of it."""

    kind = SOURCE

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._places = resolve_places(context.paths, context.settings)
        self._seen: Seen | None = None
        self._last = Reading()

    def directories(self) -> Collection[str]:
        """The config directory."""
        return [self._places.config_dir] if self._context.settings.watch_configs else []

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        """The configs that are no jobs yet; the files are opened only if one of them has changed."""
        if not self._context.settings.watch_configs or not os.path.isdir(self._places.config_dir):
            return Reading()
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            it = self._context
            found = scan(it.paths, it.settings, env=it.variables)
            self._last = Reading(drafts=found.drafts, problems=found.problems)
        drafts = tuple(draft for draft in self._last.drafts if draft.key not in jobs)
        return Reading(drafts=drafts, problems=self._last.problems)

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        """A config is the user's alone."""
        return ()

    def _look(self) -> Seen:
        seen: Seen = {}
        for path in matching(self._context.paths, self._context.settings, self._places):
            try:
                stat = os.stat(path)
            except OSError:
                seen[path] = (0, 0, 0)
            else:
                seen[path] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return seen
