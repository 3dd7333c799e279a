"""`set`: from what a person writes to the values that jobs are given."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from researchflow_tmux.adapters.deadlines import DEADLINE_WORDS, parse_deadline
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.setting import Setting
from researchflow_tmux.domain.units import parse_duration
from researchflow_tmux.domain.workspace import Settings

NONE = ("", "none")
"""What takes a value away."""
_YES = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


class Done(msgspec.Struct, kw_only=True):
    """What became of it: names of jobs."""

    changed: list[str] = []
    unchanged: list[str] = []
    """They had these values already."""
    refused: list[str] = []
    """Those left alone, each a sentence that says why."""
    notes: list[str] = []
    """What is worth a second look."""


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected a whole number, got {text!r}") from None


def _natural(text: str) -> int:
    if (number := _whole(text)) < 0:
        raise ValueError(f"expected a whole number from 0 on, got {text!r}")
    return number


def _yes_or_no(text: str) -> bool:
    if text.lower() not in _YES:
        raise ValueError(f"expected yes or no, got {text!r}")
    return _YES[text.lower()]


def _limit(text: str) -> float:
    if not (seconds := parse_duration(text)):
        raise ValueError("must be more than 0 (`none` takes the limit away)")
    return seconds


def _moment(text: str) -> datetime:
    return parse_deadline(text).astimezone()


_KEYS: dict[str, tuple[str, Callable[[str], Any], bool]] = {
    # key: (field of Setting, what makes its value of a text, whether a job can be without it)
    "priority": ("priority", _whole, False),
    "deadline": ("deadline", _moment, True),
    "project": ("project", str, True),
    "preemptible": ("preemptible", _yes_or_no, False),
    "time_limit": ("time_limit_s", _limit, True),
    "retries": ("retries", _natural, False),
}
KEYS = tuple(_KEYS)


def told_apart(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(what names jobs, assignments as key and text): `KEY=VALUE` of a known key is one, and what looks like it."""
    names, given = [], []
    for word in words:
        key, sign, text = word.partition("=")
        meant = key in _KEYS or difflib.get_close_matches(key.lower(), KEYS, n=1)
        if sign and not word.startswith("@") and meant:
            given.append((key, text))
        else:
            names.append(word)
    return names, given


def setting_of(given: Sequence[tuple[str, str]], now: datetime) -> tuple[Setting, list[str]]:
    """(the values, every problem): nothing of it counts when there is a problem."""
    fields: dict[str, Any] = {}
    problems = []
    for key, text in given:
        known = _KEYS.get(key)
        if known is None:
            problems.append(unknown(key))
        elif known[0] in fields:
            problems.append(f"{key} is there twice")
        else:
            try:
                fields[known[0]] = _value(known, text.strip(), now)
            except ValueError as error:
                problems.append(f"{key}: {error}")
                fields[known[0]] = None
    return (Setting() if problems else Setting(**fields)), problems


def texts_of(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a Python user writes, as a person would type it. Raises UsageError for values of a wrong type."""
    texts, problems = [], []
    for key, value in options.items():
        text = _text(key, value)
        if text is None:
            problems.append(f"{key}: expected {_WANTED.get(key, 'a value')}, got {value!r}")
        else:
            texts.append((key, text))
    if problems:
        raise UsageError("\n".join(problems))
    return texts


def notes(wanted: Setting, settings: Settings) -> list[str]:
    """What is worth a second look: a project that nobody said anything about, values that its policy does not mind."""
    found = []
    project = wanted.given().get("project")
    if project is not None and settings.projects and project not in settings.projects:
        close = difflib.get_close_matches(project, settings.projects, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        found.append(f"there is no project {project!r} so far{meant}: it weighs 1 and has no caps")
    if settings.policy == "queue" and (project is not None or wanted.given().get("deadline") is not None):
        found.append("deadlines and projects matter only when a `policy` is chosen, such as `balanced`")
    return found


def unknown_among(keys: Iterable[str]) -> list[str]:
    """The words for each key that is none."""
    return [unknown(key) for key in keys if key not in _KEYS]


def unknown(key: str) -> str:
    """The words for a key that is none."""
    close = difflib.get_close_matches(key.lower(), KEYS, n=1)
    return f"no value {key!r} of a job can be set" + (f"; did you mean {close[0]!r}?" if close else "")


_WANTED = {
    "priority": "a whole number",
    "deadline": DEADLINE_WORDS,
    "project": "a name",
    "preemptible": "True or False",
    "time_limit": "a time such as `12h`, or seconds",
    "retries": "a whole number",
}


def _text(key: str, value: Any) -> str | None:
    if value is None:
        return "none"
    match key, value:
        case "preemptible", bool():
            return "yes" if value else "no"
        case _, bool():
            return None
        case "deadline", datetime():
            return value.isoformat() if value.tzinfo is not None else value.astimezone().isoformat()
        case ("priority" | "retries", int()) | ("time_limit", int() | float()):
            return str(value)
        case "priority" | "retries" | "preemptible", _:
            return None
        case _, str():
            return value
    return None


def _value(known: tuple[str, Callable[[str], Any], bool], text: str, now: datetime) -> Any:
    field, convert, optional = known
    if text.lower() in NONE:
        if not optional:
            raise ValueError("expected a value")
        return None
    found = convert(text)
    if field == "deadline" and found <= now:
        raise ValueError(f"{text} is over")
    return found
