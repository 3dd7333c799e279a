"""Which GPUs a workspace may use: looks at the machine, then lets `gpu_choice.choose` decide."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from researchflow_tmux.adapters.amd_sysfs import AMD_VENDOR, AmdProbe
from researchflow_tmux.adapters.gpu_choice import Facts, Inventory, choose, simulated
from researchflow_tmux.adapters.nvml import NoDriver
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.hardware import GpuTraits
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.domain.workspace import Settings
from researchflow_tmux.ports import GpuSurveyor

_NVIDIA_NODE = re.compile(r"nvidia(\d+)")
_RENDER_NODE = re.compile(r"renderD\d+")
MEASURED_LIMITS = ("max_memory", "max_util", "min_free_memory", "max_processes")
"""Settings that limit what is measured of a GPU."""
AMD_VARIABLES = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def inventory(settings: Settings, probe: GpuSurveyor, environ: Mapping[str, str], *, root: str = "/") -> Inventory:
    """The GPUs that the workspace may use, and one sentence about them.

    Args:
        settings: `gpu_count` and `cuda_visible_devices_var` are looked at.
        probe: Asks the NVIDIA driver; not used for simulated GPUs.
        environ: The environment whose CUDA_VISIBLE_DEVICES limits us.
        root: Where /dev and /sys are.

    Raises:
        ConfigError: `gpu_count` cannot be had: it asks for more than there is, or for what is not there.
        ProbeError: There is a driver and it does not answer. Guessing then would book GPUs twice.
    """
    pretended = simulated(settings.gpu_count)
    if pretended is not None:
        return pretended
    found = choose(settings.gpu_count, look(settings.cuda_visible_devices_var, probe, environ, root=root))
    idle = [name for name in MEASURED_LIMITS if getattr(settings, name) is not None]
    if idle and not any(device.leased for device in found.devices):
        found.warnings.append(f"{', '.join(idle)}: there is no GPU here to measure, so this limits nothing")
    return found


def look(variable: str, probe: GpuSurveyor, environ: Mapping[str, str], *, root: str = "/") -> Facts:
    """Ask the driver, the kernel and the environment."""
    surveyor = probe
    readings, no_driver = _nvidia(probe)
    source = "nvml"
    if not readings:
        surveyor = AmdProbe(os.path.join(root, "sys"))
        readings = surveyor.read()
        source = "amd" if readings else "logical"
    traits, not_surveyed = _survey(surveyor) if readings else ({}, "")
    names = (variable, *AMD_VARIABLES) if source == "amd" else (variable,)
    set_name = next((name for name in names if name in environ), variable)
    return Facts(
        source=source,
        readings=tuple(readings),
        traits=traits,
        not_surveyed=not_surveyed,
        nodes=() if readings else device_nodes(root),
        hidden=not readings and os.path.exists(os.path.join(root, "dev/kfd")),
        no_driver=no_driver,
        variable=set_name,
        visible=environ.get(set_name),
        pci_order=environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID",
    )


def _nvidia(probe: GpuSurveyor) -> tuple[list[GpuReading], str]:
    try:
        return probe.read(), "the NVIDIA driver lists no GPU"
    except NoDriver as error:
        return [], error.message


def _survey(surveyor: GpuSurveyor) -> tuple[dict[str, GpuTraits], str]:
    """What does not change; what cannot be had is no reason not to use the GPUs."""
    try:
        return surveyor.survey(), ""
    except ProbeError as error:
        return {}, error.message


def device_nodes(root: str) -> tuple[int, ...]:
    """Indices of the GPUs that have device nodes: /dev/nvidiaN, else the AMD ones of /dev/dri."""
    nvidia = nvidia_nodes(root)
    if nvidia:
        return nvidia
    render = [name for name in _names(root, "dev/dri") if _RENDER_NODE.fullmatch(name)]
    return tuple(range(sum(_vendor(root, name) == AMD_VENDOR for name in render)))


def nvidia_nodes(root: str) -> tuple[int, ...]:
    """N of each /dev/nvidiaN, ascending."""
    return tuple(sorted(int(match[1]) for match in map(_NVIDIA_NODE.fullmatch, _names(root, "dev")) if match))


def _names(root: str, directory: str) -> list[str]:
    try:
        return os.listdir(os.path.join(root, directory))
    except OSError:
        return []


def _vendor(root: str, render_node: str) -> str:
    try:
        with open(os.path.join(root, "sys/class/drm", render_node, "device/vendor"), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
