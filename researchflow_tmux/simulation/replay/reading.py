"""Traces from files: CSV with a header line, and the Standard Workload Format of the Parallel Workloads Archive."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator

from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.hardware import parse_types
from researchflow_tmux.simulation.replay.trace import Trace, TraceJob, made

REQUIRED = ("job_id", "submit_s", "duration_s", "num_gpus")
COLUMNS = (*REQUIRED, "user", "vc", "project", "deadline_s", "preemptible", "gpu_type")
SWF_FIELDS = 18
_YES_OR_NO = {"": False, "false": False, "no": False, "0": False, "true": True, "yes": True, "1": True}
MOST_PROBLEMS = 20
"""More are counted and not shown: a file of another format has one on each line."""


def read_trace(path: str, *, processors_per_gpu: int = 1) -> Trace:
    """Read a trace; what the file's name ends with says its format.

    Args:
        path: A `.csv` or `.swf` file.
        processors_per_gpu: How many processors of an SWF trace count as one GPU.

    Raises:
        ConfigError: It cannot be read; all that is wrong with it, with line and column.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".csv", ".swf"):
        raise ConfigError([Problem(file=path, message="a trace is a .csv or a .swf file")])
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise ConfigError([Problem(file=path, message=f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(file=path, message=f"is not UTF-8 text (byte {error.start})")]) from error
    reader = _Csv(path) if ending == ".csv" else _Swf(path, processors_per_gpu)
    jobs = list(reader.jobs(lines))
    problems = reader.problems
    if not problems and not jobs:
        problems = [Problem(file=path, message="there is no job in it")]
    if len(problems) > MOST_PROBLEMS:
        more = Problem(file=path, message=f"and {len(problems) - MOST_PROBLEMS} more like these")
        problems = [*problems[:MOST_PROBLEMS], more]
    if problems:
        raise ConfigError(problems)
    return made(os.path.basename(path), jobs, reader.left_out)


class _Reader:
    """Collects problems instead of ending at the first."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.left_out = 0
        self._names: dict[str, int] = {}

    def jobs(self, lines: list[str]) -> Iterator[TraceJob]:
        """The jobs of the file."""
        raise NotImplementedError

    def bad(self, message: str, line: int, column: int | None = None, hint: str | None = None) -> None:
        """One more problem."""
        self.problems.append(Problem(file=self.path, line=line, column=column, message=message, hint=hint))

    def number(self, text: str, what: str, line: int, column: int, *, least: float = 0.0) -> float | None:
        """A figure, or None and a problem."""
        try:
            found = float(text)
        except ValueError:
            self.bad(f"{what}: {text!r} is not a number", line, column)
            return None
        if not math.isfinite(found) or found < least:
            self.bad(f"{what}: {text} is not a number of at least {least:g}", line, column)
            return None
        return found

    def unique(self, name: str, line: int) -> bool:
        """Whether no earlier line has this name."""
        first = self._names.setdefault(name, line)
        if first != line:
            self.bad(f"job {name!r} was there already", line, 1, f"first in line {first}")
        return first == line


class _Csv(_Reader):
    def jobs(self, lines: list[str]) -> Iterator[TraceJob]:
        """One job a line, by the names in the header."""
        rows = csv.reader(lines)
        header = [name.strip() for name in next(rows, [])]
        missing = [name for name in REQUIRED if name not in header]
        if missing:
            self.bad(f"the header has no column {', '.join(missing)}", 1, 1, f"columns are {', '.join(COLUMNS)}")
            return
        for row in rows:
            if row and any(row):
                job = self._job(dict(zip(header, row, strict=False)), header, len(row), rows.line_num)
                if job is not None:
                    yield job

    def _job(self, row: dict[str, str], header: list[str], width: int, line: int) -> TraceJob | None:
        if width != len(header):
            self.bad(f"{width} values, and the header has {len(header)} columns", line, 1)
            return None

        def figure(name: str, least: float = 0.0) -> float | None:
            return self.number(row[name].strip(), name, line, header.index(name) + 1, least=least)

        may_stop = _YES_OR_NO.get(row.get("preemptible", "").strip().lower())
        if may_stop is None:
            message = f"preemptible: {row['preemptible']!r} is neither true nor false"
            self.bad(message, line, header.index("preemptible") + 1)
            return None
        submit_s, duration_s, gpus = figure("submit_s"), figure("duration_s"), figure("num_gpus")
        deadline = row.get("deadline_s", "").strip()
        deadline_s = figure("deadline_s") if deadline else None
        kind = self._type(
            row.get("gpu_type", "").strip(), line, header.index("gpu_type") + 1 if "gpu_type" in header else 1
        )
        if submit_s is None or duration_s is None or gpus is None or not self.unique(row["job_id"], line):
            return None
        if gpus != int(gpus):
            self.bad(f"num_gpus: {gpus:g} is not a whole number", line, header.index("num_gpus") + 1)
            return None
        if duration_s == 0:
            self.left_out += 1
            return None
        return TraceJob(
            name=row["job_id"],
            submit_s=submit_s,
            duration_s=duration_s,
            gpus=int(gpus),
            user=row.get("user", ""),
            project=row.get("project") or row.get("vc", ""),
            deadline_s=deadline_s,
            preemptible=may_stop,
            gpu_type=kind,
        )

    def _type(self, text: str, line: int, column: int) -> str:
        """The type of GPU, as the setting takes it."""
        try:
            return text if text and parse_types(text) else ""
        except ValueError as error:
            self.bad(f"gpu_type: {error}", line, column)
            return ""


class _Swf(_Reader):
    def __init__(self, path: str, processors_per_gpu: int) -> None:
        super().__init__(path)
        self._per_gpu = max(processors_per_gpu, 1)

    def jobs(self, lines: list[str]) -> Iterator[TraceJob]:
        """18 fields a line, −1 where nothing is known; `;` begins a comment."""
        for number, line in enumerate(lines, 1):
            fields = line.split(";", 1)[0].split()
            if not fields:
                continue
            if len(fields) < SWF_FIELDS:
                self.bad(f"{len(fields)} fields, and a line of this format has {SWF_FIELDS}", number, 1)
                continue
            job = self._job(fields, number)
            if job is not None:
                yield job

    def _job(self, fields: list[str], line: int) -> TraceJob | None:
        def figure(position: int, what: str) -> float | None:
            return self.number(fields[position - 1], what, line, position, least=-1.0)

        submit_s, runs_s = figure(2, "submit time"), figure(4, "run time")
        used, asked = figure(5, "allocated processors"), figure(8, "requested processors")
        if submit_s is None or runs_s is None or used is None or asked is None:
            return None
        processors = used if used > 0 else asked
        if runs_s <= 0 or processors <= 0 or submit_s < 0:
            self.left_out += 1  # cancelled before it began, or not known
            return None
        if not self.unique(fields[0], line):
            return None
        user, group = (_named(fields[12 - 1], "u"), _named(fields[13 - 1], "g"))
        gpus = math.ceil(processors / self._per_gpu)
        return TraceJob(name=fields[0], submit_s=submit_s, duration_s=runs_s, gpus=gpus, user=user, project=group)


def _named(field: str, prefix: str) -> str:
    return "" if field == "-1" else prefix + field
