"""The terms of a query: `lr=0.1`, `acc>0.9`, `model~^bert`, `outcome!=succeeded`, and plain names of jobs."""

from __future__ import annotations

import difflib
import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.domain.errors import ConfigError, UsageError
from researchflow_tmux.records.keys import Keys
from researchflow_tmux.records.runs import Run, known_jobs

_TERM = re.compile(r"\s*([^=<>!~\s](?:[^=<>!~]*[^=<>!~\s])?)\s*(<=|>=|!=|==|!~|=|<|>|~)(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison."""

    key: str
    sign: str
    text: str


def parse(text: str) -> Term | None:
    """A comparison; None = no sign in it, so the name of a job."""
    found = _TERM.fullmatch(text)
    if found is None:
        return None
    return Term(key=found[1], sign={"==": "="}.get(found[2], found[2]), text=found[3].strip())


def matching(runs: Sequence[Run], terms: Iterable[str], *, commands: Iterable[str] = ()) -> list[Run]:
    """The runs for which every comparison holds, of the jobs that are named (all, if none is).

    Raises UsageError naming every term that cannot be understood. `commands`: what a name that is no job's may have
    been meant as.
    """
    keys, tests, patterns, problems = Keys(runs), [], [], []
    for text in terms:
        term = parse(text)
        try:
            if term is None:
                _check_job(runs, text, commands)
                patterns.append(text)
            else:
                tests.append((keys.find(term.key), _test(term)))
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return [
        run
        for run in runs
        if (not patterns or any(_is_called(run, pattern) for pattern in patterns))
        and all(test(run.get(name)) for name, test in tests)
    ]


def _check_job(runs: Sequence[Run], text: str, commands: Iterable[str]) -> None:
    if any(_is_called(run, text) for run in runs):
        return
    close = difflib.get_close_matches(text, commands, n=1)
    if close:
        raise UsageError(f"no run is recorded of a job {text!r}", hint=f"did you mean `rfsched results {close[0]}`?")
    raise UsageError(
        f"no run is recorded of a job {text!r}",
        hint=f"terms are KEY=VALUE, KEY>1, KEY~regex, or the name of a job; {known_jobs(runs)}",
    )


def _is_called(run: Run, pattern: str) -> bool:
    return (
        run.job == pattern
        or str(run.job_id) == pattern
        or (any(sign in pattern for sign in "*?[") and fnmatch.fnmatchcase(run.job, pattern))
        or (pattern.startswith("@") and run.rest.get("group") == pattern[1:])
    )


def value(text: str) -> Any:
    """What a text means in YAML: a number, true, null, a list, or itself."""
    try:
        root = yaml_tree.parse(text, "the query").root
    except ConfigError:
        return text
    return None if root is None else root.value()


def _test(term: Term) -> Callable[[Any], bool]:
    if term.sign in ("~", "!~"):
        return _resembles(term)
    wanted = value(term.text)
    match term.sign:
        case "=":
            return lambda found: _equal(found, wanted, term.text)
        case "!=":
            return lambda found: not _equal(found, wanted, term.text)
    if not _is_number(wanted):
        wanted = term.text
    compare = _ORDER[term.sign]

    def test(found: Any) -> bool:
        if _is_number(wanted):
            return _is_number(found) and compare(found, wanted)
        return isinstance(found, str) and compare(found, wanted)

    return test


def _equal(found: Any, wanted: Any, text: str) -> bool:
    """1 equals 1.0, but not true; a list equals an element of it; a text that looks like a number equals itself."""
    if isinstance(found, list) and not isinstance(wanted, list):
        return any(_equal(item, wanted, text) for item in found)
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    return bool(found == wanted) or (isinstance(found, str) and found == text)


def _resembles(term: Term) -> Callable[[Any], bool]:
    try:
        pattern = re.compile(term.text)
    except re.error as error:
        raise UsageError(
            f"{term.key}~{term.text} is not a regular expression: {error}", hint="see Python's re"
        ) from error
    positive = term.sign == "~"
    return lambda found: (found is not None and pattern.search(str(found)) is not None) is positive


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
