"""Which GPUs a job that minds their kind gets, and the words when it gets none: a machine of A100, H100 and T4."""

from __future__ import annotations

from typing import Any

import pytest

from researchflow_tmux.domain.hardware import hardware
from researchflow_tmux.domain.limits import RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import Allocation, ResourceRequest
from researchflow_tmux.domain.simulated_gpus import simulated_gpus
from researchflow_tmux.policies.gpu_view import GpuView
from researchflow_tmux.policies.placement import place
from researchflow_tmux.policies.topology import Links

MACHINE = "2xA100,2xA100,H100,2xT4"
"""0 and 1, 2 and 3 are linked."""


class Bench:
    """The GPUs during one decision, some of them taken."""

    def __init__(self, *taken: int, kinds: str = MACHINE, wanted: dict[int, float] | None = None) -> None:
        devices = simulated_gpus(kinds)
        self.links = Links(devices)
        self.views = [GpuView(device=device, total_mib=device.total_mib) for device in devices]
        for index in taken:
            self.views[index].take(1.0, f"job{index}")
        for index, degree in (wanted or {}).items():
            self.views[index].wanted = (degree, 0.0)

    def ask(self, gpus: int = 1, *, order: str = "spread", pinned: tuple[int, ...] = (), **said: Any) -> object:
        request = ResourceRequest(gpus=gpus, pinned=pinned, hardware=hardware(**said))
        found = place(request, self.views, 1.0, "new", RoomRules(order=order), self.links)
        return found.indices if isinstance(found, Allocation) else found


def words(found: object) -> str:
    assert isinstance(found, Reason)
    return str(found)


@pytest.mark.parametrize(
    ("bench", "asked", "indices"),
    [
        # the kind, and the preference among alternatives
        (Bench(), {"gpu_type": "H100"}, (4,)),
        (Bench(), {"gpu_type": "h100|a100"}, (4,)),
        (Bench(4), {"gpu_type": "H100|A100"}, (0,)),
        (Bench(), {"gpu_type": "T4|*"}, (5,)),
        (Bench(5, 6), {"gpu_type": "T4|*"}, (4,)),  # the one that nothing is linked to
        (Bench(), {"compute_capability": "9.0"}, (4,)),
        (Bench(), {"min_gpu_memory": "80GiB", "order": "highest_index"}, (4,)),
        # what is wanted least comes first, within what is preferred
        (Bench(wanted={0: 2, 1: 2, 2: 2, 3: 2, 4: 1}), {}, (5,)),
        (Bench(5, 6, wanted={0: 2, 1: 2, 2: 2, 3: 2, 4: 1}), {}, (4,)),
        (Bench(wanted={4: 9}), {"gpu_type": "H100|T4"}, (4,)),
        # one GPU leaves pairs whole
        (Bench(0), {"gpu_type": "A100"}, (1,)),
        # several: linked ones, all of one type if possible
        (Bench(0), {"gpus": 2, "gpu_type": "A100"}, (2, 3)),
        (Bench(0, 2), {"gpus": 2, "gpu_type": "A100"}, (1, 3)),  # a wish does not wait
        (Bench(), {"gpus": 2, "gpu_type": "T4|A100"}, (5, 6)),
        (Bench(5), {"gpus": 2, "gpu_type": "T4|A100"}, (0, 1)),  # rather two A100 than a mixture
        (Bench(1, 3, 5), {"gpus": 2, "gpu_type": "T4|A100"}, (0, 2)),
        (Bench(1, 3, 4, 5), {"gpus": 3}, (0, 2, 6)),  # there is no choice
        (Bench(), {"gpus": 2, "gpu_type": "T4|A100", "topology": "nvlink"}, (0, 1)),
        (Bench(0, 2), {"gpus": 2, "gpu_type": "T4|A100", "topology": "nvlink"}, (5, 6)),
        (Bench(), {"gpus": 2, "topology": "nvlink!"}, (0, 1)),
        (Bench(1), {"gpus": 2, "topology": "nvlink!"}, (2, 3)),
        (Bench(0, 1, 2), {"gpus": 2, "topology": "same_numa!"}, (5, 6)),
        (Bench(), {"gpus": 1, "topology": "nvlink!"}, (4,)),  # of one GPU nothing is connected
        # pins
        (Bench(), {"gpus": 2, "pinned": (3,), "topology": "nvlink!"}, (2, 3)),
        (Bench(), {"gpus": 2, "pinned": (3,), "gpu_type": "A100"}, (0, 3)),
        # an order of the user's
        (Bench(), {"gpus": 2, "order": "mine:order"}, (0, 1)),
        (Bench(0), {"gpus": 2, "order": "mine:order"}, (1, 2)),
        (Bench(0), {"gpus": 2, "order": "mine:order", "topology": "nvlink"}, (2, 3)),
    ],
)
def test_which_gpus_a_job_gets(bench: Bench, asked: dict[str, Any], indices: tuple[int, ...]) -> None:
    assert bench.ask(**asked) == indices


