"""The options of `Workspace.submit`, `@job` and pipelines: from what a Python user writes to a wish."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from researchflow_tmux.adapters.deadlines import DEADLINE_WORDS, parse_deadline
from researchflow_tmux.api.drafting import Wish
from researchflow_tmux.domain import hardware
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import JobFiles
from researchflow_tmux.domain.limits import GpuLimits
from researchflow_tmux.domain.units import parse_duration, parse_size


def _number(least: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"expected a whole number from {least} on, got {value!r}")
        return value

    return convert


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, got {value!r}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a word, got {value!r}")
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"expected {' or '.join(words)}, got {value!r}")
        return str(value)

    return convert


def _words(value: Any) -> dict[str, str]:
    """Numbers are as good as text: `labels={"seed": 1}`."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping, got {value!r}")
    return {_text(key): each if isinstance(each, str) else _plain(each) for key, each in value.items()}


def _plain(value: Any) -> str:
    if not isinstance(value, int | float):
        raise ValueError(f"expected text or a number, got {value!r}")
    return str(value)


def _percent(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
        raise ValueError(f"expected a percentage above 0 and up to 100, got {value!r}")
    return value


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ValueError(f"expected a fraction above 0 and up to 1, got {value!r}")
    return float(value)


def _files(value: Any) -> JobFiles:
    """What a pipeline makes of a job's inputs and outputs."""
    if not isinstance(value, JobFiles):
        raise ValueError("`inputs` and `outputs` are for the jobs of a pipeline")
    return value


def _directory(value: Any) -> str:
    path: str = os.path.abspath(os.fspath(value))
    if not os.path.isdir(path):
        raise ValueError(f"{path} is no directory")
    return path


def _moment(value: Any) -> datetime:
    """A `datetime`, or text that is one."""
    found = parse_deadline(value) if isinstance(value, str) else value
    if not isinstance(found, datetime):
        raise TypeError(f"expected {DEADLINE_WORDS}, got {value!r}")
    return found.astimezone()


def _read_by(parse: Callable[[Any], object]) -> Callable[[Any], str]:
    """The value as it is written, once `parse` can read it."""

    def convert(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"expected a word or a number, got {value!r}")
        parse(value)
        return str(value)

    return convert


def _types(value: Any) -> str:
    """`"A100|H100"`, or a list of them."""
    if not isinstance(value, str | list | tuple):
        raise ValueError(f"expected {hardware.TYPE_WORDS}, or a list of them, got {value!r}")
    text = value if isinstance(value, str) else "|".join(map(_text, value))
    hardware.parse_types(text)
    return text


_OPTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    # option: (field of Wish, what makes its value of what was given)
    "name": ("name", _text),
    "gpus": ("gpus", _number(0)),
    "gpu_memory": ("gpu_memory_mib", lambda value: math.ceil(parse_size(value))),
    "gpu_type": ("gpu_type", _types),
    "min_gpu_memory": ("min_gpu_memory", _read_by(hardware.parse_memory)),
    "compute_capability": ("compute_capability", _read_by(hardware.parse_capability)),
    "topology": ("topology", _read_by(hardware.parse_topology)),
    "share": ("share", _share),
    "time_limit": ("time_limit_s", parse_duration),
    "priority": ("priority", _integer),
    "project": ("project", _text),
    "deadline": ("deadline", _moment),
    "preemptible": ("preemptible", _flag),
    "retries": ("retries", _number(0)),
    "when": ("when", _one_of("success", "failure", "always")),
    "group": ("group", _text),
    "labels": ("labels", _words),
    "hold": ("held", bool),
    "files": ("files", _files),
    "env": ("env", _words),
    "workdir": ("workdir", _directory),
    "success": ("success", _one_of("no_error_only", "no_error_and_verify", "verify_only", "always")),
    "verify": ("verify", _text),
    "verify_timeout": ("verify_timeout_s", parse_duration),
}


_LIMITS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    # as above, of GpuLimits
    "max_memory": ("max_memory_pct", _percent),
    "max_util": ("max_util_pct", _percent),
    "min_free_memory": ("min_free_mib", lambda value: math.ceil(parse_size(value))),
}
KNOWN = frozenset({*_OPTIONS, *_LIMITS, "after"}) - {"files"}
"""Every option."""


def check_options(options: Iterable[str]) -> None:
    """Raise UsageError naming every option that is none, with what could have been meant."""
    lines = []
    for option in options:
        if option not in KNOWN and option != "files":
            close = difflib.get_close_matches(option, sorted(KNOWN), n=1)
            lines.append(f"no option {option!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
    if lines:
        raise UsageError("\n".join(lines), hint=f"there are: {', '.join(sorted(KNOWN))}")


def wish_of(options: Mapping[str, Any], root: str) -> Wish:
    """The wish that these options of a job in the workspace at `root` make. Raises UsageError with every problem."""
    check_options(options)
    fields: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    problems = []
    for option, value in options.items():
        if option == "after" or value is None:
            continue
        field, convert = _OPTIONS.get(option) or _LIMITS[option]
        try:
            (limits if option in _LIMITS else fields)[field] = convert(value)
        except (ValueError, TypeError) as error:
            problems.append(f"{option}: {error}")
    try:
        names, ids = upstream(options.get("after") or (), root)
    except ValueError as error:
        problems.append(f"after: {error}")
    if problems:
        raise UsageError("\n".join(problems))
    return Wish(**fields, limits=GpuLimits(**limits), after=names, after_ids=ids)


def upstream(after: Any, root: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids of the jobs meant: handles, ids or names, one or several. Raises ValueError."""
    names: list[str] = []
    ids: list[int] = []
    for each in [after] if isinstance(after, str | int) or hasattr(after, "root") else after:
        if hasattr(each, "root") and hasattr(each, "id"):
            if each.root != root:
                raise ValueError(f"{each.name} is a job of {each.root}; it cannot be waited for in {root}")
            ids.append(each.id)
        elif isinstance(each, str | int) and not isinstance(each, bool):
            names.append(str(each))
        else:
            raise ValueError(f"expected handles or names of jobs, got {each!r}")
    return tuple(names), tuple(ids)
