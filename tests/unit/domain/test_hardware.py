"""How people write what kind of GPU they need."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.hardware import (
    NO_HARDWARE,
    GpuLink,
    Hardware,
    hardware,
    parse_capability,
    parse_memory,
    parse_topology,
    parse_types,
)


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("A100", ("A100",)),
        (" A100 | h100|A100 ", ("A100", "h100")),
        ("rtx 4090|RTX*", ("rtx 4090", "RTX*")),
        ("any", ()),
        ("ANY", ()),
        ("*", ("*",)),
    ],
)
def test_types_are_alternatives_in_the_order_of_preference(text: str, types: tuple[str, ...]) -> None:
    assert parse_types(text) == types


@pytest.mark.parametrize("text", ["", "A100|", "|", "A100,H100", "a/b", "-", "x" * 81])
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected types such as"):
        parse_types(text)


@pytest.mark.parametrize(
    ("text", "least"),
    [("8.0", (8, 0)), (">=8.6", (8, 6)), (">= 9", (9, 0)), (8.9, (8, 9)), (12, (12, 0)), ("any", None)],
)
def test_a_compute_capability_is_the_least_one(text: str | float, least: tuple[int, int] | None) -> None:
    assert parse_capability(text) == least


@pytest.mark.parametrize("text", ["", "sm_80", "8.0.1", "<8.0", True, "8.10"])
def test_what_is_no_capability_is_refused(text: str | bool) -> None:
    with pytest.raises(ValueError, match="least compute capability"):
        parse_capability(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("nvlink", ("nvlink", False)),
        ("NVLink!", ("nvlink", True)),
        ("same-switch", ("same_switch", False)),
        ("same_numa!", ("same_numa", True)),
        ("any", (None, False)),
    ],
)
def test_a_topology_is_a_wish_and_with_a_mark_a_condition(text: str, meant: tuple[str | None, bool]) -> None:
    assert parse_topology(text) == meant


@pytest.mark.parametrize("text", ["", "!", "any!", "pcie", "nvlink!!"])
def test_what_is_no_topology_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="`nvlink`, `same_switch`"):
        parse_topology(text)


def test_memory_is_rounded_up_and_0_takes_a_default_back() -> None:
    assert (parse_memory("40GiB"), parse_memory(1000.5), parse_memory("0")) == (40_960, 1001, None)
    assert parse_memory("80GB") == 76_294  # as it is said on the box: a card with 79.6 GiB has that


def test_nothing_said_is_no_hardware() -> None:
    assert (
        hardware()
        == hardware(gpu_type="any", min_gpu_memory=0, compute_capability="any", topology="any")
        == NO_HARDWARE
    )
    assert not NO_HARDWARE.choosy
    assert str(NO_HARDWARE) == ""


def test_what_is_asked_for_is_told_in_words() -> None:
    asked = hardware(gpu_type="A100|H100", min_gpu_memory="40GiB", compute_capability="8", topology="nvlink!")
    assert str(asked) == "A100 or H100, at least 40 GiB, compute capability 8.0, connected by nvlink"
    assert str(hardware(topology="same_numa")) == "connected by same_numa if possible"
    assert (asked.least_closeness, hardware(topology="nvlink").least_closeness) == (3, 0)
    assert asked == Hardware(
        types=("A100", "H100"), min_memory_mib=40_960, min_capability=(8, 0), topology="nvlink", connected=True
    )


@pytest.mark.parametrize(
    ("link", "closeness", "words"),
    [
        (GpuLink("b", "SYS", 4), 3, "NV4"),
        (GpuLink("b", "XGMI"), 3, "XGMI"),
        (GpuLink("b", "PIX"), 2, "PIX"),
        (GpuLink("b", "PXB"), 2, "PXB"),
        (GpuLink("b", "PHB"), 1, "PHB"),
        (GpuLink("b", "NODE"), 1, "NODE"),
        (GpuLink("b", "SYS"), 0, "SYS"),
        (GpuLink("b", "?"), 0, "?"),
    ],
)
def test_how_close_two_gpus_are(link: GpuLink, closeness: int, words: str) -> None:
    assert (link.closeness, str(link)) == (closeness, words)
