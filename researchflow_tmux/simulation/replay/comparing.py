"""Several policies on the same workload, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.plugin import is_plugin
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.ports import PolicyPlugin
from researchflow_tmux.simulation.replay.by_type import by_type
from researchflow_tmux.simulation.replay.figures import Figures, measure
from researchflow_tmux.simulation.replay.guesses import Guesses
from researchflow_tmux.simulation.replay.replay import replay
from researchflow_tmux.simulation.replay.trace import Trace

QUEUE = "queue"
"""The order of a workspace that chose no policy: priority, then arrival; nothing is known about durations."""
NAMES = (*POLICIES, QUEUE)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What to replay, and how."""

    trace: Trace
    gpus: int
    noisy: bool = False
    """Durations are guessed as people guess; False = they are known."""
    seed: int = 0
    weights: Mapping[str, float] = {}
    devices: tuple[GpuDevice, ...] = ()
    """The GPUs, if they are not alike."""
    keep_scarce: bool = True


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay prints: with one policy its figures stand beside these fields, with several in `compared`.

    There is no time of day in it: the same arguments give the same bytes.
    """

    schema: str
    """Name and version of this form."""
    trace: str
    """Name of the file, or `synthetic`."""
    estimates: str
    seed: int
    too_wide: int
    """Jobs left out because they need more GPUs than there are."""
    left_out: int
    """Lines left out because their job never ran."""
    compared: list[Figures] = []


def policies(names: Sequence[str], caps_s: Sequence[float] = ()) -> list[tuple[str, Policy | None]]:
    """The policies of these names, each with every one of the age caps if it uses one; of a plug-in the name alone.

    Raises:
        UsageError: There is no policy of that name, or no use for the caps.
    """
    unknown = [name for name in names if name not in NAMES and not is_plugin(name)]
    if unknown:
        own = "`module:object` or `file.py:object` for one of yours"
        raise UsageError(f"there is no policy {', '.join(unknown)}", hint=f"policies are {', '.join(NAMES)}, and {own}")
    if caps_s and "balanced" not in names:
        raise UsageError("an age cap is of use to the policy `balanced` only")
    found: list[tuple[str, Policy | None]] = []
    for name in names:
        policy = POLICIES.get(name)
        if policy is not None and name == "balanced" and caps_s:
            capped = [msgspec.structs.replace(policy, cap_s=cap_s) for cap_s in caps_s]
            found += [(f"{name} C={cap_s / 86_400:g}d", one) for cap_s, one in zip(caps_s, capped, strict=True)]
        else:
            found.append((name, policy))
    return found


def run(it: Run, name: str, policy: Policy | None, plugin: PolicyPlugin | None = None) -> Figures:
    """One policy, or a plug-in, on the workload. Raises PolicyError when the plug-in does not do its work."""
    guesses = Guesses(it.trace, noisy=it.noisy, seed=it.seed)
    done = replay(
        it.trace,
        gpus=it.gpus,
        devices=it.devices,
        keep_scarce=it.keep_scarce,
        policy=policy,
        estimator=guesses,
        weights=it.weights,
        plugin=plugin,
    )
    kinds = {device.index: device.name.removeprefix("Simulated ") for device in it.devices}
    figures = measure(name, done.ran, it.gpus, len(done.unfinished))
    return msgspec.structs.replace(figures, types=by_type(done.ran, kinds))
