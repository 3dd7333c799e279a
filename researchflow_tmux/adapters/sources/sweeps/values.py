"""What a variable may be: a list, a range, or a random sample."""

from __future__ import annotations

from collections.abc import Callable

from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.sources.sweeps import nodes
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Node, Scalar, Sequence
from researchflow_tmux.domain.sweeps import Choice, spread
from researchflow_tmux.domain.sweeps.expansion import canonical, text_of

MOST_VALUES = 100_000
FORMS = {
    "from": ("to", "step"),
    "linear": ("count",),
    "log": ("count",),
    "uniform": ("samples",),
    "loguniform": ("samples",),
    "choice": ("samples",),
}
_EXAMPLES = "a list such as [1, 2], {from: 0, to: 9}, {log: [1e-5, 1e-1], count: 5} or {uniform: [0, 1], samples: 20}"

_SPREADS: dict[str, Callable[[float, float, int], list[int | float]]] = {
    "linear": spread.linear,
    "log": spread.logarithmic,
}
_SAMPLES: dict[str, Callable[[float, float, int, str], list[int | float]]] = {
    "uniform": spread.uniform,
    "loguniform": spread.loguniform,
}


def read_values(reader: Reader, name: str, entry: Entry, seed: str) -> tuple[Choice, ...]:
    """The choices of a variable; none if there is a problem. `seed` decides about samples."""
    before = len(reader.problems)
    found = _values(reader, name, entry, seed)
    return found if len(reader.problems) == before else ()


def _values(reader: Reader, name: str, entry: Entry, seed: str) -> tuple[Choice, ...]:
    node = entry.value
    if isinstance(node, Sequence):
        return _listed(reader, node, name)
    if isinstance(node, Mapping):
        return _formed(reader, node, name, f"{seed}:{name}")
    if isinstance(node, Scalar) and node.is_null:
        reader.fail(entry, f"{name} has no values", f"expected {_EXAMPLES}")
    else:
        reader.fail(entry, f"{name}: expected {_EXAMPLES}")
    return ()


# Lists ----------------------------------------------------------------------------------------------------------------


def _listed(reader: Reader, node: Sequence, name: str) -> tuple[Choice, ...]:
    if not node.items:
        reader.fail(node, f"{name} has no values", f"expected {_EXAMPLES}")
    seen: dict[str, Node] = {}
    found = []
    for item in node.items[: MOST_VALUES + 1]:
        choice = _choice(reader, item, name)
        if choice is None:
            continue
        same = seen.setdefault(canonical(choice.value), item)
        if same is not item:
            reader.fail(item, f"{name} has the value {choice.text} twice; first in line {same.start.line}")
        found.append(choice)
    if len(found) > MOST_VALUES:
        reader.fail(node, f"{name} has more than {MOST_VALUES} values")
        return ()
    return tuple(found)


def _choice(reader: Reader, node: Node, name: str) -> Choice | None:
    nick: Node | None = None
    if isinstance(node, Mapping):
        parts = nodes.entries(reader, node, ("value", "nick"), f"{name}.")
        if "value" not in parts:
            reader.fail(node, f"{name}: there is no `value` here", "write {value: path/to/x, nick: x}")
            return None
        nick = parts["nick"].value if "nick" in parts else None
        node = parts["value"].value
    if not nodes.usable(reader, node):
        return None
    text = node.text if isinstance(node, Scalar) else text_of(node.value())
    if nick is None:
        return Choice(value=node.value(), text=text, nick=text)
    if not isinstance(nick, Scalar) or nick.is_null or not nick.text.strip():
        reader.fail(nick, f"{name}: a nick is a word")
        return None
    return Choice(value=node.value(), text=text, nick=nick.text) if nodes.usable(reader, nick) else None


# Ranges and samples ---------------------------------------------------------------------------------------------------


def _formed(reader: Reader, node: Mapping, name: str, dice: str) -> tuple[Choice, ...]:
    form = next((entry.name for entry in node.entries if entry.name in FORMS), None)
    if form is None:
        reader.fail(node, f"{name}: expected {_EXAMPLES}")
        return ()
    parts = nodes.entries(reader, node, (form, *FORMS[form]), f"{name}.")
    missing = [part for part in FORMS[form] if part not in parts and part != "step"]
    for part in missing:
        reader.fail(node, f"{name}: `{form}` needs `{part}` beside it")
    if missing or form not in parts:
        return ()
    if form == "choice":
        return _sampled(reader, parts, name, dice)
    numbers = _steps(reader, parts, name) if form == "from" else _spread(reader, form, parts, name, dice)
    texts = ((value, text_of(value)) for value in numbers)
    return tuple(Choice(value=value, text=text, nick=text) for value, text in texts)


def _steps(reader: Reader, parts: dict[str, Entry], name: str) -> list[int | float]:
    first, last = (nodes.number(reader, parts[part].value, f"{name}.{part}") for part in ("from", "to"))
    step = nodes.number(reader, parts["step"].value, f"{name}.step") if "step" in parts else 1
    if first is None or last is None or step is None:
        return []
    where = parts.get("step", parts["from"])
    if step == 0:
        reader.fail(where, f"{name}.step: expected another number than 0")
        return []
    number = spread.count_of_steps(first, last, step)
    if not number:
        reader.fail(where, f"{name} has no values: steps of {step} do not lead from {first} to {last}")
    elif number > MOST_VALUES:
        reader.fail(where, f"{name} has {number} values; {MOST_VALUES} are the most")
    else:
        return spread.steps(first, last, step)
    return []


def _spread(reader: Reader, form: str, parts: dict[str, Entry], name: str, dice: str) -> list[int | float]:
    [how_many] = FORMS[form]
    number = nodes.count(reader, parts[how_many].value, f"{name}.{how_many}", MOST_VALUES)
    ends = _ends(reader, parts[form].value, f"{name}.{form}", positive=form.startswith("log"))
    if number is None or ends is None:
        return []
    if form in _SPREADS:
        return _SPREADS[form](*ends, number)
    return _SAMPLES[form](*ends, number, dice)


def _ends(reader: Reader, node: Node, what: str, *, positive: bool) -> tuple[int | float, int | float] | None:
    if not isinstance(node, Sequence) or len(node.items) != 2:
        reader.fail(node, f"{what}: expected the two ends, such as [{'1e-5, 1e-1' if positive else '0, 1'}]")
        return None
    low, high = (nodes.number(reader, item, what) for item in node.items)
    if low is None or high is None:
        return None
    if positive and min(low, high) <= 0:
        reader.fail(node, f"{what}: both ends must be above 0")
        return None
    if low == high:
        reader.fail(node, f"{what}: both ends are {low}")
        return None
    return low, high


def _sampled(reader: Reader, parts: dict[str, Entry], name: str, dice: str) -> tuple[Choice, ...]:
    items = nodes.items_of(reader, parts["choice"].value, f"{name}.choice", "[a, b, c]")
    found = (
        _listed(reader, parts["choice"].value, name) if items and isinstance(parts["choice"].value, Sequence) else ()
    )
    number = nodes.count(reader, parts["samples"].value, f"{name}.samples", MOST_VALUES)
    if not found or number is None:
        return ()
    if number > len(found):
        message = f"{name}.samples: {number} of {len(found)} values cannot be chosen"
        reader.fail(parts["samples"], message, "none is chosen twice")
        return ()
    return tuple(found[place] for place in spread.chosen([canonical(item.value) for item in found], number, dice))
