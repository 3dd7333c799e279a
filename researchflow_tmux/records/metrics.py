"""Reading what a job logged: the JSON lines of its RFSCHED_METRICS file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import msgspec

MAX_BYTES = 64 * 1024 * 1024
"""A metrics file beyond this is read up to here: a record is a summary, the file itself stays."""


class Series(msgspec.Struct, kw_only=True):
    """One metric over a run."""

    steps: list[float]
    """The step of each value; the line's number (from 0) where the job gave none."""
    values: list[float]

    def summary(self) -> dict[str, float | int]:
        """Last, least and greatest value, and how many."""
        return {
            "last": self.values[-1],
            "min": min(self.values),
            "max": max(self.values),
            "count": len(self.values),
        }


def read_metrics(path: str) -> dict[str, Series]:
    """Every numeric metric of the file, by name. Lines that are no metric are passed over; no file = no metrics.

    A line is `{"name": "acc", "value": 0.93, "step": 10}`, or `{"acc": 0.93, "loss": 0.2, "step": 10}`.
    """
    series: dict[str, Series] = {}
    for line in _lines(path):
        step: Any = line.get("step")
        for name, value in _pairs(line):
            found = series.setdefault(name, Series(steps=[], values=[]))
            found.steps.append(float(step) if _number(step) else float(len(found.values)))
            found.values.append(float(value))
    return series


def _lines(path: str) -> Iterator[dict[str, Any]]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES)
    except OSError:
        return
    for raw in data.splitlines():
        try:
            line = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            continue  # a torn last line of a killed job, or something else printed there
        if isinstance(line, dict):
            yield line


def _pairs(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    if isinstance(line.get("name"), str) and "value" in line:
        if _number(line["value"]):
            yield line["name"], line["value"]
        return
    for name, value in line.items():
        if name not in ("step", "at", "time", "attempt") and _number(value):
            yield name, value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def metrics_path(attempt_dir: str) -> str:
    """Where a job's RFSCHED_METRICS is."""
    return os.path.join(attempt_dir, "metrics.jsonl")
