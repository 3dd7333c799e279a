"""From rows to jobs."""

from __future__ import annotations

import os

from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.defaults import wishes
from researchflow_tmux.adapters.sources.port import SourceContext
from researchflow_tmux.adapters.sources.tables.columns import Columns, RowSection
from researchflow_tmux.adapters.sources.tables.commands import RowCommands, values_of
from researchflow_tmux.adapters.sources.tables.grid import Grid
from researchflow_tmux.adapters.sources.tables.options import Sections
from researchflow_tmux.adapters.sources.tables.rows import Row
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import names_function

SOURCE = "table"


class Drafting:
    """What the rows of all tables of a workspace have in common."""

    def __init__(self, context: SourceContext) -> None:
        self.settings = context.settings
        self.commands = RowCommands(context.settings, context.variables, context.paths)
        self.places = resolve_places(context.paths, context.settings)


class RowJobs:
    """Makes the jobs of the rows of one table; `problems` are those of rows that can be none."""

    def __init__(self, common: Drafting, grid: Grid, columns: Columns, file: str) -> None:
        self._common = common
        self._grid = grid
        self._file = file
        self._names = [name for _, name in columns.parameters]
        self._sections = Sections(grid, file)
        self._group = os.path.splitext(os.path.basename(file))[0]
        self.problems: list[Problem] = []
        self.warnings: dict[str, None] = {}

    def draft(self, row: Row) -> JobDraft | None:
        """The job of a row, without a repetition in its key and name; None = a problem was noted."""
        section = self._sections.read(row.record, row.options)
        if not isinstance(section, RowSection):
            self.problems += section
            return None
        try:
            command = self._common.commands.build(row, self._names)
        except ConfigError as error:
            self.problems += [self._placed(row, problem) for problem in error.problems]
            return None
        self.warnings.update(dict.fromkeys(f"{self._file}: {text}" for text in command.warnings))
        asked = wishes(self._common.settings, section)
        asks_function = asked["verify"] is not None and names_function(asked["verify"])
        return JobDraft(
            source=SOURCE,
            key=f"{self._file}#{row.key}",
            name=_name(row.name),
            argv=command.argv,
            shell=command.shell,
            workdir=self._common.places.work_dir,
            output_dir=self._common.places.output_dir,
            group=section.group or self._group,
            line=self._grid.problem(self._file, row.record, None, "", None).line,
            variables=values_of(row, self._names) if asks_function else {},
            **asked,
        )

    def _placed(self, row: Row, problem: Problem) -> Problem:
        if problem.file is not None:
            return problem
        return self._grid.problem(self._file, row.record, None, problem.message, problem.hint)


def repeated(draft: JobDraft, number: int) -> tuple[str, str]:
    """(key, name) of one repetition."""
    return f"{draft.key}.{number}", draft.name if number == 1 else f"{draft.name}#{number}"


def _name(text: str) -> str:
    """One line that can be printed."""
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()[:200] or "row"
