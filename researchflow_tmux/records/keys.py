"""Names of values as people write them: `learning_rate` for `config.training.learning_rate`, when only one ends so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.records.runs import Run

SECTIONS = ("config", "metrics", "run")
"""In the order in which a short name is looked for."""
LIBRARY_NAMES = (
    ("metadata.config.", "config."),
    ("extra_info.metrics.", "metrics."),
    ("metadata.", "run."),
    ("extra_info.", "run."),
)
"""What the results library calls them, and what they are called here."""
_SHOWN = 20


class Keys:
    """All names that the values of some runs have."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._names: dict[str, dict[str, None]] = {section: {} for section in SECTIONS}
        for run in runs:
            for section, values in zip(SECTIONS, (run.config, run.metrics, run.rest), strict=True):
                self._names[section].update(dict.fromkeys(values))
        self._by_end: dict[str, dict[str, list[str]]] = {section: {} for section in SECTIONS}
        for section, names in self._names.items():
            for name in names:
                for end in _ends(name):
                    self._by_end[section].setdefault(end, []).append(name)

    def all(self, section: str) -> list[str]:
        """The whole names of a section, in the order of the records."""
        return [f"{section}.{name}" for name in self._names[section]]

    def find(self, key: str) -> str:
        """The whole name that `key` means: config first, then metrics, then the rest.

        Raises UsageError when nothing is called so, or several things are.
        """
        whole = self._whole(key)
        if whole is not None:
            return whole
        for section in SECTIONS:
            if key in self._names[section]:
                return f"{section}.{key}"
        for section in SECTIONS:
            found = self._by_end[section].get(key, [])
            if len(found) > 1:
                raise UsageError(f"{key!r} is ambiguous: {', '.join(found)}", hint="give more of the name")
            if found:
                return f"{section}.{found[0]}"
        raise UsageError(f"no run has a value called {key!r}", hint=self._advice(key))

    def metric(self, key: str) -> str:
        """The metric that is meant. Raises UsageError."""
        plain = key.removeprefix("metrics.")
        metrics = [name for name in self._names["metrics"] if f"{name}.count" in self._names["metrics"]]
        found = [name for name in metrics if name == plain] or [name for name in metrics if plain in _ends(name)]
        if len(found) > 1:
            raise UsageError(f"{key!r} is ambiguous: {', '.join(found)}", hint="give more of the name")
        if found:
            return found[0]
        there = f"there are {_listed(metrics)}" if metrics else NO_METRICS
        raise UsageError(f"no run has a metric called {key!r}", hint=there)

    def short(self, whole: str) -> str:
        """The shortest name that still means `whole`."""
        section, _, name = whole.partition(".")
        for end in [*_ends(name), name]:
            try:
                if self.find(end) == whole:
                    return end
            except UsageError:
                continue
        return f"{section}.{name}"

    def _whole(self, key: str) -> str | None:
        for theirs, ours in (*LIBRARY_NAMES, *((f"{section}.", f"{section}.") for section in SECTIONS)):
            section, name = ours.partition(".")[0], ours.partition(".")[2] + key.removeprefix(theirs)
            if key.startswith(theirs) and name in self._names[section]:
                return f"{section}.{name}"
        return None

    def _advice(self, key: str) -> str:
        everything = [name for section in SECTIONS for name in self._names[section]]
        words = dict.fromkeys([*everything, *(name.rpartition(".")[2] for name in everything)])
        close = difflib.get_close_matches(key, words, n=3)
        return f"did you mean {' or '.join(close)}?" if close else f"there are {_listed(everything)}"


NO_METRICS = 'none was logged; a job logs one by a line {"name": "loss", "value": 0.1, "step": 1} in $RFSCHED_METRICS'


def _ends(name: str) -> list[str]:
    """`c`, `b.c` for `a.b.c`: shortest first, without the whole."""
    parts = name.split(".")
    return [".".join(parts[at:]) for at in range(len(parts) - 1, 0, -1)]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
