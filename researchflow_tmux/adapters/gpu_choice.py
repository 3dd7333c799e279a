"""Which of the GPUs that were found a workspace may use: pure, so that every case is a row of a table in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from researchflow_tmux.adapters.gpu_facts import (
    Facts,
    Inventory,
    Wanted,
    count,
    indices,
    nameless,
    note,
    usable_name,
    warnings,
)
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.resources import GpuDevice, GpuReading
from researchflow_tmux.domain.simulated_gpus import simulated_gpus

__all__ = ["Facts", "Inventory", "choose", "simulated"]

Known = TypeVar("Known", GpuDevice, GpuReading)
SIMULATED_DEFAULT = 2
"""GPUs of `gpu_count: simulated`."""
_FORMS = (
    "`auto`, a number, a list of indices or UUIDs, `simulated`, `simulated:N`, `simulated:12GiB,24GiB` or "
    "`simulated:4xA100,2xT4`"
)


def simulated(wanted: Wanted) -> Inventory | None:
    """The inventory of `simulated`, `simulated:N`, `simulated:SIZE,SIZE` and `simulated:NxTYPE`; None = another value.

    Raises ConfigError when it is none of these.
    """
    if not isinstance(wanted, str) or wanted.partition(":")[0].strip() != "simulated":
        return None
    said = wanted.partition(":")[2].strip()
    try:
        devices = simulated_gpus(said or str(SIMULATED_DEFAULT))
    except ValueError as error:
        raise _refused(f"gpu_count: {error}", "such as `simulated:4` or `simulated:4xA100,2xT4`") from None
    number_of = len(devices)
    return Inventory(
        devices=devices, note=f"{count(number_of, 'simulated GPU')}: no hardware is used", source="simulated"
    )


def choose(wanted: Wanted, facts: Facts) -> Inventory:
    """What `gpu_count` means on this machine. Raises ConfigError naming everything that cannot be had."""
    present = _present(facts)
    allowed = _allowed(present, facts)
    listed = _listed(wanted)
    devices = _named(listed, present, allowed, facts) if isinstance(listed, list) else _first(listed, allowed, facts)
    return Inventory(
        devices=sorted(devices, key=lambda device: device.index),
        note=note(devices, present, wanted, facts),
        warnings=warnings(devices, facts),
        source=facts.source,
        variables=("HIP_VISIBLE_DEVICES",) if facts.source == "amd" else (),
    )


# -- what there is


def _present(facts: Facts) -> list[GpuDevice] | None:
    """The machine's GPUs; None = no GPU that could be counted, so slots are only places for jobs."""
    if facts.readings:
        return [
            GpuDevice(
                uuid=reading.uuid,
                index=reading.index,
                name=reading.name,
                kind=facts.source,
                leased=True,
                total_mib=reading.total_mib,
                capability=facts.traits[reading.uuid].capability if reading.uuid in facts.traits else None,
                links=facts.traits[reading.uuid].links if reading.uuid in facts.traits else (),
            )
            for reading in facts.readings
            if not nameless(reading) and not reading.split and usable_name(reading)
        ]
    return [_slot(index, leased=True) for index in facts.nodes] or None


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
        found = _visible(token, present, allowed, facts)
        if not found or any(device in allowed for device in found):
            break  # as CUDA does: the first name it does not know ends the list
        allowed += found
    return allowed


def _visible(token: str, present: Sequence[GpuDevice], allowed: Sequence[GpuDevice], facts: Facts) -> list[GpuDevice]:
    """What one name of the variable allows: a device, or the parts of a GPU that is split."""
    found = _find(token, present)
    if found is not None:
        return [found]
    split = _find(token, [reading for reading in facts.readings if reading.split])
    if split is not None:
        parts = _parts_of(split, facts)
        return [device for device in present if device.uuid in parts]
    return [_mig(token, _after(present, allowed))] if _is_mig(token) else []


def _parts_of(split: GpuReading, facts: Facts) -> set[str]:
    """UUIDs of the MIG devices of a GPU."""
    return {reading.uuid for reading in facts.readings if reading.parent == split.uuid}


def _is_mig(token: int | str) -> bool:
    return isinstance(token, str) and token.startswith("MIG-") and "/" not in token


def _after(present: Sequence[GpuDevice], chosen: Sequence[GpuDevice]) -> int:
    """A number for a slice, which has none of its own: after the GPUs', in the order of mention."""
    return max((device.index for device in (*present, *chosen)), default=-1) + 1


def _find(token: int | str, known: Sequence[Known]) -> Known | None:
    """The one of that index or of that UUID, of which a beginning that fits only one is enough."""
    if isinstance(token, int) or token.isdecimal():
        return next((one for one in known if one.index == int(token)), None)
    matches = [one for one in known if one.uuid.startswith(token) and len(token) > len("GPU-")]
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
            f"gpu_count asks for {count(number, 'GPU')}, but "
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
    if _is_mig(name) and facts.visible is None and not any(reading.parent for reading in facts.readings):
        return _mig(str(name), _after(allowed or (), chosen))
    number = allowed is None and (isinstance(name, int) or name.isdecimal()) and int(name) >= 0
    return _slot(int(name), leased=facts.hidden) if number else None


def _why_not(name: int | str, present: list[GpuDevice] | None, allowed: list[GpuDevice] | None, facts: Facts) -> str:
    if present is None and facts.visible is None:
        return f"gpu_count names GPU {name}, but there is no driver that knows it ({facts.no_driver})"
    split = _find(name, [reading for reading in facts.readings if reading.split])
    if split is not None:
        parts = [device for device in present or () if device.uuid in _parts_of(split, facts)]
        use = f"name those: {indices(parts)}" if parts else "and has none"
        return f"gpu_count names GPU {name}, but that is divided into MIG devices, {use}"
    if facts.visible is not None:
        return f"gpu_count names GPU {name}, but {facts.variable}={facts.visible} allows {indices(allowed or ())}"
    return f"gpu_count names GPU {name}, but the GPUs here are {indices(present or ())}"


def _refused(message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(message=message, hint=hint)])
