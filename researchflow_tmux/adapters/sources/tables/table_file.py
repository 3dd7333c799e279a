"""One task table: which jobs its rows want, and the counts that are written back into it.

A count and the note that it was written are two files, and the process may be killed between them. So the ledger
first says what is about to be written (`i`), then the table is replaced, then the ledger says that it was (`c`).
Whoever finds an `i` looks at the number in the table.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters import user_file
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.ledger import Ledger
from researchflow_tmux.adapters.sources.tables.columns import CMD, NAME, NEED, RUN
from researchflow_tmux.adapters.sources.tables.counts import (
    FORGIVEN,
    adopted,
    counted,
    is_uncounted,
    turns,
)
from researchflow_tmux.adapters.sources.tables.drafts import Drafting, RowJobs, repeated
from researchflow_tmux.adapters.sources.tables.editors import hands_off
from researchflow_tmux.adapters.sources.tables.grid import Unreadable
from researchflow_tmux.adapters.sources.tables.intents import INTENT, intent, settled
from researchflow_tmux.adapters.sources.tables.reading import Table, interpret, read_table
from researchflow_tmux.adapters.sources.tables.rows import Row, automatic_name, few
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.job import Job, JobState

Turn = tuple[str, int]
"""(key of a row, number of the repetition)."""
JobsByRow = Mapping[str, Mapping[int, Job]]
WAITING = (JobState.QUEUED, JobState.HELD)
TRIES = 3
"""How often a table that somebody writes at the same moment is read again before it is left for later."""


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What a table says that the queue does not know. See `Reading`."""

    drafts: tuple[JobDraft, ...] = ()
    withdrawn: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


