"""GPUs that do not exist, for trying things out: `4`, `12GiB,24GiB`, `4xA100,2xT4`, `2xH100:96GiB`."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from researchflow_tmux.domain.hardware import GpuLink
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.domain.units import parse_size

PLAIN_MIB = 24 * 1024
"""Memory of one of which only the number is said."""
PLAIN_NAME = "Simulated GPU"
MOST = 4096
_NUMBER = re.compile(r"[1-9][0-9]{0,3}")
_SIZE = re.compile(r"[1-9][0-9]*(?:\.[0-9]+)?[KMGT]i?B?", re.IGNORECASE)
_ITEM = re.compile(r"(?:(?P<number>[0-9]{1,4})\s*x\s*)?(?P<kind>[\w .*-]{1,40}?)(?::(?P<size>[^:]+))?", re.ASCII)
WORDS = "a number of GPUs, their sizes (`12GiB,24GiB`) or their types (`4xA100,2xT4`, `2xH100:96GiB`)"


class Model(msgspec.Struct, frozen=True):
    """What is usual for a type."""

    memory_gib: int
    capability: tuple[int, int]
    nvlinks: int = 0
    """Between any two of a group."""


MODELS = {
    "P100": Model(16, (6, 0)),
    "V100": Model(32, (7, 0), 2),
    "T4": Model(16, (7, 5)),
    "A100": Model(80, (8, 0), 12),
    "A10": Model(24, (8, 6)),
    "A40": Model(48, (8, 6)),
    "A6000": Model(48, (8, 6)),
    "RTX3090": Model(24, (8, 6)),
    "RTX4090": Model(24, (8, 9)),
    "L4": Model(24, (8, 9)),
    "L40S": Model(48, (8, 9)),
    "H100": Model(80, (9, 0), 18),
    "H200": Model(141, (9, 0), 18),
    "B200": Model(180, (10, 0), 18),
}
"""Of a type that is not here the memory is that of a plain one and the compute capability is not known."""


def simulated_gpus(text: str) -> list[GpuDevice]:
    """The GPUs that the text describes, numbered in its order. Those of one item are connected as is usual for them.

    Raises:
        ValueError: It describes none; the message says what is wrong.
    """
    said = text.strip()
    if _NUMBER.fullmatch(said):
        return [_device(index, PLAIN_NAME, PLAIN_MIB) for index in range(int(said))]
    made: list[Callable[[int], GpuDevice]] = []
    for item in said.split(","):
        number, kind, size = _item(item.strip(), said)
        group = range(len(made), len(made) + number)
        made += [_maker(kind, size, group)] * number
    if len(made) > MOST:
        raise ValueError(f"{text!r} are {len(made)} GPUs; at most {MOST} can be simulated")
    return [make(index) for index, make in enumerate(made)]


def _item(item: str, text: str) -> tuple[int, str | None, float | None]:
    """How many, of which type, and how large if that is said."""
    match = _ITEM.fullmatch(item)
    if match is None or not match["kind"].strip()[:1].isalnum() or item.isdecimal():
        raise ValueError(f"expected {WORDS}, got {text!r}")
    number, kind = int(match["number"] or 1), match["kind"].strip()
    if not any(letter.isdecimal() for letter in kind):
        raise ValueError(
            f"{kind!r} is no type of GPU in {text!r}; there are {', '.join(MODELS)}, and others with a digit"
        )
    if not number:
        raise ValueError(f"expected at least one GPU, got {item!r}")
    if match["size"] is None and _SIZE.fullmatch(kind):
        return number, None, parse_size(kind)
    if match["size"] is not None and not _SIZE.fullmatch(match["size"].strip()):
        raise ValueError(f"{match['size']!r} is no size in {text!r}; such as `2xH100:96GiB`")
    return number, kind, None if match["size"] is None else parse_size(match["size"])


def _maker(kind: str | None, size: float | None, group: range) -> Callable[[int], GpuDevice]:
    if kind is None:
        return lambda index: _device(index, PLAIN_NAME, round(size or PLAIN_MIB))
    model = MODELS.get(kind.upper().replace(" ", "").replace("-", ""))
    mib = round(size) if size else PLAIN_MIB if model is None else model.memory_gib * 1024
    capability = None if model is None else model.capability
    nvlinks = 0 if model is None else model.nvlinks

    def make(index: int) -> GpuDevice:
        links = tuple(GpuLink(_uuid(other), "NODE", nvlinks) for other in group if other != index)
        return _device(index, f"Simulated {kind}", mib, capability, links)

    return make


def _uuid(index: int) -> str:
    return f"simulated-{index}"


def _device(
    index: int,
    name: str,
    mib: int,
    capability: tuple[int, int] | None = None,
    links: tuple[GpuLink, ...] = (),
) -> GpuDevice:
    return GpuDevice(
        uuid=_uuid(index),
        index=index,
        name=name,
        kind="simulated",
        total_mib=mib,
        capability=capability,
        links=links,
    )
