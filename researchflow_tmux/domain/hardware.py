"""What kind of GPU a job asks for, how GPUs are connected, and how people write both."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from researchflow_tmux.domain.units import parse_size

Topology = Literal["nvlink", "same_switch", "same_numa"]
"""How well the GPUs of one job should be connected, each with each; the first is the best."""
CLOSENESS: dict[str, int] = {"nvlink": 3, "same_switch": 2, "same_numa": 1}
"""What counts as so well connected: this much or more."""
_PATHS = {"XGMI": 3, "INT": 2, "PIX": 2, "PXB": 2, "PHB": 1, "NODE": 1, "SYS": 0}
"""Closeness by the way between two GPUs, in the words of `nvidia-smi topo -m`."""
ANY = "any"
"""Takes back what the settings ask for."""

_TYPE = re.compile(r"[\w .*?\[\]!+-]{1,80}")
_CAPABILITY = re.compile(r"(?:>=\s*)?([0-9]{1,2})(?:\.([0-9]))?")
TYPE_WORDS = "types such as `A100` or `A100|H100` (the preferred one first; `*` and `?` stand for anything)"
CAPABILITY_WORDS = "the least compute capability, such as `8.0`"
TOPOLOGY_WORDS = "`nvlink`, `same_switch`, `same_numa` or `any`; with `!` behind it the job waits for it: `nvlink!`"
MEMORY_WORDS = "a size such as `40GiB`, or a number of MiB"


class Hardware(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a job asks of the GPUs it gets, whichever they are. Nothing said = any GPU is good."""

    types: tuple[str, ...] = ()
    """One of these, the preferred one first: words of the device's name, with globs; empty = any."""
    min_memory_mib: int | None = None
    """MiB that the device has in all."""
    min_capability: tuple[int, int] | None = None
    """CUDA's, such as (8, 0)."""
    topology: Topology | None = None
    """How well they should be connected, if it is several."""
    connected: bool = False
    """It waits until GPUs that are connected so are free; False = it takes the best there are."""

    @property
    def choosy(self) -> bool:
        """Whether not every GPU is good enough."""
        return bool(self.types) or self.min_memory_mib is not None or self.min_capability is not None

    @property
    def least_closeness(self) -> int:
        """What every two of its GPUs must have, as `CLOSENESS` counts; 0 = nothing is required."""
        return CLOSENESS[self.topology] if self.topology is not None and self.connected else 0

    def __str__(self) -> str:
        """`A100 or H100, at least 40 GiB, compute capability 8.0`; empty = nothing is asked for."""
        parts = [" or ".join(self.types)] if self.types else []
        if self.min_memory_mib is not None:
            parts.append(f"at least {self.min_memory_mib / 1024:.4g} GiB")
        if self.min_capability is not None:
            parts.append("compute capability {}.{}".format(*self.min_capability))
        if self.topology is not None:
            parts.append(f"connected by {self.topology}" + ("" if self.connected else " if possible"))
        return ", ".join(parts)


NO_HARDWARE = Hardware()


class GpuLink(msgspec.Struct, frozen=True, array_like=True):
    """How one GPU is connected to another."""

    uuid: str
    """Of the other one."""
    path: str
    """`PIX`, `PXB`, `PHB`, `NODE`, `SYS` as `nvidia-smi topo -m` has them, `INT` (one board), `XGMI` (AMD's NVLink)."""
    nvlinks: int = 0
    """NVLinks between them, a switch in between or not."""

    @property
    def closeness(self) -> int:
        """3 = NVLink, 2 = PCIe switches only, 1 = one NUMA node, 0 = farther or not known."""
        return 3 if self.nvlinks else _PATHS.get(self.path, 0)

    @property
    def strength(self) -> int:
        """For comparing sets of GPUs: closeness first, then the number of NVLinks."""
        return self.closeness + self.nvlinks

    def __str__(self) -> str:
        return f"NV{self.nvlinks}" if self.nvlinks else self.path


class GpuTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change of a GPU while the machine runs. Unknown is None, or not there."""

    capability: tuple[int, int] | None = None
    links: tuple[GpuLink, ...] = ()


def parse_types(text: str) -> tuple[str, ...]:
    """`A100|H100` as alternatives; `any` = none. Raises ValueError."""
    types = tuple(part.strip() for part in text.split("|"))
    if len(types) == 1 and types[0].lower() == ANY:
        return ()
    if not all(_TYPE.fullmatch(each) and any(letter.isalnum() or letter == "*" for letter in each) for each in types):
        raise ValueError(f"expected {TYPE_WORDS}, got {text!r}")
    return tuple(dict.fromkeys(types))


def parse_capability(text: str | float) -> tuple[int, int] | None:
    """`8.0`, `>=8.0` or `8` as (8, 0); `any` = None. Raises ValueError."""
    said = str(text).strip()
    match = _CAPABILITY.fullmatch(said)
    if said.lower() == ANY:
        return None
    if match is None or isinstance(text, bool):
        raise ValueError(f"expected {CAPABILITY_WORDS}, got {text!r}")
    return int(match[1]), int(match[2] or 0)


def parse_topology(text: str) -> tuple[Topology | None, bool]:
    """`nvlink` as ("nvlink", False), `nvlink!` as ("nvlink", True); `any` = (None, False). Raises ValueError."""
    word = text.strip().lower().replace("-", "_")
    required = word.endswith("!")
    match word.removesuffix("!").strip():
        case "any" if not required:
            return None, False
        case "nvlink" | "same_switch" | "same_numa" as known:
            return known, required
    raise ValueError(f"expected {TOPOLOGY_WORDS}, got {text!r}")


def parse_memory(size: str | float) -> int | None:
    """MiB, rounded up; 0 = None: any. Raises ValueError."""
    mib = parse_size(size)
    return -int(-mib // 1) or None


def hardware(
    *,
    gpu_type: str | None = None,
    min_gpu_memory: str | float | None = None,
    compute_capability: str | float | None = None,
    topology: str | None = None,
) -> Hardware:
    """What these words ask for; None and empty = nothing is said. Raises ValueError."""
    level, connected = parse_topology(topology) if topology else (None, False)
    return Hardware(
        types=parse_types(gpu_type) if gpu_type else (),
        min_memory_mib=parse_memory(min_gpu_memory) if min_gpu_memory not in (None, "") else None,
        min_capability=parse_capability(compute_capability) if compute_capability not in (None, "") else None,
        topology=level,
        connected=connected,
    )
