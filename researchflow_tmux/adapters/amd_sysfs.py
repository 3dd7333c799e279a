"""AMD GPUs, read from sysfs: no library, no child; the kernel's files do not hang."""

from __future__ import annotations

import os
import re

from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.hardware import GpuLink, GpuTraits
from researchflow_tmux.domain.resources import GpuReading

AMD_VENDOR = "0x1002"
MIB = 1024 * 1024
_HIVE = "xgmi_hive_info/xgmi_hive_id"
_CARD = re.compile(r"card\d+")


class AmdProbe:
    """A GpuProbe over /sys/class/drm: the cards with memory of their own, ascending by PCI address.

    Processes are not read: which of them uses a card is known only by the ROCm libraries.
    """

    def __init__(self, sysfs: str = "/sys") -> None:
        self._drm = os.path.join(sysfs, "class", "drm")

    def read(self) -> list[GpuReading]:
        """One reading per card; none there = an empty list."""
        return [_reading(index, device) for index, device in enumerate(self._cards())]

    def survey(self) -> dict[str, GpuTraits]:
        """How the cards are connected: by XGMI (they are in one hive), or to one NUMA node. Nothing else is told."""
        places = {_uuid(device): (_text(device, _HIVE), _number(device, "numa_node")) for device in self._cards()}
        return {
            uuid: GpuTraits(
                links=tuple(
                    GpuLink(other, way)
                    for other, there in places.items()
                    if other != uuid and (way := _way(here, there)) is not None
                )
            )
            for uuid, here in places.items()
        }

    def _cards(self) -> list[str]:
        """Their directories, ascending by PCI address."""
        try:
            names = [name for name in os.listdir(self._drm) if _CARD.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ProbeError(f"the graphics cards cannot be listed: {self._drm}: {error.strerror}") from error
        devices = [os.path.realpath(os.path.join(self._drm, name, "device")) for name in names]
        cards = [device for device in devices if _is_amd_gpu(device)]
        return sorted(cards, key=os.path.basename)


def _is_amd_gpu(device: str) -> bool:
    return _text(device, "vendor") == AMD_VENDOR and os.path.exists(os.path.join(device, "mem_info_vram_total"))


def _uuid(device: str) -> str:
    """The form in which HIP names a card; a card without a serial number is known by its place."""
    serial = _text(device, "unique_id")
    return f"GPU-{serial.removeprefix('0x')}" if serial else f"amd-{os.path.basename(device)}"


def _way(one: tuple[str | None, int | None], two: tuple[str | None, int | None]) -> str | None:
    """Between cards of these hives and NUMA nodes; None = not known."""
    if one[0] not in (None, "0") and one[0] == two[0]:
        return "XGMI"
    if one[1] is None or two[1] is None:
        return None
    return "NODE" if one[1] == two[1] else "SYS"


def _reading(index: int, device: str) -> GpuReading:
    uuid = _uuid(device)
    name = _text(device, "product_name") or "AMD GPU"
    total, used = _number(device, "mem_info_vram_total"), _number(device, "mem_info_vram_used")
    if total is None and used is None:
        return GpuReading(uuid=uuid, index=index, name=name, error="the kernel driver does not tell its memory")
    return GpuReading(
        uuid=uuid,
        index=index,
        name=name,
        total_mib=None if total is None else total // MIB,
        used_mib=None if used is None else -(-used // MIB),
        util_pct=_number(device, "gpu_busy_percent"),
    )


def _text(device: str, name: str) -> str | None:
    """The file's content; None if it is not there or the card (asleep, resetting) refuses."""
    try:
        with open(os.path.join(device, name), encoding="ascii", errors="replace") as file:
            return file.read().strip() or None
    except OSError:
        return None


def _number(device: str, name: str) -> int | None:
    text = _text(device, name)
    return int(text) if text is not None and text.isdigit() else None
