"""Which of the GPUs that were found a workspace may use: pure, so that every case is a row of a table in the tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.resources import GpuDevice, GpuReading, GpuShare

Wanted = int | str | list[int | str]
"""The values of `gpu_count`."""
SIMULATED_DEFAULT = 2
_FORMS = "`auto`, a number, a list of indices or UUIDs, `simulated` or `simulated:N`"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine and the environment say."""

    source: str
    """Who was asked: "nvml", "amd", or "logical" = there is nobody to ask."""
    readings: tuple[GpuReading, ...] = ()
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


def simulated(wanted: Wanted) -> Inventory | None:
    """The inventory of `simulated` and `simulated:N`; None for any other value."""
    if not isinstance(wanted, str) or wanted.partition(":")[0].strip() != "simulated":
        return None
    number = wanted.partition(":")[2].strip()
    if number and not number.isdecimal():
        raise _refused(f"gpu_count: {wanted!r}: the number of simulated GPUs is {number!r}", "such as `simulated:4`")
    count = int(number or SIMULATED_DEFAULT)
    devices = [
        GpuDevice(uuid=f"simulated-{index}", index=index, name="Simulated GPU", kind="simulated")
        for index in range(count)
    ]
    return Inventory(devices=devices, note=f"{_count(count, 'simulated GPU')}: no hardware is used", source="simulated")


def choose(wanted: Wanted, facts: Facts) -> Inventory:
    """What `gpu_count` means on this machine. Raises ConfigError naming everything that cannot be had."""
    present = _present(facts)
    allowed = _allowed(present, facts)
    listed = _listed(wanted)
    devices = _named(listed, present, allowed, facts) if isinstance(listed, list) else _first(listed, allowed, facts)
    return Inventory(
        devices=sorted(devices, key=lambda device: device.index),
        note=_note(devices, present, wanted, facts),
        warnings=_warnings(devices, facts),
        source=facts.source,
        variables=("HIP_VISIBLE_DEVICES",) if facts.source == "amd" else (),
    )


def visible_value(gpus: Iterable[GpuDevice | GpuShare]) -> str:
    """What tells a job its GPUs: physical indices; a MIG slice has none and goes by its UUID."""
    return ",".join(gpu.uuid if gpu.uuid.startswith("MIG-") else str(gpu.index) for gpu in gpus)


# -- what there is


def _present(facts: Facts) -> list[GpuDevice] | None:
    """The machine's GPUs; None = no GPU that could be counted, so slots are only places for jobs."""
    if facts.readings:
        return [
            GpuDevice(uuid=reading.uuid, index=reading.index, name=reading.name, kind=facts.source, leased=True)
            for reading in facts.readings
            if not _nameless(reading)
        ]
    return [_slot(index, leased=True) for index in facts.nodes] or None


def _nameless(reading: GpuReading) -> bool:
    """Lost before it ever said who it is: it would come back under another name."""
    return reading.error is not None and reading.uuid == f"index-{reading.index}"


def _slot(index: int, *, leased: bool) -> GpuDevice:
    """A GPU known by its number only, or a mere place for a job; the former is everybody's, the latter ours."""
    uuid = f"index-{index}" if leased else f"slot-{index}"
    return GpuDevice(uuid=uuid, index=index, name="logical slot", kind="logical", leased=leased)


def _mig(uuid: str, index: int) -> GpuDevice:
    return GpuDevice(uuid=uuid, index=index, name="MIG slice", kind="logical", leased=True)


# -- what the environment allows


def _allowed(present: list[GpuDevice] | None, facts: Facts) -> list[GpuDevice] | None:
    """What the inherited variable leaves of it; None = as many places as one likes."""
    if facts.visible is None or (present is None and not facts.visible.strip()):
        # Where there is no GPU, an empty variable forbids nothing: the slots are none.
        return present
    tokens = [token.strip() for token in facts.visible.split(",")]
    if present is None:
        present = [_slot(int(token), leased=facts.hidden) for token in tokens if token.isdecimal()]
    allowed: list[GpuDevice] = []
    for token in tokens:
        found = _mig(token, _after(present, allowed)) if _is_mig(token) else _find(token, present)
        if found is None or found in allowed:
            break  # as CUDA does: the first name it does not know ends the list
        allowed.append(found)
    return allowed


def _is_mig(token: int | str) -> bool:
    return isinstance(token, str) and token.startswith("MIG-") and "/" not in token


def _after(present: Sequence[GpuDevice], chosen: Sequence[GpuDevice]) -> int:
    """A number for a slice, which has none of its own: after the GPUs', in the order of mention."""
    return max((device.index for device in (*present, *chosen)), default=-1) + 1


def _find(token: int | str, devices: Sequence[GpuDevice]) -> GpuDevice | None:
    """The device of that index or of that UUID, of which a beginning that fits only one is enough."""
    if isinstance(token, int) or token.isdecimal():
        return next((device for device in devices if device.index == int(token)), None)
    matches = [device for device in devices if device.uuid.startswith(token) and len(token) > len("GPU-")]
    return matches[0] if len(matches) == 1 else None


