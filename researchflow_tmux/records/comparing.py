"""Two runs side by side: only what is not the same."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec

from researchflow_tmux.records.runs import Run

MAX_LINES = 400
RUN_FACTS = ("outcome", "duration_s", "peak_rss_mib", "peak_gpu_mib", "host", "gpus", "command", "workdir")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One value of both runs; null = it has none."""

    name: str
    a: Any
    b: Any


class Comparison(msgspec.Struct, kw_only=True):
    """All that differs between two runs, and their metrics."""

    a: str
    b: str
    run: list[Difference]
    config: list[Difference]
    code: list[Difference]
    environment: list[Difference]
    metrics: list[Difference]
    """Last values of all metrics, the equal ones too."""
    code_diff: list[str]
    """How the uncommitted changes differ, as lines of a diff."""
    same_config_keys: int = 0


def compare(first: Run, second: Run, results: str) -> Comparison:
    """What differs between two runs."""
    names = list(dict.fromkeys([*first.config, *second.config]))
    config = _differences(names, first.config, second.config)
    metrics = list(dict.fromkeys([*first.last, *second.last]))
    return Comparison(
        a=f"{first.job}.{first.attempt}",
        b=f"{second.job}.{second.attempt}",
        run=_differences(RUN_FACTS, first.rest, second.rest),
        config=config,
        code=_differences(("git.commit", "git.branch", "git.dirty", "git.root"), first.rest, second.rest),
        environment=_differences(("environment",), first.rest, second.rest),
        metrics=[Difference(name=name, a=first.last.get(name), b=second.last.get(name)) for name in metrics],
        code_diff=_code(first, second, results),
        same_config_keys=len(names) - len(config),
    )


def _differences(names: Iterable[str], first: dict[str, Any], second: dict[str, Any]) -> list[Difference]:
    return [
        Difference(name=name, a=first.get(name), b=second.get(name))
        for name in names
        if first.get(name) != second.get(name) or (name in first) != (name in second)
    ]


def _code(first: Run, second: Run, results: str) -> list[str]:
    a, b = (_lines(run.attachment(results, "diff")) for run in (first, second))
    if a == b:
        return []
    found = difflib.unified_diff(a, b, f"changes of {first.job}", f"changes of {second.job}", lineterm="", n=1)
    return list(islice(found, MAX_LINES))


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()[: 10 * MAX_LINES]
    except OSError:
        return []