class TableFile:
    """The table at `path`; `file` is what keys and problems call it."""

    def __init__(self, path: str, file: str, ledger: Ledger, common: Drafting) -> None:
        self.path = path
        self.file = file
        self._ledger = ledger
        self._common = common
        self._saved = ledger.load()
        self._notes: dict[Turn, str] = {turn_of(key): note for key, note in self._saved.items()}
        self._table: Table | None = None
        self._wrong: Problem | None = None
        """Why there is no table."""
        self._looked: user_file.Seen | None = None
        """What the file looked like when it was read, also if no table was in it."""
        self._missed = 1
        """Looks in a row that found no file; who has never seen it waits for no second one."""
        self._told: user_file.Seen | None = None
        """The table whose jobs were told."""
        self._expected: frozenset[str] = frozenset()
        self._last = News()
        self._successes: dict[Turn, Job] = {}
        """Those that are not in the table yet."""
        self._unwritten: list[Problem] = []
        """Why they are not."""

    # -- reading -------------------------------------------------------------------------------------------------------

    def learn(self, turn: Turn, job: Job) -> None:
        """The job of this repetition is as it is now."""
        if is_uncounted(job, self._notes.get(turn)):
            self._successes[turn] = job

    def is_settled(self, known: Mapping[str, Job]) -> bool:
        """Whether a look would bring nothing new; it costs a stat."""
        now = self._look()
        if now is None or now != self._looked:
            return False
        told = self._wrong is not None or (self._table is not None and self._told == self._table.seen)
        return told and all(key in known for key in self._expected)

    @property
    def is_gone(self) -> bool:
        """Whether there is no such file any more, for certain."""
        return self._missed > 1

    @property
    def last(self) -> News:
        """What is wrong with the table, as of the last reading."""
        if self._unwritten:
            self.write()
        return News(problems=(*self._last.problems, *self._unwritten), warnings=self._last.warnings)

    def read(self, jobs: JobsByRow) -> News:
        """Which jobs its rows want."""
        self.write()  # also the columns that it does not have yet
        self._load()
        if self._wrong is not None:
            self._last = News(problems=(self._wrong,))
        elif self._table is None:
            self._last = self._gone(jobs)
        else:
            self._last = self._news(self._table, jobs)
            self._told = self._table.seen
        self._expected = frozenset(draft.key for draft in self._last.drafts)
        return replace(self._last, problems=(*self._last.problems, *self._unwritten))

    def _look(self) -> user_file.Seen | None:
        try:
            return user_file.look(self.path)
        except user_file.Unusable:
            return None

    def _load(self) -> None:
        """Read the table again if it is not as it was."""
        now = self._look()
        if now is not None and now == self._looked:
            return
        self._wrong, self._looked = None, now
        try:
            self._table = read_table(self.path, self.file)
        except Unreadable as error:
            self._wrong = error.problem(self.file)
        except user_file.ChangedMeanwhile:
            self._wrong = Problem(message="is being written just now", file=self.file, hint="it is read again soon")
            self._looked = None
        else:
            if self._table is not None:
                self._missed, self._looked = 0, self._table.seen
                self._settle(self._table)

    def _gone(self, jobs: JobsByRow) -> News:
        """A file that is away for a moment (some programs save so) takes no job with it."""
        self._missed += 1
        if not self.is_gone:
            return News()
        return News(withdrawn=tuple(self._key(turn) for turn in _waiting(jobs, jobs)))

    def _news(self, table: Table, jobs: JobsByRow) -> News:
        rows = {row.key: row for row in table.rows if row.key is not None}
        remaining = self._remaining(rows)
        wanting = {key: left - _alive(jobs.get(key, {})) for key, left in remaining.items()}
        gone = [key for key in jobs if key not in rows] if table.whole else []
        taken = adopted(_running_contents(jobs, gone), wanting)
        maker = RowJobs(self._common, table.grid, table.columns, self.file)
        notes = _by_row(self._notes)
        drafts: list[JobDraft] = []
        withdrawn: list[Turn] = _waiting(jobs, gone)
        forgiven: list[Turn] = []
        for key, left in remaining.items():
            own = jobs.get(key, {})
            due = turns(left - taken.get(key, 0), own, notes.get(key, {}))
            withdrawn += [(key, number) for number in due.withdrawn]
            forgiven += [(key, number) for number in due.forgiven]
            wanted = [number for number in due.wanted if number not in own or own[number].state is not JobState.ACTIVE]
            draft = maker.draft(rows[key]) if wanted else None
            if draft is not None:
                drafts += [_repetition(draft, number) for number in wanted]
        self._notes.update(dict.fromkeys(forgiven, FORGIVEN))
        problems = [*table.problems, *few(maker.problems, self.file), *self._save()]
        warnings = (*table.warnings, *maker.warnings)
        keys = tuple(self._key(turn) for turn in withdrawn)
        return News(drafts=tuple(drafts), withdrawn=keys, problems=tuple(problems), warnings=warnings)

    def _remaining(self, rows: Mapping[str, Row]) -> dict[str, int]:
        """Runs that each good row still needs: successes that are not written yet are counted already."""
        unwritten = Counter(key for key, _ in self._successes)
        return {key: row.need - row.run - unwritten[key] for key, row in rows.items() if row.good}

    # -- writing -------------------------------------------------------------------------------------------------------

    def write(self) -> list[Problem]:
        """Put what is not there yet into the table: counts, and columns that it does not have."""
        self._unwritten = self._try_to_write()
        return self._unwritten

    def _try_to_write(self) -> list[Problem]:
        for _ in range(TRIES):
            self._load()
            if self._wrong is not None or self._table is None or not self._table.columns.usable:
                return []
            try:
                return self._write(self._table)
            except (user_file.ChangedMeanwhile, user_file.BeingWritten):
                continue
            except (user_file.Unusable, Unreadable) as error:
                return [Problem(message=error.message, file=self.file, hint=error.hint)]
            except OSError as error:
                hint = "the count is written later"
                return [Problem(message=f"cannot be written: {error.strerror or error}", file=self.file, hint=hint)]
        return [Problem(message="is being written by somebody else", file=self.file, hint="it is tried again")]

    def _write(self, table: Table) -> list[Problem]:
        targets, problems = self._targets(table)
        added = table.columns.missing if any(row.good for row in table.rows) else ()
        if not targets and not added:
            return problems
        kept_off = hands_off(self.path, self.file)
        if kept_off is not None:
            return [*problems, kept_off]
        if added and table.grid.closed:
            message = f"the columns {', '.join(added)} cannot be added: {table.grid.closed}"
            return [*problems, Problem(message=message, file=self.file, hint="correct that row first")]
        runs = {row.record: row.run + len(done) for row, done in targets}
        grid = table.grid.patched(_edits(table, added, runs), added)
        about = {turn: intent(job, row.run, runs[row.record]) for row, done in targets for turn, job in done.items()}
        before, self._notes = self._notes, {**self._notes, **about}
        try:
            self._write_ledger()
            seen = user_file.replace(self.path, grid.content(), table.seen)
        except Exception:
            self._notes = before  # for certain it was not written
            raise
        for _, done in targets:
            for turn, job in done.items():
                self._notes[turn] = counted(job)
                del self._successes[turn]
        if self._told == table.seen:
            self._told = seen
        if added:
            self._table = interpret(grid, seen, self.file)
        else:
            rows = tuple(replace(row, run=runs[row.record]) if row.record in runs else row for row in table.rows)
            self._table = replace(table, grid=grid, seen=seen, rows=rows)
        self._looked = seen
        self._write_ledger()
        return problems

    def _targets(self, table: Table) -> tuple[list[tuple[Row, dict[Turn, Job]]], list[Problem]]:
        """Rows whose count grows, with the successes that it grows by; and why others cannot."""
        if not self._successes:
            return [], []
        rows = {row.key: row for row in table.rows if row.key is not None}
        by_row: defaultdict[str, dict[Turn, Job]] = defaultdict(dict)
        left = {key: row.need - row.run for key, row in rows.items()}
        for turn, job in self._successes.items():
            key = turn[0] if turn[0] in rows else _twin(turn[0], left)
            if key is not None:
                left[key] -= 1
                by_row[key][turn] = job
        targets, problems = [], []
        place = table.columns.reserved.get(RUN)
        for key, done in by_row.items():
            row = rows[key]
            frozen = None if place is None else table.grid.frozen_cell(row.record, place)
            if frozen:
                hint = "write a number in its place, so that the run can be counted"
                problems.append(table.grid.problem(self.file, row.record, place, f"{RUN} {frozen}", hint))
            elif row.good:
                targets.append((row, done))
        return targets, few(problems, self.file)

    # -- the ledger ----------------------------------------------------------------------------------------------------

    def _settle(self, table: Table) -> None:
        """After a crash: what was about to be written is in the table, or it is not."""
        open_notes = {turn: note for turn, note in self._notes.items() if note.startswith(INTENT)}
        if not open_notes:
            return
        rows = {row.key: row.run for row in table.rows if row.good}
        for turn, note in open_notes.items():
            verdict = settled(note, rows.get(turn[0]))
            if verdict is None:
                del self._notes[turn]
            else:
                self._notes[turn] = verdict
                self._successes.pop(turn, None)
        with contextlib.suppress(OSError):
            self._write_ledger()

    def _save(self) -> list[Problem]:
        try:
            self._write_ledger()
        except OSError as error:
            return [Problem(message=f"its notes cannot be kept: {error.strerror or error}", file=self._ledger.path)]
        return []

    def _write_ledger(self) -> None:
        notes = {f"{key}.{number}": note for (key, number), note in self._notes.items()}
        if notes != self._saved:
            self._ledger.save(notes)
            self._saved = notes

    def _key(self, turn: Turn) -> str:
        return f"{self.file}#{turn[0]}.{turn[1]}"


