"""The order of GPUs: each built-in one on the same three GPUs."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.limits import BUILT_IN_ORDERS, RoomRules
from researchflow_tmux.domain.resources import Allocation, GpuReading, ResourceRequest
from researchflow_tmux.policies.gpu_view import GpuView
from researchflow_tmux.policies.placement import place
from tests.unit.engine.samples import device


def views() -> list[GpuView]:
    """GPU 0 is half full and cool, GPU 1 nearly full and idle, GPU 2 empty and hot; of GPU 3 nothing is known."""
    figures = [  # share, MiB in use, % busy on average, now, degrees, watts, processes
        (0.5, 12_000, 60.0, 10, 40, 90.0, 3),
        (0.75, 20_000, None, 5, 55, 50.0, 1),
        (0.0, 2_000, 90.0, 0, 80, 200.0, 2),
    ]
    found = [
        GpuView(
            device=device(index), used=used, measured=True, total_mib=24_000, in_use_mib=mib, util_pct=mean,
            processes=processes,
            reading=GpuReading(
                uuid=f"g{index}", index=index, name="G", util_pct=now, temperature_c=warm, power_w=watts
            ),
        )
        for index, (used, mib, mean, now, warm, watts, processes) in enumerate(figures)
    ]  # fmt: skip
    return [*found, GpuView(device=device(3), used=0.25)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("spread", [2, 3, 0, 1]),
        ("pack", [1, 0, 3, 2]),
        ("lowest_index", [0, 1, 2, 3]),
        ("highest_index", [3, 2, 1, 0]),
        ("most_free_memory", [2, 0, 1, 3]),
        ("least_utilised", [1, 0, 2, 3]),
        ("coolest", [0, 1, 2, 3]),
        ("least_power", [1, 0, 2, 3]),
        ("fewest_processes", [1, 2, 0, 3]),
        ("mine:best", [2, 3, 0, 1]),
    ],
)
def test_order(order: str, expected: list[int]) -> None:
    left, found = views(), []
    while left:
        given = place(ResourceRequest(), left, 0.1, "new", RoomRules(order=order))
        assert isinstance(given, Allocation)
        found.append(given.indices[0])
        left = [view for view in left if view.device.index != given.indices[0]]
    assert found == expected


def test_every_built_in_order_has_a_row() -> None:
    (parameters,) = test_order.pytestmark  # type: ignore[attr-defined]
    rows = {order for order, _ in parameters.args[1]}
    assert rows == {*BUILT_IN_ORDERS, "mine:best"}


@pytest.mark.parametrize("order", ["most_free_memory", "least_utilised", "coolest", "least_power", "fewest_processes"])
def test_one_decision_does_not_pile_its_starts_on_what_no_measurement_shows_yet(order: str) -> None:
    gpus = views()[:3]
    for view in gpus:
        view.used = 0.0
    where = [place(ResourceRequest(), gpus, 0.1, "new", RoomRules(order=order)) for _ in range(3)]
    assert sorted(one.indices for one in where if isinstance(one, Allocation)) == [(0,), (1,), (2,)]


def test_the_ranks_of_the_users_comparison_come_first() -> None:
    gpus = views()
    for view, rank in zip(gpus, (2, 0, 1, None), strict=True):
        view.rank = rank
    given = place(ResourceRequest(gpus=3), gpus, 0.1, "new", RoomRules(order="mine:best"))
    assert isinstance(given, Allocation)
    assert given.indices == (0, 1, 2)
    given = place(ResourceRequest(), gpus, 0.1, "new", RoomRules(order="mine:best"))
    assert isinstance(given, Allocation)
    assert given.indices == (1,)
