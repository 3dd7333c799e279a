"""Order, the best, and the columns worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from researchflow_tmux.records.keys import Keys
from researchflow_tmux.records.runs import Run


def split_sign(key: str) -> tuple[bool, str]:
    """`-loss` → (True, "loss")."""
    return key.startswith("-"), key.removeprefix("-")


def ordered(runs: Sequence[Run], key: str, keys: Keys) -> list[Run]:
    """By the values of `key`, smallest first; `-key` = greatest first. Runs without one come last.

    Numbers come before text. Raises UsageError for a key that there is not.
    """
    descending, plain = split_sign(key)
    name = keys.find(plain)
    ranked = [(rank(run.get(name)), run) for run in runs]
    there = sorted(
        ((place, run) for place, run in ranked if place is not None), key=lambda pair: pair[0], reverse=descending
    )
    return [run for _, run in there] + [run for place, run in ranked if place is None]


def best(runs: Sequence[Run], key: str, keys: Keys) -> list[Run]:
    """The runs with a number for `key`, best first: the greatest, for `-key` the smallest. Raises UsageError."""
    smallest, plain = split_sign(key)
    name = keys.find(plain)
    there = [run for run in runs if isinstance(run.get(name), int | float)]
    return sorted(there, key=lambda run: run.get(name), reverse=not smallest)


def rank(value: Any) -> tuple[int, Any] | None:
    """A place in an order of values of any kind; None = no value."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, repr(value))


def differing(runs: Sequence[Run], keys: Keys) -> list[str]:
    """The config's names in which these runs differ.

    Left out are the scheduler's own section, and values that only repeat the job's name (`output: out/exp1`).
    """
    found = []
    for name in keys.all("config"):
        values = [run.get(name) for run in runs]
        if name.startswith("config.rfsched.") or all(value == values[0] for value in values):
            continue
        if not all(isinstance(value, str) and run.job in value for value, run in zip(values, runs, strict=True)):
            found.append(name)
    return found


def metric_names(runs: Sequence[Run]) -> list[str]:
    """Whole names of the metrics that these runs have."""
    return list(dict.fromkeys(f"metrics.{name}" for run in runs for name in run.last))
