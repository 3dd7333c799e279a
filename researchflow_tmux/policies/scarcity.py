"""Which GPUs are left to jobs that cannot run on any other. Pure.

Jobs that say what kind of GPU they need are choosy, and so are jobs that are pinned. Two rules leave them theirs:

- *Order*: a job takes the GPU that choosy jobs want least. A GPU is wanted by Σ demand / supply over all kinds that it
  is of: the GPUs that jobs of the kind ask for, by the number of GPUs of that kind. What waits counts first, then what
  has ever come.
- *First choice*: a kind is scarce if at most half of the GPUs are of it. While choosy jobs wait, a job that could run
  without any scarce GPU takes none that they could have now; what they leave in the same decision is for all. So no
  GPU stays idle for a job that does not come. For the first choosy job that waits for several GPUs these are gathered:
  until then such jobs use them only if they will have ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from researchflow_tmux.domain.hardware import Hardware
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.policies.hardware import fitting

SCARCE = 0.5
"""Part of the GPUs up to which a kind is scarce: what most GPUs are is kept for nobody."""

Demand = Mapping[Hardware, int]
"""GPUs asked for, by kind."""


def wanted(devices: Sequence[GpuDevice], waiting: Demand, known: Demand) -> dict[str, tuple[float, float]]:
    """How much each GPU is wanted by choosy jobs that wait, and by all that came so far."""
    found = {device.uuid: (0.0, 0.0) for device in devices}
    for kind in known.keys() | waiting.keys():
        good = fitting(devices, kind)
        if not good or len(good) == len(devices):
            continue
        now, ever = waiting.get(kind, 0) / len(good), known.get(kind, 0) / len(good)
        for uuid in good:
            before = found[uuid]
            found[uuid] = (before[0] + now, before[1] + ever)
    return found


class Kept(NamedTuple):
    """What choosy jobs that wait have the first choice of."""

    uuids: frozenset[str] = frozenset()
    """GPUs that are free, as many as they ask for."""
    scarce: frozenset[str] = frozenset()
    """All GPUs of scarce kinds that somebody waits for, free or not."""
    gathered: frozenset[str] = frozenset()
    """GPUs that the first choosy job which waits for several will get, ..."""
    until_s: float = 0.0
    """... and when: who has ended by then may use them."""


NOTHING_KEPT = Kept()


def kept_for_choosy(free: Collection[str], everything: Collection[str], demand: Mapping[frozenset[str], int]) -> Kept:
    """What is kept. `demand` = GPUs asked for, by the GPUs that will do; `everything` = all GPUs that may be used."""
    here = [(may.intersection(everything), asked) for may, asked in demand.items()]
    kinds = [(may, asked) for may, asked in here if 0 < len(may) <= SCARCE * len(everything)]
    uuids: set[str] = set()
    for may, asked in sorted(kinds, key=lambda kind: (len(kind[0]), sorted(kind[0]))):
        free_here = sorted((uuid for uuid in may if uuid in free), key=lambda uuid: (uuid not in uuids, uuid))
        uuids.update(free_here[:asked])
    return Kept(frozenset(uuids), frozenset[str]().union(*(may for may, _ in kinds)))
