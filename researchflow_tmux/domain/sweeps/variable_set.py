"""Sweeps made in Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from researchflow_tmux.domain.sweeps.expansion import (
    Choice,
    Pattern,
    Sweep,
    Variable,
    canonical,
    exception,
    text_of,
)

Interaction = Literal["cartesian", "zip"]


class Combination(dict[str, Choice]):
    """One choice for each variable, by name."""

    def get_nickname(self, name: str) -> str:
        """What the choice of this variable is called. Raises KeyError."""
        return self[name].nick

    def get_value(self, name: str) -> Any:
        """The value of this variable. Raises KeyError."""
        return self[name].value


class VariableSet:
    """A sweep made in Python; the order of the variables matters.

    Example:
        >>> variables = VariableSet()
        >>> variables.add_variable("model", ["org/bert-base", "gpt2"], nicknames=["BERT", "GPT2"])
        >>> variables.add_variable("split", ["dev", "test"], exceptions={"GPT2": ["test"]})
        >>> [(found["model"].nick, found["split"].value) for found in variables]
        [('BERT', 'dev'), ('BERT', 'test'), ('GPT2', 'test')]
    """

    def __init__(self) -> None:
        self._variables: list[Variable] = []
        self._groups: list[list[int]] = []
        self._excluded: list[Pattern] = []

    def add_variable(
        self,
        name: str,
        values: Sequence[Any],
        nicknames: Sequence[Any] | None = None,
        interaction: Interaction = "cartesian",
        exceptions: Mapping[Any, Sequence[Any]] | None = None,
    ) -> None:
        """Add a variable below those that are there.

        Args:
            name: What it is called.
            values: What it may be.
            nicknames: What each value is called in names and folders; default: as it is.
            interaction: `cartesian`: every value with every combination above; `zip`: side by side with the variable
                above, which has as many values.
            exceptions: For a value of a variable above: which values are allowed here.

        Raises:
            ValueError: The arguments do not fit together; nothing was added.
        """
        variable = _variable(name, values, nicknames)
        if name in (known.name for known in self._variables):
            raise ValueError(f"{name} is there already")
        place, above = len(self._variables), self._groups[-1:]
        if interaction == "zip":
            _check_zip(variable, self._variables)
        excluded = [self._exception(variable, value, allowed) for value, allowed in (exceptions or {}).items()]
        self._variables.append(variable)
        self._excluded += excluded
        if interaction == "zip":
            above[0].append(place)
        else:
            self._groups.append([place])

    def sweep(self) -> Sweep:
        """The sweep that the variables make."""
        zipped = tuple(tuple(group) for group in self._groups if len(group) > 1)
        return Sweep(variables=tuple(self._variables), zipped=zipped, exclude=tuple(self._excluded))

    def sweep_file(self, command: str, **more: Any) -> dict[str, Any]:
        """What a sweep file with these variables says, and `command` (and `layout`, `rfsched`, …) with it.

        Written as JSON (which is YAML) to a file, `rfsched sweep` makes the same combinations of it. The values must be
        such that JSON can hold them.
        """
        names = [variable.name for variable in self._variables]
        variables = {
            variable.name: [{"value": choice.value, "nick": choice.nick} for choice in variable.choices]
            for variable in self._variables
        }
        excluded = [
            {names[place]: [self._variables[place].choices[at].value for at in sorted(places)] for place, places in it}
            for it in (sorted(pattern.items()) for pattern in self._excluded if all(pattern.values()))
        ]
        zipped = [[names[place] for place in group] for group in self._groups if len(group) > 1]
        rules = {"zip": zipped, "exclude": excluded}
        return {
            "command": command,
            **more,
            "variables": variables,
            **{key: rule for key, rule in rules.items() if rule},
        }

    def __iter__(self) -> Iterator[Combination]:
        names = [variable.name for variable in self._variables]
        return (Combination(zip(names, found, strict=True)) for found in self.sweep().expand())

    def _exception(self, child: Variable, value: Any, allowed: Sequence[Any]) -> Pattern:
        for place in reversed(range(len(self._variables))):  # the nearest above
            choice = _place(self._variables[place], value)
            if choice is not None:
                break
        else:
            raise ValueError(f"{child.name}: no variable above has the value {value!r}")
        known = frozenset(_known_place(child, item) for item in allowed)
        return exception(place, choice, len(self._variables), known, len(child.choices))


def _variable(name: str, values: Sequence[Any], nicknames: Sequence[Any] | None) -> Variable:
    if not values:
        raise ValueError(f"{name} has no values")
    nicks = [text_of(item) for item in (values if nicknames is None else nicknames)]
    if len(nicks) != len(values):
        raise ValueError(f"{name} has {len(values)} values and {len(nicks)} nicknames")
    if len({canonical(value) for value in values}) < len(values):
        raise ValueError(f"{name} has a value twice")
    found = (Choice(value=value, text=text_of(value), nick=nick) for value, nick in zip(values, nicks, strict=True))
    return Variable(name=name, choices=tuple(found))


def _check_zip(variable: Variable, above: Sequence[Variable]) -> None:
    if not above:
        raise ValueError(f"{variable.name} is the first variable: there is none above to go along with")
    if len(above[-1].choices) != len(variable.choices):
        raise ValueError(
            f"{variable.name} has {len(variable.choices)} values, {above[-1].name} above has {len(above[-1].choices)}"
        )


def _place(variable: Variable, value: Any) -> int | None:
    places = variable.places()
    return places.get(text_of(value), places.get(canonical(value)))


def _known_place(variable: Variable, value: Any) -> int:
    place = _place(variable, value)
    if place is None:
        raise ValueError(f"{variable.name} has no value {value!r}")
    return place
