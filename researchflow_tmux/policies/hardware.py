"""Is a GPU of the kind that a job asks for? Pure. What is not known of a GPU never counts as good enough."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from researchflow_tmux.domain.hardware import Hardware
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.domain.units import counted

ANY_RANK = 0
_WORD = re.compile(r"[a-z0-9]+")
_SEPARATORS = re.compile(r"[\s_.+-]+(?![^\[]*\])")
"""Between words of a type, but not within `[a-c]`."""
_MAKERS = ("simulated ", "nvidia ", "amd ", "tesla ", "geforce ", "radeon ")
_PART = "mig"
"""The word in the name of a MIG device after which its own words come."""


def fits(device: GpuDevice, hardware: Hardware) -> bool:
    """Whether the job may run on this GPU."""
    return _fits(hardware, device.name, device.total_mib, device.capability)


def rank(device: GpuDevice, hardware: Hardware) -> int:
    """The place of its type among the alternatives, the preferred one 0; where none is named all are 0."""
    return _rank(hardware.types, device.name)


def fitting(devices: Iterable[GpuDevice], hardware: Hardware) -> frozenset[str]:
    """UUIDs of the GPUs on which the job may run."""
    return frozenset(device.uuid for device in devices if fits(device, hardware))


@functools.lru_cache(maxsize=4096)
def _fits(hardware: Hardware, name: str, total_mib: int | None, capability: tuple[int, int] | None) -> bool:
    least_mib, least = hardware.min_memory_mib, hardware.min_capability
    if least_mib is not None and (total_mib is None or total_mib < least_mib):
        return False
    if least is not None and (capability is None or capability < least):
        return False
    return not hardware.types or any(named(each, name) for each in hardware.types)


@functools.lru_cache(maxsize=4096)
def _rank(types: tuple[str, ...], name: str) -> int:
    return next((place for place, each in enumerate(types) if named(each, name)), ANY_RANK)


def named(wanted: str, name: str) -> bool:
    """Whether a type, such as `A100`, `rtx 4090` or `A100-SXM4*`, is in a device's name, in whole words.

    A part of a GPU (MIG device) is not the GPU: it is meant only by the words that tell it (`MIG`, `1g.10gb`).
    """
    words = _WORD.findall(name.lower())
    pattern = _SEPARATORS.sub("", wanted.lower())
    if _PART in words and _PART not in pattern:
        words = words[words.index(_PART) + 1 :]
    runs = ("".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1))
    return any(fnmatchcase(run, pattern) for run in runs)


def short(name: str) -> str:
    """`A100-SXM4-80GB` for `NVIDIA A100-SXM4-80GB`: without who made it."""
    for maker in _MAKERS:
        if name.lower().startswith(maker):
            name = name[len(maker) :]
    return name


def kinds(devices: Sequence[GpuDevice]) -> str:
    """What there is, for people: `4 × V100-SXM2-32GB (32 GiB, 7.0), 2 × T4 (15 GiB, 7.5)`."""
    found = Counter((short(device.name), device.total_mib, device.capability) for device in devices)
    return ", ".join(f"{number} × {_kind(*kind)}" for kind, number in found.items()) or "no GPU"


def _kind(name: str, total_mib: int | None, capability: tuple[int, int] | None) -> str:
    facts = [f"{total_mib / 1024:.3g} GiB"] if total_mib is not None else []
    facts += [f"{capability[0]}.{capability[1]}"] if capability is not None else []
    return f"{name} ({', '.join(facts)})" if facts else name


def lacking(devices: Sequence[GpuDevice], hardware: Hardware, gpus: int) -> str:
    """Why too few of all these GPUs are good enough, in words: what is needed, what there is, what is not known."""
    unknown = _unknown(devices, hardware)
    not_known = f" ({unknown} not known, which counts as not enough)" if unknown else ""
    return f"it needs {counted(gpus, 'GPU')} ({hardware}); this machine has {kinds(devices)}{not_known}"


def _unknown(devices: Sequence[GpuDevice], hardware: Hardware) -> str:
    """What would have to be known of some GPU."""
    facts = []
    if hardware.min_memory_mib is not None and any(device.total_mib is None for device in devices):
        facts.append("memory")
    if hardware.min_capability is not None and any(device.capability is None for device in devices):
        facts.append("compute capability")
    return " and ".join(facts) + (" is" if len(facts) == 1 else " are") if facts else ""
