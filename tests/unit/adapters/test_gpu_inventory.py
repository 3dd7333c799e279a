"""What is found on a machine, from made-up /dev and /sys trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from researchflow_tmux.adapters.amd_sysfs import AmdProbe
from researchflow_tmux.adapters.gpu_inventory import inventory
from researchflow_tmux.adapters.nvml import NoDriver
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.hardware import GpuLink, GpuTraits
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.domain.workspace import Settings

GIB = 1024**3
SETTINGS = Settings(task_name="t")


class Answers:
    """A probe that always says the same."""

    def __init__(
        self, answer: list[GpuReading] | ProbeError, traits: dict[str, GpuTraits] | ProbeError | None = None
    ) -> None:
        self.answer = answer
        self.traits = traits or {}

    def read(self) -> list[GpuReading]:
        if isinstance(self.answer, ProbeError):
            raise self.answer
        return self.answer

    def survey(self) -> dict[str, GpuTraits]:
        if isinstance(self.traits, ProbeError):
            raise self.traits
        return self.traits


NOBODY = Answers(NoDriver("no NVIDIA driver: NVML Shared Library Not Found"))
ONE = Answers([GpuReading(uuid="GPU-a", index=0, name="NVIDIA X")])


def amd_card(root: Path, number: int, address: str, **files: str) -> None:
    device = root / "sys/devices" / address
    device.mkdir(parents=True)
    defaults = {"vendor": "0x1002", "mem_info_vram_total": str(16 * GIB), "mem_info_vram_used": str(GIB + 1)}
    for name, content in {**defaults, "gpu_busy_percent": "7", "unique_id": f"{number:016x}", **files}.items():
        if content:
            (device / name).write_text(content + "\n")
    for entry in (f"card{number}", f"renderD{128 + number}"):
        place = root / "sys/class/drm" / entry
        place.mkdir(parents=True)
        (place / "device").symlink_to(device)
    (root / "dev/dri").mkdir(parents=True, exist_ok=True)
    (root / "dev/dri" / f"renderD{128 + number}").touch()
    (root / "sys/class/drm" / f"card{number}-DP-1").mkdir()


def test_the_driver_is_believed(tmp_path: Path) -> None:
    found = inventory(SETTINGS, ONE, {}, root=str(tmp_path))
    assert [(d.uuid, d.kind, d.leased) for d in found.devices] == [("GPU-a", "nvml", True)]
    assert found.note == "1 GPU: 0 (NVIDIA X)"


def test_simulated_asks_nobody(tmp_path: Path) -> None:
    settings = Settings(task_name="t", gpu_count="simulated:3")
    found = inventory(settings, Answers(ProbeError("asked")), {}, root=str(tmp_path))
    assert found.source == "simulated"
    assert len(found.devices) == 3


def test_a_driver_that_does_not_answer_is_not_guessed_around(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="hangs"):
        inventory(SETTINGS, Answers(ProbeError("hangs")), {}, root=str(tmp_path))


def test_the_variable_of_the_settings_is_the_one_that_limits(tmp_path: Path) -> None:
    settings = Settings(task_name="t", cuda_visible_devices_var="MY_GPUS")
    environ = {"MY_GPUS": "", "CUDA_VISIBLE_DEVICES": "0"}
    found = inventory(settings, ONE, environ, root=str(tmp_path))
    assert found.devices == []
    assert "MY_GPUS= allows no GPU" in found.note


def test_nvidia_nodes_without_a_driver(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    found = inventory(SETTINGS, NOBODY, {}, root=str(tmp_path))
    assert [(d.uuid, d.index, d.leased) for d in found.devices] == [("index-2", 2, True), ("index-10", 10, True)]
    assert "NVML Shared Library Not Found" in found.note


def test_kfd_alone_cannot_be_counted_but_is_everybodys(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    found = inventory(SETTINGS, NOBODY, {}, root=str(tmp_path))
    assert [(d.uuid, d.leased) for d in found.devices] == [("index-0", True)]


def test_amd_cards_by_pci_address(tmp_path: Path) -> None:
    amd_card(tmp_path, 2, "0000:03:00.0")
    amd_card(tmp_path, 1, "0000:83:00.0", unique_id="", gpu_busy_percent="")
    amd_card(tmp_path, 0, "0000:00:02.0", vendor="0x8086")
    first, second = AmdProbe(str(tmp_path / "sys")).read()
    assert (first.uuid, first.index, first.total_mib, first.used_mib) == ("GPU-0000000000000002", 0, 16_384, 1025)
    assert (first.util_pct, first.processes, first.temperature_c) == (7, None, None)
    assert (second.uuid, second.index, second.util_pct) == ("amd-0000:83:00.0", 1, None)
    found = inventory(SETTINGS, NOBODY, {"HIP_VISIBLE_DEVICES": "1"}, root=str(tmp_path))
    assert [(d.uuid, d.kind) for d in found.devices] == [("amd-0000:83:00.0", "amd")]
    assert found.variables == ("HIP_VISIBLE_DEVICES",)


def test_an_amd_card_that_does_not_tell_its_memory_is_unreadable(tmp_path: Path) -> None:
    amd_card(tmp_path, 0, "0000:03:00.0", mem_info_vram_total="?", mem_info_vram_used="")
    (reading,) = AmdProbe(str(tmp_path / "sys")).read()
    assert reading.error is not None
    assert reading.total_mib is None


def test_no_gpu_at_all(tmp_path: Path) -> None:
    found = inventory(SETTINGS, NOBODY, {}, root=str(tmp_path))
    assert found.note.startswith("No GPU found")
    assert [(d.uuid, d.leased) for d in found.devices] == [("slot-0", False)]


def test_thresholds_where_there_is_nothing_to_measure_are_told_to_limit_nothing(tmp_path: Path) -> None:
    careful = Settings(task_name="t", max_util=80.0, min_free_memory="1GiB")
    alone = inventory(careful, NOBODY, {}, root=str(tmp_path))
    assert alone.warnings == ["max_util, min_free_memory: there is no GPU here to measure, so this limits nothing"]
    assert inventory(careful, ONE, {}, root=str(tmp_path)).warnings == []
    assert inventory(SETTINGS, NOBODY, {}, root=str(tmp_path)).warnings == []


def test_what_does_not_change_of_a_gpu_is_part_of_the_device(tmp_path: Path) -> None:
    links = (GpuLink("GPU-b", "PIX", 4),)
    knows = Answers(
        [GpuReading(uuid="GPU-a", index=0, name="NVIDIA X"), GpuReading(uuid="GPU-b", index=1, name="NVIDIA Y")],
        {"GPU-a": GpuTraits(capability=(8, 0), links=links)},
    )
    first, second = inventory(SETTINGS, knows, {}, root=str(tmp_path)).devices
    assert (first.capability, first.links) == ((8, 0), links)
    assert (second.capability, second.links) == (None, ())


def test_gpus_that_cannot_be_surveyed_are_used_and_it_is_said(tmp_path: Path) -> None:
    shy = Answers([GpuReading(uuid="GPU-a", index=0, name="NVIDIA X")], ProbeError("it hangs"))
    found = inventory(SETTINGS, shy, {}, root=str(tmp_path))
    assert [device.uuid for device in found.devices] == ["GPU-a"]
    assert "links of the GPUs are not known (it hangs)" in found.warnings[0]


def test_amd_cards_of_one_hive_are_linked_and_others_are_near_by_numa_node(tmp_path: Path) -> None:
    for number, node in enumerate(("0", "0", "0", "1", "-1")):
        amd_card(tmp_path, number, f"0000:0{number}:00.0", numa_node=node)
    for number, hive in ((0, "77"), (1, "77"), (2, "0")):
        directory = tmp_path / f"sys/devices/0000:0{number}:00.0/xgmi_hive_info"
        directory.mkdir()
        (directory / "xgmi_hive_id").write_text(hive)
    found = inventory(SETTINGS, NOBODY, {}, root=str(tmp_path)).devices
    ways = {(one.index, two.index): "" for one in found for two in found if one is not two}
    indices = {device.uuid: device.index for device in found}
    ways |= {(one.index, indices[link.uuid]): str(link) for one in found for link in one.links}
    assert (ways[0, 1], ways[0, 2], ways[2, 0], ways[0, 3], ways[0, 4]) == ("XGMI", "NODE", "NODE", "SYS", "")
    assert all(device.capability is None for device in found)
