"""Which GPUs a workspace may use: every case a row."""

from __future__ import annotations

import pytest

from researchflow_tmux.adapters.gpu_choice import Facts, choose, simulated
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.resources import GpuReading

A, B, C = "GPU-aaaa1111-0", "GPU-bbbb2222-1", "GPU-bbbb3333-2"


def machine(visible: str | None = None, pci_order: bool = True, names: tuple[str, ...] = ("X", "X", "X")) -> Facts:
    readings = [GpuReading(uuid=uuid, index=i, name=names[i]) for i, uuid in enumerate((A, B, C))]
    return Facts(source="nvml", readings=tuple(readings), visible=visible, pci_order=pci_order)


def split(visible: str | None = None, *, parts: int = 2) -> Facts:
    """GPU 0 is divided, GPU 1 is whole; the MIG devices are 2 and 3."""
    readings = [
        GpuReading(uuid=A, index=0, name="A100", split=True),
        GpuReading(uuid=B, index=1, name="A100"),
        *(
            GpuReading(uuid=f"MIG-{n}{n}{n}", index=1 + n, name="A100 MIG 1g.5gb", total_mib=5000, parent=A)
            for n in range(1, parts + 1)
        ),
    ]
    return Facts(source="nvml", readings=tuple(readings), visible=visible)


def nodes(*indices: int, visible: str | None = None, hidden: bool = False) -> Facts:
    return Facts(source="logical", nodes=indices, visible=visible, hidden=hidden, no_driver="no NVIDIA driver: none")


@pytest.mark.parametrize(
    ("wanted", "facts", "expected"),
    [
        ("auto", machine(), [A, B, C]),
        (" auto ", machine(), [A, B, C]),
        (2, machine(), [A, B]),
        ("2", machine(), [A, B]),
        (0, machine(), []),
        ([2, 0], machine(), [A, C]),
        ("0, 2", machine(), [A, C]),
        ([B], machine(), [B]),
        (["GPU-bbbb2"], machine(), [B]),
        ("GPU-aaaa1111-0", machine(), [A]),
        (["MIG-1", "MIG-2"], machine(), ["MIG-1", "MIG-2"]),
        # what is inherited limits
        ("auto", machine("1,2"), [B, C]),
        ("auto", machine("2,1"), [B, C]),
        (1, machine("2"), [C]),
        ([2], machine("1,2"), [C]),
        ("auto", machine("GPU-bbbb3,0"), [A, C]),
        ("auto", machine(""), []),
        ("auto", machine("-1"), []),
        ("auto", machine("NoDevFiles"), []),
        ("auto", machine("0,7,1"), [A]),
        ("auto", machine("0,GPU-bbbb,1"), [A]),
        ("auto", machine("MIG-1,MIG-2"), ["MIG-1", "MIG-2"]),
        (1, machine("MIG-1,MIG-2"), ["MIG-1"]),
        # a GPU that is divided is used by its parts, which are leased like any other
        ("auto", split(), [B, "MIG-111", "MIG-222"]),
        (["MIG-222"], split(), ["MIG-222"]),
        (["MIG-1", 3], split(), ["MIG-111", "MIG-222"]),
        ([3, 1], split(), [B, "MIG-222"]),
        ("auto", split("MIG-222"), ["MIG-222"]),
        ("auto", split("0"), ["MIG-111", "MIG-222"]),
        ("auto", split("1,0"), [B, "MIG-111", "MIG-222"]),
        ("auto", split("0", parts=0), []),
        # nobody to ask, but device nodes: by number, yet everybody's
        ("auto", nodes(0, 1), ["index-0", "index-1"]),
        (1, nodes(0, 1), ["index-0"]),
        ("auto", nodes(0, 1, visible="1"), ["index-1"]),
        ("auto", nodes(0, 1, visible=""), []),
        (2, nodes(hidden=True), ["index-0", "index-1"]),
        ("auto", nodes(hidden=True, visible="2,3"), ["index-2", "index-3"]),
        # no GPU at all: places for jobs
        ("auto", nodes(), ["slot-0"]),
        (3, nodes(), ["slot-0", "slot-1", "slot-2"]),
        ([4, 1], nodes(), ["slot-1", "slot-4"]),
        ("auto", nodes(visible=""), ["slot-0"]),
        ("auto", nodes(visible="2,3"), ["slot-2", "slot-3"]),
    ],
)
def test_chosen(wanted: int | str | list[int | str], facts: Facts, expected: list[str]) -> None:
    inventory = choose(wanted, facts)
    assert [device.uuid for device in inventory.devices] == expected
    assert inventory.note
    assert inventory.source == facts.source


