"""All lines of one file judged: what is new, withdrawn or wanted again, what is wrong, and which marks are owed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence

from msgspec.structs import replace

from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.jobfiles.drafts import DraftMaker, Origin, differs
from researchflow_tmux.adapters.sources.jobfiles.lines import CommandLine, JobLines
from researchflow_tmux.adapters.sources.jobfiles.notes import GONE, Note, decode, end_of
from researchflow_tmux.adapters.sources.jobfiles.options import OptionReader
from researchflow_tmux.adapters.sources.jobfiles.verdicts import Verdict, judge
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.units import counted

MOST_TOLD = 20
"""Problems of one file that are told one by one."""
_WAITING = (JobState.QUEUED, JobState.HELD)


class Judging:
    """One pass over a file. `notes` are brought up to date where a mark is as it should be."""

    def __init__(
        self, origin: Origin, maker: DraftMaker, notes: MutableMapping[str, str], jobs: Mapping[str, Job]
    ) -> None:
        self.drafts: list[JobDraft] = []
        self.withdrawn: list[str] = []
        self.again: list[str] = []
        self.owed: set[str] = set()
        self.warnings: list[str] = []
        self._origin = origin
        self._maker = maker
        self._notes = notes
        self._jobs = jobs
        self._options = OptionReader(origin.file)
        self._problems: list[Problem] = []
        self._strangers: list[int] = []
        self._forgotten: list[int] = []

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, in the order of the lines; beyond the first ones only how many there are."""
        found = [*self._problems, *(problem for each in self._options.problems.values() for problem in each)]
        found.sort(key=lambda problem: (problem.line or 0, problem.column or 0))
        if len(found) > MOST_TOLD:
            more = counted(len(found) - MOST_TOLD, "more problem")
            found[MOST_TOLD:] = [Problem(message=f"{more} after these", file=self._origin.file)]
        return found

    def lines(self, found: JobLines, keys: Sequence[str]) -> None:
        """Judge the commands that are there."""
        file = self._origin.file
        for complaint in found.complaints:
            problem = Problem(message=complaint.message, file=file, line=complaint.index + 1, hint=complaint.hint)
            self._problems.append(problem)
        for line, key in zip(found.commands, keys, strict=True):
            self._line(line, key)
        if self._strangers:
            self.warnings.append(
                f"{file}: {_lines(self._strangers)} marked `!` (running), but not by this workspace: not queued. If "
                "nothing runs there, delete the mark to run it, or write `#` in its place"
            )
        if self._forgotten:
            self.warnings.append(
                f"{file}: {_lines(self._forgotten)} without a mark, but the command has run, and how it ended was "
                "removed from the history: not queued. Write `#` before it; to run it again, take that away later"
            )

    def gone(self, keys: Iterable[str]) -> None:
        """These lines are not in the file (any more)."""
        for key in list(keys):
            job = self._jobs.get(key)
            note = decode(self._notes[key])
            if job is None:
                del self._notes[key]
                continue
            if note.mark != GONE:
                self._notes[key] = replace(note, mark=GONE, ended_us=end_of(job)).encode()
            if job.state in _WAITING:
                self.withdrawn.append(key)
            elif job.state is JobState.ACTIVE:
                self.warnings.append(f"{self._origin.file}: the line of {job.name} is gone; it runs on")

    def _line(self, line: CommandLine, key: str) -> None:
        note, job = decode(self._notes[key]), self._jobs.get(key)
        match judge(line.mark, note, job):
            case Verdict.QUEUE:
                self.drafts += self._draft(line, key, note)
            case Verdict.CHECK if job is not None:
                self._accept(line, key, note, job)
                self.drafts += [draft for draft in self._draft(line, key, note) if differs(draft, job)]
            case Verdict.AGAIN:
                drafts = self._draft(line, key, note)
                self.drafts += drafts
                self.again += [draft.key for draft in drafts]
            case Verdict.WITHDRAW:
                self.withdrawn.append(key)
            case Verdict.WRITE:
                self.owed.add(key)
            case Verdict.STRANGER:
                self._strangers.append(line.index + 1)
            case Verdict.FORGOTTEN:
                self._forgotten.append(line.index + 1)
            case _:
                self._accept(line, key, note, job)

    def _accept(self, line: CommandLine, key: str, note: Note, job: Job | None) -> None:
        accepted = accept(line.mark, note, job)
        if accepted != note:
            self._notes[key] = accepted.encode()

    def _draft(self, line: CommandLine, key: str, note: Note) -> list[JobDraft]:
        """The job of a line; none if there is a problem with it."""
        section = self._options.section(line.options)
        if section is None:
            return []
        try:
            draft = self._maker.draft(self._origin, key, note.label, line, section)
        except ConfigError as error:
            self._problems += error.problems
            return []
        warning = self._maker.warning(self._origin, line)
        if warning is not None:
            self.warnings.append(warning)
        return [draft]


def accept(now: str, note: Note, job: Job | None) -> Note:
    """The note on a line whose mark is as it should be."""
    if job is None:
        return replace(note, mark=now)
    ended_us = end_of(job)
    return replace(note, mark=now, ended_us=ended_us, archived=note.archived and ended_us == note.ended_us)


def _lines(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"line {numbers[0]} is"
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"{len(numbers)} lines ({shown}) are"