@pytest.mark.parametrize(
    ("taken", "asked", "text"),
    [
        ((4,), {"gpu_type": "H100"}, "no fitting GPU is free: needs 1 GPU (H100); GPU 4: job4"),
        (
            (0, 1, 2, 4),
            {"gpus": 2, "gpu_type": "A100|H100"},
            "no fitting GPU is free: needs 2 GPUs (A100 or H100); GPU 0: job0; GPU 1: job1; GPU 2: job2; GPU 4: job4",
        ),
        (
            (0, 2),
            {"gpus": 2, "topology": "nvlink!"},
            "no fitting GPU is free: needs 2 GPUs (connected by nvlink); GPU 0: job0; GPU 2: job2",
        ),
        ((0, 1, 2, 3, 4, 5, 6), {"gpu_type": "*"}, "all slots are taken: GPU 0: job0; "),
    ],
)
def test_who_has_the_gpus_is_told(taken: tuple[int, ...], asked: dict[str, Any], text: str) -> None:
    assert words(Bench(*taken).ask(**asked)).startswith(text)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"gpu_type": "V100"}, "it needs 1 GPU (V100); this machine has 4 × A100 (80 GiB, 8.0)"),
        ({"gpus": 8, "gpu_type": "A100"}, "it needs 8 GPUs (A100); this machine has"),
        ({"gpus": 5, "gpu_type": "A100"}, "1 × H100 (80 GiB, 9.0), 2 × T4 (16 GiB, 7.5)"),
        ({"min_gpu_memory": "100GiB"}, "it needs 1 GPU (at least 100 GiB); this machine has"),
        ({"gpus": 3, "topology": "nvlink!"}, "it needs 3 GPUs (connected by nvlink); here at most 2 are"),
        ({"gpus": 2, "gpu_type": "T4", "topology": "nvlink!"}, "here no two are"),
        ({"pinned": (5,), "gpu_type": "A100"}, "it is pinned to GPU 5 (T4) and needs A100"),
        ({"gpus": 2, "pinned": (5,), "gpu_type": "A100"}, "it is pinned to GPU 5 (T4) and needs A100"),
    ],
)
def test_what_can_never_be_had_is_told_with_what_there_is(asked: dict[str, Any], text: str) -> None:
    found = Bench(0, 1, 2, 3, 4, 5, 6).ask(**asked)
    assert isinstance(found, Reason)
    assert found.code is ReasonCode.IMPOSSIBLE
    assert text in found.text


def test_where_links_are_not_known_no_connection_can_be_required() -> None:
    bench = Bench(kinds="4")
    assert "how the GPUs here are connected is not known" in words(bench.ask(gpus=2, topology="same_numa!"))
    assert bench.ask(gpus=2, topology="same_numa") == (0, 1)


def test_a_wide_choosy_job_keeps_gpus_of_its_kind_and_of_one_group_only() -> None:
    bench = Bench(1, 2, 3)
    bench.ask(gpus=2, topology="nvlink!")
    assert [view.device.index for view in bench.views if view.reserved_for] == [0, 1]
    bench = Bench(5)
    bench.ask(gpus=2, gpu_type="T4")
    assert [view.device.index for view in bench.views if view.reserved_for] == [5, 6]


def test_a_drained_gpu_of_the_kind_is_told_as_such() -> None:
    bench = Bench()
    bench.views[4].blocked = Reason(code=ReasonCode.DRAINED, text="GPU 4 (by ann)")
    assert words(bench.ask(gpu_type="H100")) == ("no fitting GPU is free: needs 1 GPU (H100); drained: GPU 4 (by ann)")
