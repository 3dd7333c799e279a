"""What the machine says about its GPUs, what a workspace may use of them, and the words for both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from researchflow_tmux.domain.hardware import GpuTraits
from researchflow_tmux.domain.resources import GpuDevice, GpuReading

Wanted = int | str | list[int | str]
"""The values of `gpu_count`."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine and the environment say."""

    source: str
    """Who was asked: "nvml", "amd", or "logical" = there is nobody to ask."""
    readings: tuple[GpuReading, ...] = ()
    traits: Mapping[str, GpuTraits] = {}
    """By UUID, as far as known."""
    not_surveyed: str = ""
    """Why nothing is known of those."""
    nodes: tuple[int, ...] = ()
    """Indices of GPU device nodes, when there is nobody to ask."""
    hidden: bool = False
    """There is GPU hardware, but it cannot even be counted."""
    no_driver: str = ""
    """Why there is nobody to ask."""
    variable: str = "CUDA_VISIBLE_DEVICES"
    visible: str | None = None
    """The inherited value of `variable`; None = not set."""
    pci_order: bool = True
    """CUDA_DEVICE_ORDER=PCI_BUS_ID was inherited too."""


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """The GPUs that a workspace may use."""

    devices: list[GpuDevice]
    """Ascending by index."""
    note: str
    """One sentence for people."""
    warnings: list[str] = []
    source: str
    """Which probe reads them: "nvml", "amd", "simulated", or "logical" = there are no readings."""
    variables: tuple[str, ...] = ()
    """Variables that tell a job its GPUs, beside the one of the settings."""


def note(devices: list[GpuDevice], present: list[GpuDevice] | None, wanted: Wanted, facts: Facts) -> str:
    """One sentence: what is used, and what is not and why."""
    if not devices:
        if wanted in (0, "0", []):
            return "gpu_count is 0: only CPU jobs run"
        if facts.visible is None:
            return "No GPU here can be read: only CPU jobs run"
        return f"{facts.variable}={facts.visible} allows no GPU: only CPU jobs run"
    if facts.source == "logical":
        return _logical_note(devices, present, wanted, facts)
    names = sorted({device.name for device in devices})
    text = f"{count(len(devices), 'GPU')}: {indices(devices)} ({', '.join(names)})"
    left_out = len([device for device in present or () if device not in devices])
    if left_out and facts.visible is not None:
        return f"{text}; {facts.variable}={facts.visible} and gpu_count leave out {left_out}"
    return f"{text}; gpu_count leaves out {left_out}" if left_out else text


def _logical_note(devices: list[GpuDevice], present: list[GpuDevice] | None, wanted: Wanted, facts: Facts) -> str:
    slots = f"running jobs on {count(len(devices), 'logical slot')}"
    if present is not None or facts.hidden:
        return f"GPUs that cannot be asked ({facts.no_driver}): {slots} by index; their memory and load are not known."
    more = "; set gpu_count to run more at a time" if wanted == "auto" else ""
    return f"No GPU found: {slots}{more}."


def warnings(devices: list[GpuDevice], facts: Facts) -> list[str]:
    """What a user should know before trusting it."""
    found = []
    if facts.not_surveyed:
        found.append(
            f"compute capability and links of the GPUs are not known ({facts.not_surveyed}): "
            "jobs that ask for them wait until the next start"
        )
    for reading in facts.readings:
        if reading.error is not None:
            left_out = ", and is left out until the next start" if nameless(reading) else ""
            found.append(f"GPU {reading.index} cannot be read: {reading.error}{left_out}")
    split = [reading for reading in facts.readings if reading.split]
    parents = {reading.parent for reading in facts.readings}
    found += [
        f"GPU {reading.index} is in MIG mode and has no MIG device, so nothing can run on it: see `nvidia-smi mig`"
        for reading in split
        if reading.uuid not in parents
    ]
    found += [
        f"the MIG device {reading.uuid} cannot be used: this driver is too old to name it in a way that programs take"
        for reading in facts.readings
        if not usable_name(reading)
    ]
    if facts.visible and not devices:
        found.append(f"{facts.variable}={facts.visible} names no GPU of this machine")
    numbered = any(token.strip().isdecimal() for token in (facts.visible or "").split(","))
    if numbered and not facts.pci_order and len({reading.name for reading in facts.readings}) > 1:
        found.append(
            f"{facts.variable}={facts.visible} is read in PCI bus order, in which nvidia-smi counts; "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID where the variable is set, for CUDA counts the fastest GPU first"
        )
    if facts.variable == "ROCR_VISIBLE_DEVICES" and facts.visible:
        found.append("ROCR_VISIBLE_DEVICES renumbers the cards for the jobs; set HIP_VISIBLE_DEVICES instead")
    return found


def indices(devices: Sequence[GpuDevice]) -> str:
    """Their indices, ascending, for people."""
    return ", ".join(str(device.index) for device in sorted(devices, key=lambda gpu: gpu.index)) or "none"


def count(number: int, thing: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def usable_name(reading: GpuReading) -> bool:
    """Drivers before 470 name MIG devices with slashes in it, which no lease can be called."""
    return "/" not in reading.uuid


def nameless(reading: GpuReading) -> bool:
    """Lost before it ever said who it is: it would come back under another name."""
    return reading.error is not None and reading.uuid == f"index-{reading.index}"
