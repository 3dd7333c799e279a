"""Task tables as a job source: all tables in job_dir, and those that the settings name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from researchflow_tmux.adapters.places import absolute, resolve_places
from researchflow_tmux.adapters.sources.ledger import Ledger
from researchflow_tmux.adapters.sources.port import Reading, SourceContext
from researchflow_tmux.adapters.sources.tables.drafts import SOURCE, Drafting
from researchflow_tmux.adapters.sources.tables.finding import find
from researchflow_tmux.adapters.sources.tables.table_file import JobsByRow, News, TableFile, turn_of
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job


class Tables:
    """Each row is queued as often as it still needs to run; what ran is written into the row."""

    kind = SOURCE

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._root = context.paths.root
        self._job_dir = resolve_places(context.paths, context.settings).job_dir
        self._common: Drafting | None = None
        self._files: dict[str, TableFile] = {}
        """By what keys call them: the path relative to the workspace."""
        self._directories: set[str] = {self._job_dir}

    def directories(self) -> Collection[str]:
        """All directories in job_dir, and those of tables elsewhere."""
        return self._directories

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        """What the rows want, of tables that have changed."""
        found = find(self._context.paths, self._job_dir, self._context.settings.tables)
        self._directories = found.directories
        for file in found.files:
            self._file(file)
        news: list[News] = [News(problems=tuple(found.problems))]
        by_file: Mapping[str, JobsByRow] | None = None
        for file, table in list(self._files.items()):
            if table.is_settled(jobs):
                news.append(table.last)
                continue
            if by_file is None:
                by_file = _by_file(jobs)
            news.append(table.read(by_file.get(file, {})))
            if table.is_gone:
                del self._files[file]
        return Reading(
            drafts=tuple(draft for each in news for draft in each.drafts),
            withdrawn=tuple(key for each in news for key in each.withdrawn),
            problems=tuple(problem for each in news for problem in each.problems),
            warnings=tuple(dict.fromkeys(warning for each in news for warning in each.warnings)),
        )

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        """Count the successes among these jobs in the tables."""
        for key in changed:
            job = jobs.get(key)
            file, _, turn = key.rpartition("#")
            if job is not None and file:
                self._file(file).learn(turn_of(turn), job)
        return [problem for table in self._files.values() for problem in table.write()]

    def _file(self, file: str) -> TableFile:
        if file not in self._files:
            if self._common is None:
                self._common = Drafting(self._context)
            ledger = Ledger(self._context.state_dir, file)
            self._files[file] = TableFile(absolute(self._root, file), file, ledger, self._common)
        return self._files[file]


def _by_file(jobs: Mapping[str, Job]) -> Mapping[str, JobsByRow]:
    found: dict[str, dict[str, dict[int, Job]]] = {}
    for key, job in jobs.items():
        file, _, rest = key.rpartition("#")
        row, number = turn_of(rest)
        found.setdefault(file, {}).setdefault(row, {})[number] = job
    return found
