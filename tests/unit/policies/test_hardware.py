"""Which GPU is of which kind."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.hardware import Hardware, hardware
from researchflow_tmux.domain.resources import GpuDevice
from researchflow_tmux.policies.hardware import fits, fitting, kinds, lacking, named, rank

A100 = "NVIDIA A100-SXM4-80GB"
SLICE = "NVIDIA A100-SXM4-80GB MIG 1g.10gb"


def gpu(
    name: str = A100, total_mib: int | None = 81_920, capability: tuple[int, int] | None = (8, 0), index: int = 0
) -> GpuDevice:
    return GpuDevice(
        uuid=f"g{index}", index=index, name=name, kind="simulated", total_mib=total_mib, capability=capability
    )


@pytest.mark.parametrize(
    ("wanted", "name", "yes"),
    [
        ("A100", A100, True),
        ("a100", A100, True),
        ("A100-SXM4", A100, True),
        ("a100_sxm4_80gb", A100, True),
        ("SXM4", A100, True),
        ("A100*", A100, True),
        ("A?00", A100, True),
        ("[AH]100", A100, True),
        ("[a-h]100", A100, True),
        ("A10", A100, False),
        ("100", A100, False),
        ("H100", A100, False),
        ("A100-PCIE", A100, False),
        ("rtx4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX*", "NVIDIA GeForce RTX 4090", True),
        ("4090", "NVIDIA GeForce RTX 4090 D", True),
        ("A6000", "NVIDIA RTX 6000 Ada Generation", False),
        ("T4", "Tesla T4", True),
        ("V100", "Tesla V100-SXM2-32GB", True),
        ("MI250X", "AMD Instinct MI250X", True),
        # a part of a GPU is not the GPU
        ("A100", SLICE, False),
        ("A100*", SLICE, False),
        ("MIG", SLICE, True),
        ("1g.10gb", SLICE, True),
        ("*g.10gb", SLICE, True),
        ("A100*MIG*", SLICE, True),
        ("2g.20gb", SLICE, False),
        ("*", SLICE, True),
        ("*", "", False),
    ],
)
def test_a_type_is_found_in_whole_words_of_the_name(wanted: str, name: str, yes: bool) -> None:
    assert named(wanted, name) is yes


@pytest.mark.parametrize(
    ("asked", "device", "yes"),
    [
        (Hardware(), gpu(), True),
        (hardware(gpu_type="H100|A100"), gpu(), True),
        (hardware(gpu_type="H100|V100"), gpu(), False),
        (hardware(min_gpu_memory="80GiB"), gpu(), True),
        (hardware(min_gpu_memory="80GiB"), gpu(total_mib=81_559), False),
        (hardware(min_gpu_memory="80GB"), gpu(total_mib=81_559), True),
        (hardware(compute_capability="8.0"), gpu(), True),
        (hardware(compute_capability="8.6"), gpu(), False),
        (hardware(compute_capability="8.6"), gpu(capability=(10, 0)), True),
        (hardware(topology="nvlink!"), gpu(), True),  # that is about several
        (hardware(gpu_type="A100", compute_capability="9"), gpu(), False),
        # what is not known is not enough
        (hardware(min_gpu_memory="1GiB"), gpu(total_mib=None), False),
        (hardware(compute_capability="3.0"), gpu(capability=None), False),
        (hardware(gpu_type="A100"), gpu(name="logical slot"), False),
    ],
)
def test_which_gpus_are_good_enough(asked: Hardware, device: GpuDevice, yes: bool) -> None:
    assert fits(device, asked) is yes
    assert fitting([device], asked) == ({device.uuid} if yes else frozenset())


def test_the_order_of_the_alternatives_is_a_preference() -> None:
    asked = hardware(gpu_type="H100|A100")
    assert [rank(gpu(name), asked) for name in ("NVIDIA H100 PCIe", A100)] == [0, 1]
    assert rank(gpu(), Hardware()) == 0


def test_what_there_is_is_told_by_kind() -> None:
    v100 = [gpu("Tesla V100-SXM2-32GB", 32_768, (7, 0), index) for index in range(3)]
    assert kinds([*v100, gpu("Tesla T4", 15_360, (7, 5), 3)]) == (
        "3 × V100-SXM2-32GB (32 GiB, 7.0), 1 × T4 (15 GiB, 7.5)"
    )
    assert kinds([gpu("NVIDIA GeForce RTX 4090", None, None)]) == "1 × RTX 4090"
    assert kinds([]) == "no GPU"


def test_why_too_few_are_good_enough_is_told_with_what_there_is_and_what_is_not_known() -> None:
    assert lacking([gpu()], hardware(gpu_type="H100"), 2) == (
        "it needs 2 GPUs (H100); this machine has 1 × A100-SXM4-80GB (80 GiB, 8.0)"
    )
    shy = gpu("AMD Instinct MI210", None, None)
    assert lacking([shy], hardware(compute_capability="8", min_gpu_memory="8GiB"), 1).endswith(
        "(memory and compute capability are not known, which counts as not enough)"
    )
    assert lacking([shy], hardware(compute_capability="8"), 1).endswith(
        "(compute capability is not known, which counts as not enough)"
    )
