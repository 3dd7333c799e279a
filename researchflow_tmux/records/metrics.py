"""Reading what a job logged: the JSON lines of its RFSCHED_METRICS file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

import msgspec

MAX_BYTES = 64 * 1024 * 1024
"""A metrics file beyond this is read up to here: a record is a summary, the file itself stays."""
CHUNK = 32 * 1024
"""Read in one go. Small: between two reads other threads, such as the scheduler's loop, get their turn at once."""
NO_METRIC = frozenset({"step", "at", "time", "attempt"})
_NOT_FINITE = frozenset({"nan", "inf", "-inf"})
_decoder = msgspec.json.Decoder()


class Point(msgspec.Struct, frozen=True, gc=False):
    """One value of one metric. `step` None = the job gave none."""

    name: str
    step: float | None
    value: float


class Summary(msgspec.Struct, kw_only=True):
    """One metric of a run in four figures."""

    last: float | str
    """The text "nan", "inf" or "-inf" where the last value was no number: a training that diverged must not look
    like one that is as good as its last number."""
    min: float | None = None
    max: float | None = None
    count: int = 0

    def add(self, value: float) -> None:
        """Take in one more value."""
        self.count += 1
        if not math.isfinite(value):
            self.last = str(value)
            return
        self.last = value
        self.min = value if self.min is None or value < self.min else self.min
        self.max = value if self.max is None or value > self.max else self.max

    def range(self) -> dict[str, Any]:
        """As a record has it."""
        return {"last": self.last, "min": self.min, "max": self.max, "count": self.count}


class Series(msgspec.Struct, kw_only=True):
    """One metric over a run: finite values, each with its step."""

    steps: list[float]
    """The step of each value; its number (from 0) where the job gave none."""
    values: list[float]


def summaries(path: str) -> dict[str, Summary]:
    """Every metric of the file in four figures. No file = no metrics."""
    found: dict[str, Summary] = {}
    for point in points(path):
        summary = found.get(point.name)
        if summary is None:
            summary = found[point.name] = Summary(last=point.value)
        summary.add(point.value)
    return found


def read_metrics(path: str) -> dict[str, Series]:
    """Every metric of the file with all its finite values."""
    series: dict[str, Series] = {}
    counts: dict[str, int] = {}
    for point in points(path):
        found = series.setdefault(point.name, Series(steps=[], values=[]))
        number = counts[point.name] = counts.get(point.name, -1) + 1
        if math.isfinite(point.value):
            found.steps.append(float(number) if point.step is None else point.step)
            found.values.append(point.value)
    return series


def points(path: str) -> Iterator[Point]:
    """What the file says, in its order. Lines that are no metric are passed over.

    A line is `{"name": "acc", "value": 0.93, "step": 10}`, or `{"acc": 0.93, "loss": 0.2, "step": 10}`.
    """
    for line in _lines(path):
        given = _number(line.get("step"))
        step = given if given is not None and math.isfinite(given) else None
        if isinstance(line.get("name"), str) and "value" in line:
            pairs = [(line["name"], line["value"])]
        else:
            pairs = [pair for pair in line.items() if pair[0] not in NO_METRIC]
        for name, found in pairs:
            value = _number(found)
            if value is not None:
                yield Point(name, step, value)


def _lines(path: str) -> Iterator[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            left, rest = MAX_BYTES, b""
            while data := file.read(min(CHUNK, left)):
                left -= len(data)
                *lines, rest = (rest + data).split(b"\n")
                yield from _decoded(lines)
            yield from _decoded([rest])
    except OSError:
        return


def _decoded(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for raw in lines:
        try:
            line = _decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            line = _with_nan(raw)
        if isinstance(line, dict):
            yield line


def _with_nan(raw: bytes) -> Any:
    """Python's own `json.dumps` writes NaN and Infinity, which no JSON has. None = a torn line, or something else."""
    if b"NaN" not in raw and b"Infinity" not in raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    return float(value) if isinstance(value, str) and value.lower() in _NOT_FINITE else None


def metrics_path(attempt_dir: str) -> str:
    """Where a job's RFSCHED_METRICS is."""
    return os.path.join(attempt_dir, "metrics.jsonl")
