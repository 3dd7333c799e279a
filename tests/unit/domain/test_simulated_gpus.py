"""GPUs that do not exist, as people describe them."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.simulated_gpus import simulated_gpus


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2", [("Simulated GPU", 24, None)] * 2),
        ("12GiB,24GiB", [("Simulated GPU", 12, None), ("Simulated GPU", 24, None)]),
        ("2x12GiB", [("Simulated GPU", 12, None)] * 2),
        ("2xA100,T4", [("Simulated A100", 80, (8, 0))] * 2 + [("Simulated T4", 16, (7, 5))]),
        ("1 x A100:40GiB, h100", [("Simulated A100", 40, (8, 0)), ("Simulated h100", 80, (9, 0))]),
        ("rtx 4090", [("Simulated rtx 4090", 24, (8, 9))]),
        ("MI250X", [("Simulated MI250X", 24, None)]),
    ],
)
def test_numbers_sizes_and_types(text: str, found: list[tuple[str, int, tuple[int, int] | None]]) -> None:
    made = simulated_gpus(text)
    assert [(gpu.name, gpu.total_mib, gpu.capability) for gpu in made] == [
        (name, gib * 1024, capability) for name, gib, capability in found
    ]
    assert [gpu.index for gpu in made] == list(range(len(made)))
    assert all(gpu.uuid == f"simulated-{gpu.index}" and gpu.kind == "simulated" for gpu in made)


def test_those_of_one_item_are_connected_as_is_usual_for_them() -> None:
    made = simulated_gpus("2xA100,2xA100,2xT4")
    ways = [{int(link.uuid[-1]): str(link) for link in gpu.links} for gpu in made]
    assert ways == [{1: "NV12"}, {0: "NV12"}, {3: "NV12"}, {2: "NV12"}, {5: "NODE"}, {4: "NODE"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a number"),
        ("0", "expected a number"),
        ("many", "'many' is no type of GPU"),
        ("A100,", "expected a number"),
        ("A100:big", "'big' is no size"),
        ("A100:80GiB:2", "expected a number"),
        ("2,A100", "expected a number"),
        ("0xA100", "at least one"),
        ("3000xA100,3000xT4", "at most 4096"),
    ],
)
def test_what_describes_no_gpus_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        simulated_gpus(text)
