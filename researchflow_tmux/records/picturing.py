"""A metric of several runs as a picture, alone or in a page with a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.drawing.chart import Curve, curve, line_chart
from researchflow_tmux.drawing.page import page
from researchflow_tmux.records.keys import Keys
from researchflow_tmux.records.ranking import differing
from researchflow_tmux.records.runs import Run


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of some runs."""

    metric: str
    pairs: list[tuple[Run, Curve]]
    log_y: bool = False

    def svg(self) -> str:
        """The curves alone. Raises UsageError."""
        try:
            return line_chart([line for _, line in self.pairs], title=self.metric, log_y=self.log_y)
        except ValueError as error:
            raise UsageError(f"{self.metric}: {error}") from None

    def html(self, keys: Keys, note: str) -> str:
        """The curves, and below them what differs between the runs. Raises UsageError."""
        runs = [run for run, _ in self.pairs]
        names = differing(runs, keys)
        header = ["run", "outcome", *map(keys.short, names), "last", "min", "max", "steps"]
        rows = []
        for run, line in sorted(self.pairs, key=lambda pair: -pair[1].last):
            outcome = str(run.rest.get("outcome") or "")
            figures = [f"{value:.6g}" for value in (line.last, min(line.ys), max(line.ys))]
            rows.append([line.label, outcome, *(words(run.get(name)) for name in names), *figures, str(len(line.xs))])
        return page(self.metric, self.svg(), header, rows, note)


def picture(
    runs: Sequence[Run], metric: str, results: str, *, by_attempt: bool = False, log_y: bool = False
) -> Picture:
    """The metric over the steps of each run that logged it. Raises UsageError."""
    name = Keys(runs).metric(metric)
    pairs = []
    for run in runs:
        series = run.series(results).get(name)
        if series is not None and series.values:
            label = f"{run.job}.{run.attempt}" if by_attempt else run.job
            pairs.append((run, curve(label, series.steps, series.values)))
    if not pairs:
        raise UsageError(
            f"{name!r} has no finite value in the metrics files of these runs",
            hint="`rfsched results show JOB` shows what a run logged, and where its files are",
        )
    return Picture(metric=name, pairs=pairs, log_y=log_y)


def words(value: Any) -> str:
    """A value as a cell of a table: figures with six digits, nothing for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | dict):
        return msgspec.json.encode(value).decode()
    return str(value)