# -- what the settings want


def _listed(wanted: Wanted) -> list[int | str] | int | None:
    """A list of names, a number, or None for `auto`."""
    if not isinstance(wanted, str):
        return wanted
    text = wanted.strip()
    if text == "auto":
        return None
    if text.isdecimal():
        return int(text)
    names: list[int | str] = [name.strip() for name in text.split(",")]
    if all(isinstance(name, str) and (name.isdecimal() or name.startswith(("GPU-", "MIG-"))) for name in names):
        return names
    raise _refused(f"gpu_count: {wanted!r} is not understood", f"it may be {_FORMS}")


def _first(number: int | None, allowed: list[GpuDevice] | None, facts: Facts) -> list[GpuDevice]:
    if allowed is None:
        return [_slot(index, leased=facts.hidden) for index in range(1 if number is None else number)]
    if number is not None and number > len(allowed):
        there = f"{facts.variable}={facts.visible} allows {len(allowed)}"
        raise _refused(
            f"gpu_count asks for {_count(number, 'GPU')}, but "
            + (f"there {'is' if len(allowed) == 1 else 'are'} {len(allowed)}" if facts.visible is None else there),
            "`gpu_count: auto` takes all there are",
        )
    return allowed if number is None else allowed[:number]


def _named(
    names: list[int | str], present: list[GpuDevice] | None, allowed: list[GpuDevice] | None, facts: Facts
) -> list[GpuDevice]:
    devices: list[GpuDevice] = []
    problems: list[str] = []
    for name in names:
        found = _one(name, devices, allowed, facts)
        if found is None:
            problems.append(_why_not(name, present, allowed, facts))
        elif found in devices:
            problems.append(f"gpu_count names GPU {name} twice")
        else:
            devices.append(found)
    if problems:
        raise ConfigError([Problem(message=problem) for problem in problems])
    return devices


def _one(
    name: int | str, chosen: Sequence[GpuDevice], allowed: list[GpuDevice] | None, facts: Facts
) -> GpuDevice | None:
    """The GPU of that name; where there is none, any number is a place for a job."""
    found = _find(name, allowed or ()) or _find(name, chosen)
    if found is not None:
        return found
    if _is_mig(name) and facts.visible is None:
        return _mig(str(name), _after(allowed or (), chosen))
    number = allowed is None and (isinstance(name, int) or name.isdecimal()) and int(name) >= 0
    return _slot(int(name), leased=facts.hidden) if number else None


def _why_not(name: int | str, present: list[GpuDevice] | None, allowed: list[GpuDevice] | None, facts: Facts) -> str:
    if present is None and facts.visible is None:
        return f"gpu_count names GPU {name}, but there is no driver that knows it ({facts.no_driver})"
    if facts.visible is not None:
        return f"gpu_count names GPU {name}, but {facts.variable}={facts.visible} allows {_indices(allowed or ())}"
    return f"gpu_count names GPU {name}, but the GPUs here are {_indices(present or ())}"


def _refused(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(message=message, hint=hint)])


# -- words


def _note(devices: list[GpuDevice], present: list[GpuDevice] | None, wanted: Wanted, facts: Facts) -> str:
    if not devices:
        if wanted in (0, "0", []):
            return "gpu_count is 0: only CPU jobs run"
        return f"{facts.variable}={facts.visible} allows no GPU: only CPU jobs run"
    if facts.source == "logical":
        return _logical_note(devices, present, wanted, facts)
    names = sorted({device.name for device in devices})
    note = f"{_count(len(devices), 'GPU')}: {_indices(devices)} ({', '.join(names)})"
    left_out = len([device for device in present or () if device not in devices])
    if left_out and facts.visible is not None:
        return f"{note}; {facts.variable}={facts.visible} and gpu_count leave out {left_out}"
    return f"{note}; gpu_count leaves out {left_out}" if left_out else note


def _logical_note(devices: list[GpuDevice], present: list[GpuDevice] | None, wanted: Wanted, facts: Facts) -> str:
    slots = f"running jobs on {_count(len(devices), 'logical slot')}"
    if present is not None or facts.hidden:
        return f"GPUs that cannot be asked ({facts.no_driver}): {slots} by index; their memory and load are not known."
    more = "; set gpu_count to run more at a time" if wanted == "auto" else ""
    return f"No GPU found: {slots}{more}."


def _warnings(devices: list[GpuDevice], facts: Facts) -> list[str]:
    found = []
    for reading in facts.readings:
        if reading.error is not None:
            left_out = ", and is left out until the next start" if _nameless(reading) else ""
            found.append(f"GPU {reading.index} cannot be read: {reading.error}{left_out}")
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


def _indices(devices: Sequence[GpuDevice]) -> str:
    return ", ".join(str(device.index) for device in sorted(devices, key=lambda gpu: gpu.index)) or "none"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