def turn_of(text: str) -> Turn:
    """The row and the repetition in `content.occurrence.number`."""
    key, _, number = text.rpartition(".")
    return key, int(number) if number.isdigit() else 0


def _edits(table: Table, added: Iterable[str], runs: Mapping[int, int]) -> dict[tuple[int, int], int | str]:
    columns = {**table.columns.reserved}
    columns.update({name: len(table.grid.header) + index for index, name in enumerate(added)})
    edits: dict[tuple[int, int], int | str] = {}
    for row in table.rows:
        if RUN in added or row.record in runs:
            edits[row.record, columns[RUN]] = runs.get(row.record, 0)
        if NEED in added:
            edits[row.record, columns[NEED]] = 1
        if NAME in added:
            edits[row.record, columns[NAME]] = automatic_name(row.record)
        if CMD in added:
            edits[row.record, columns[CMD]] = ""
    return edits


def _repetition(draft: JobDraft, number: int) -> JobDraft:
    key, name = repeated(draft, number)
    return replace(draft, key=key, name=name)


def _waiting(jobs: JobsByRow, keys: Iterable[str]) -> list[Turn]:
    return [(key, number) for key in keys for number, job in jobs[key].items() if job.state in WAITING]


def _running_contents(jobs: JobsByRow, keys: Iterable[str]) -> list[str]:
    running = [key for key in keys for job in jobs[key].values() if job.state is JobState.ACTIVE]
    return [key.rpartition(".")[0] for key in running]


def _alive(jobs: Mapping[int, Job]) -> int:
    return sum(1 for job in jobs.values() if not job.state.ended)


def _twin(key: str, left: Mapping[str, int]) -> str | None:
    """A row of the same content that still wants a run, for a job whose own row is gone."""
    content = key.rpartition(".")[0] + "."
    return next((other for other, count in left.items() if count > 0 and other.startswith(content)), None)


def _by_row(notes: Mapping[Turn, str]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    for (key, number), note in notes.items():
        found.setdefault(key, {})[number] = note
    return found
