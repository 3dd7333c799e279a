"""All job files of a workspace behind the JobSource port."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence

from researchflow_tmux.adapters import user_file
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources.jobfiles.drafts import SOURCE, DraftMaker, Origin
from researchflow_tmux.adapters.sources.jobfiles.finding import Found, find
from researchflow_tmux.adapters.sources.jobfiles.job_file import JobFile
from researchflow_tmux.adapters.sources.jobfiles.lines import ENDED, FINISHED
from researchflow_tmux.adapters.sources.ledger import Ledger
from researchflow_tmux.adapters.sources.port import Reading, SourceContext
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job

_DONE_MARKS: dict[str, frozenset[str]] = {"finished": frozenset((FINISHED,)), "ended": ENDED, "never": frozenset()}


class JobFiles:
    """`jobs/**/*.txt`. See `job_file` for what happens to one of them."""

    kind = SOURCE

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._root = context.paths.root
        self._places = resolve_places(context.paths, context.settings)
        self._maker = DraftMaker(context)
        self._done_marks = _DONE_MARKS[context.settings.archive_job_files]
        self._files: dict[str, JobFile] = {}
        """By path relative to the workspace."""
        self._owners: dict[str, JobFile] = {}
        """By the part of a key before its `#`, where that is not the file's path any more."""
        self._found = Found()
        self._first = True

    def directories(self) -> Collection[str]:
        """The job directory, those in it, and where links in them lead."""
        return {self._places.job_dir, *self._found.directories}

    def read(self, jobs: Mapping[str, Job]) -> Reading:
        """What is new in the files; opens only those that have changed."""
        self._look_around(jobs)
        news = [file.read(jobs, first=self._first) for file in self._files.values()]
        self._first = False
        unwritten = [problem for file in list(self._files.values()) for problem in self._finish(file, jobs)]
        found = [*self._found.problems, *(problem for file in self._files.values() for problem in file.problems)]
        warnings = [warning for file in self._files.values() for warning in file.warnings]
        self._forget_gone()
        return Reading(
            drafts=tuple(draft for each in news for draft in each.drafts),
            withdrawn=tuple(key for each in news for key in each.withdrawn),
            again=tuple(key for each in news for key in each.again),
            problems=(*found, *unwritten),
            warnings=tuple(warnings),
        )

    def write(self, jobs: Mapping[str, Job], changed: Collection[str]) -> Sequence[Problem]:
        """Write the marks; each file once, however many of its jobs have changed."""
        if self._first:
            self._look_around(jobs)
        for key in changed:
            prefix = key.rpartition("#")[0]
            file = self._owners.get(prefix) or self._files.get(prefix)
            if file is not None:
                file.owe(key, jobs.get(key))
        return [problem for file in self._files.values() for problem in self._finish(file, jobs)]

    def _finish(self, file: JobFile, jobs: Mapping[str, Job]) -> list[Problem]:
        """Write what is owed; put the file away if that was all."""
        problems = file.write(jobs)
        if problems or not file.is_done(self._done_marks):
            return problems
        name = os.path.relpath(file.path, self._places.job_dir)
        try:
            file.put_away(self._places.processed_dir, name)
        except user_file.Unusable as error:
            problems.append(Problem(message=error.message, file=file.origin.file, hint=error.hint))
        return problems

    # -- which files there are -----------------------------------------------------------------------------------------

    def _look_around(self, jobs: Mapping[str, Job]) -> None:
        """Know the files that are there now; those that are not any more stay, to be judged once more."""
        self._found = find(self._root, self._places.job_dir)
        for path in self._found.left_over if self._first else ():
            with contextlib.suppress(OSError):
                os.unlink(path)
        new = [self._open(name) for name in self._found.files if name not in self._files]
        if self._first:
            self._open_missing(jobs)
        if new:
            self._follow_renamed(new)

    def _open(self, name: str) -> JobFile:
        path = os.path.normpath(os.path.join(self._root, name))
        inside = os.path.relpath(path, self._places.job_dir)
        origin = Origin(file=name, stem=os.path.splitext(inside)[0].replace(os.sep, "_"))
        file = JobFile(path, origin, Ledger(self._context.state_dir, name), self._maker)
        self._files[name] = file
        for prefix in file.prefixes():
            self._owners[prefix] = file
        return file

    def _open_missing(self, jobs: Mapping[str, Job]) -> None:
        """Files that went away while nobody looked: their jobs are to be withdrawn."""
        known = {prefix for file in self._files.values() for prefix in (*file.prefixes(), file.origin.file)}
        for name in sorted({key.rpartition("#")[0] for key in jobs} - known):
            self._open(name)

    def _follow_renamed(self, new: Sequence[JobFile]) -> None:
        """A new name for a file that we know: its jobs stay what they are."""
        missing = {file.identity: file for name, file in self._files.items() if name not in self._found.files}
        for file in new:
            old = missing.get(self._found.files[file.origin.file])
            if old is not None and old is not file and not file.notes and old.notes:
                file.adopt(old)
                for prefix in file.prefixes():
                    self._owners[prefix] = file

    def _forget_gone(self) -> None:
        for name in [name for name, file in self._files.items() if name not in self._found.files and file.is_over]:
            del self._files[name]
