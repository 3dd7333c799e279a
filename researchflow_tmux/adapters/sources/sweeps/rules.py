"""Which combinations are wanted: zip, exceptions, include and exclude."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.sources.sweeps import nodes
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar
from researchflow_tmux.adapters.yaml_nodes import Sequence as ListNode
from researchflow_tmux.domain.sweeps import Sweep, Variable
from researchflow_tmux.domain.sweeps.expansion import Pattern, canonical, exception


class Rules:
    """Reads rules about the variables of one file; problems go to the reader.

    A variable without choices has a problem of its own: nothing more is said about its values.
    """

    def __init__(self, reader: Reader, variables: Sequence[Variable]) -> None:
        self.reader = reader
        self.variables = variables
        self.place_of = {variable.name: place for place, variable in enumerate(variables)}
        self.choices = [variable.places() for variable in variables]

    def sweep(self, given: dict[str, Entry]) -> Sweep:
        """The sweep that the sections of the file make."""
        return Sweep(
            variables=tuple(self.variables),
            zipped=self.zipped(given.get("zip")),
            include=self.patterns(given.get("include"), "include"),
            exclude=(*self.patterns(given.get("exclude"), "exclude"), *self.exceptions(given.get("exceptions"))),
        )

    # -- zip

    def zipped(self, entry: Entry | None) -> tuple[tuple[int, ...], ...]:
        """Groups of variables that go side by side."""
        groups = nodes.items_of(self.reader, entry.value, "zip", "[[a, b]]") if entry else None
        if entry and groups and all(isinstance(group, Scalar) for group in groups):
            groups = [entry.value]  # one group, written without its brackets
        found: list[tuple[int, ...]] = []
        for group in groups or ():
            places = self.group(group)
            again = [place for place in places if any(place in other for other in found) or places.count(place) > 1]
            if again:
                self.reader.fail(group, f"zip: {self.variables[again[0]].name} is named twice")
            elif places:
                found.append(tuple(places))
        return tuple(found)

    def group(self, node: Node) -> list[int]:
        """One group; empty if there is a problem."""
        items = nodes.items_of(self.reader, node, "zip", "[[a, b]]") or []
        places = [place for item in items if (place := self.variable(item)) is not None]
        if len(places) < len(items):
            return []
        counts = {self.variables[place].name: len(self.variables[place].choices) for place in places}
        if 0 in counts.values():
            return []
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} has {number}" for name, number in counts.items())
            self.reader.fail(node, f"zip: the variables have unequal numbers of values: {told}")
            return []
        return places

    # -- exceptions

    def exceptions(self, entry: Entry | None) -> list[Pattern]:
        """`{parent variable: {parent value: {child: [allowed values]}}}`."""
        example = "exceptions: {model: {gpt2: {dataset: [small]}}}"
        found: list[Pattern] = []
        mapping = nodes.mapping_of(self.reader, entry, "exceptions", example) if entry else None
        for name, of_parent in (nodes.entries(self.reader, mapping) if mapping else {}).items():
            parent = self.variable(of_parent.key)
            values = nodes.mapping_of(self.reader, of_parent, f"exceptions.{name}", example)
            if parent is None or values is None:
                continue
            for value, of_value in nodes.entries(self.reader, values).items():
                choice = self.choice(parent, of_value.key)
                children = nodes.mapping_of(self.reader, of_value, f"exceptions.{name}.{value}", example)
                if choice is not None and children is not None:
                    found += self.allowed(parent, choice, children)
        return found

    def allowed(self, parent: int, choice: int, children: Mapping) -> list[Pattern]:
        """What one choice of the parent allows its children."""
        found = []
        for name, entry in nodes.entries(self.reader, children).items():
            child = self.variable(entry.key)
            if child == parent:
                self.reader.fail(entry.key, f"exceptions: {name} cannot be an exception to itself")
                continue
            items = nodes.items_of(self.reader, entry.value, f"exceptions: {name}", "[small]")
            if child is None or items is None:
                continue
            places = [place for item in items if (place := self.choice(child, item)) is not None]
            found.append(exception(parent, choice, child, frozenset(places), len(self.variables[child].choices)))
        return found

    # -- include, exclude

    def patterns(self, entry: Entry | None, what: str) -> tuple[Pattern, ...]:
        """A list of parts of combinations."""
        items = nodes.items_of(self.reader, entry.value, what, "[{model: gpt2, seed: 0}]") if entry else None
        found = []
        for item in items or ():
            if isinstance(item, Mapping) and item.entries:
                found.append(self.pattern(item))
            else:
                self.reader.fail(item, f"{what}: expected part of a combination", "such as `{model: gpt2, seed: 0}`")
        return tuple(found)

    def pattern(self, node: Mapping) -> Pattern:
        """`{variable: value or list of values}`."""
        found: dict[int, frozenset[int]] = {}
        for entry in nodes.entries(self.reader, node).values():
            place = self.variable(entry.key)
            if place is not None:
                wanted = entry.value.items if isinstance(entry.value, ListNode) else [entry.value]
                choices = (self.choice(place, item) for item in wanted)
                found[place] = frozenset(choice for choice in choices if choice is not None)
        return found

    # -- words

    def variable(self, node: Node) -> int | None:
        """Where the variable of this name stands."""
        name = node.text if isinstance(node, Scalar) else ""
        if name not in self.place_of:
            self.reader.fail(node, f"there is no variable `{name}`", nodes.suggestion(name, self.place_of))
        return self.place_of.get(name)

    def choice(self, variable: int, node: Node) -> int | None:
        """Which choice of the variable is meant, by its value or its nickname."""
        known = self.choices[variable]
        if not known:
            return None
        text = node.text if isinstance(node, Scalar) else canonical(node.value())
        place = known.get(text, known.get(canonical(node.value())))
        if place is None:
            texts = [choice.text for choice in self.variables[variable].choices]
            nicks = [choice.nick for choice in self.variables[variable].choices]
            hint = nodes.suggestion(text, dict.fromkeys([*texts, *nicks]))
            self.reader.fail(node, f"{self.variables[variable].name} has no value {text!r}", hint)
        return place