@pytest.mark.parametrize(
    ("wanted", "facts", "words"),
    [
        (4, machine(), ["gpu_count asks for 4 GPUs, but there are 3"]),
        (3, machine("0,1"), ["gpu_count asks for 3 GPUs, but CUDA_VISIBLE_DEVICES=0,1 allows 2"]),
        (3, nodes(0), ["gpu_count asks for 3 GPUs, but there is 1"]),
        (3, nodes(visible="5"), ["allows 1"]),
        ([0, 5, 6], machine(), ["GPU 5, but the GPUs here are 0, 1, 2", "names GPU 6"]),
        ([0], machine("1"), ["names GPU 0, but CUDA_VISIBLE_DEVICES=1 allows 1"]),
        ([0, A], machine(), [f"names GPU {A} twice"]),
        (["GPU-bbbb"], machine(), ["names GPU GPU-bbbb"]),
        ([A], nodes(), ["there is no driver that knows it (no NVIDIA driver: none)"]),
        (["MIG-9"], machine("MIG-1"), ["allows 3"]),
        ([0], split(), ["names GPU 0, but that is divided into MIG devices, name those: 2, 3"]),
        ([A], split(parts=0), ["divided into MIG devices, and has none"]),
        (["MIG-9"], split(), ["names GPU MIG-9, but the GPUs here are 1, 2, 3"]),
        ("all of them", machine(), ["'all of them' is not understood", "`simulated:N`"]),
    ],
)
def test_refused_naming_every_problem(wanted: int | str | list[int | str], facts: Facts, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(wanted, facts)
    for word in words:
        assert word in str(caught.value)


def test_real_gpus_are_leased_and_places_are_private() -> None:
    assert all(device.leased and device.kind == "nvml" for device in choose("auto", machine()).devices)
    assert all(device.leased for device in choose("auto", nodes(0, 1)).devices)
    assert not any(device.leased for device in choose(2, nodes()).devices)


def test_mig_devices_are_real_ones_with_memory_and_what_cannot_be_used_is_said() -> None:
    device = choose(["MIG-111"], split()).devices[0]
    assert (device.kind, device.leased, device.total_mib, device.name) == ("nvml", True, 5000, "A100 MIG 1g.5gb")
    assert choose("auto", split()).warnings == []
    assert choose("auto", split(parts=0)).warnings == [
        "GPU 0 is in MIG mode and has no MIG device, so nothing can run on it: see `nvidia-smi mig`"
    ]
    old = GpuReading(uuid=f"MIG-{A}/1/0", index=1, name="A100 MIG", parent=A)
    found = choose("auto", Facts(source="nvml", readings=(GpuReading(uuid=A, index=0, name="A100", split=True), old)))
    assert found.devices == []
    assert "this driver is too old" in found.warnings[0]


def test_no_gpu_is_said_in_one_plain_sentence() -> None:
    alone = choose("auto", nodes()).note
    assert alone == "No GPU found: running jobs on 1 logical slot; set gpu_count to run more at a time."
    assert choose(2, nodes()).note == "No GPU found: running jobs on 2 logical slots."


def test_a_lost_gpu_is_kept_if_it_has_a_name_and_left_out_if_not() -> None:
    readings = (
        GpuReading(uuid=A, index=0, name="X", error="GPU is lost"),
        GpuReading(uuid="index-1", index=1, name="unknown GPU", error="GPU is lost"),
        GpuReading(uuid=C, index=2, name="X"),
    )
    inventory = choose("auto", Facts(source="nvml", readings=readings))
    assert [device.uuid for device in inventory.devices] == [A, C]
    assert len(inventory.warnings) == 2
    assert "left out until the next start" in inventory.warnings[1]


def test_words_where_nothing_is_left() -> None:
    lost = GpuReading(uuid="index-0", index=0, name="unknown GPU", error="GPU is lost")
    assert choose("auto", Facts(source="nvml", readings=(lost,))).note == "No GPU here can be read: only CPU jobs run"
    assert choose(0, machine()).note == "gpu_count is 0: only CPU jobs run"
    assert choose("auto", machine("7")).warnings == ["CUDA_VISIBLE_DEVICES=7 names no GPU of this machine"]
    assert choose(1, machine("0,1")).note.endswith("; CUDA_VISIBLE_DEVICES=0,1 and gpu_count leave out 2")


def test_numbers_in_cudas_own_order_are_warned_about_only_where_the_cards_differ() -> None:
    mixed = ("H100", "T4", "T4")
    assert "CUDA_DEVICE_ORDER" in choose("auto", machine("0", pci_order=False, names=mixed)).warnings[0]
    assert not choose("auto", machine("0", pci_order=False)).warnings
    assert not choose("auto", machine("0", names=mixed)).warnings
    assert not choose("auto", machine(A, pci_order=False, names=mixed)).warnings


def test_amd_jobs_are_told_by_a_second_variable() -> None:
    facts = Facts(source="amd", readings=(GpuReading(uuid="GPU-1", index=0, name="AMD GPU"),))
    inventory = choose("auto", facts)
    assert inventory.variables == ("HIP_VISIBLE_DEVICES",)
    assert inventory.devices[0].kind == "amd"


def test_simulated() -> None:
    assert simulated("auto") is None
    assert simulated(2) is None
    two, five = simulated("simulated"), simulated("simulated:5")
    assert two is not None
    assert five is not None
    assert [device.uuid for device in two.devices] == ["simulated-0", "simulated-1"]
    assert len(five.devices) == 5
    assert not any(device.leased for device in five.devices)
    sized = simulated("simulated:12GiB,24GiB")
    assert sized is not None
    assert [device.total_mib for device in sized.devices] == [12_288, 24_576]
    with pytest.raises(ConfigError, match="simulated:4"):
        simulated("simulated:many")
