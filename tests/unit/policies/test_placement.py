"""Which GPUs a job gets: every case a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import SHARE_TOLERANCE, Allocation, ResourceRequest
from researchflow_tmux.policies.placement import GpuView, place
from tests.unit.engine.samples import device

FILLED = Reason(code=ReasonCode.FOREIGN, text="GPU filled")


def views(*used: float, **more: dict[int, object]) -> list[GpuView]:
    """GPUs 0, 1, … with that much in use by jobs of ours; `others`, `blocked`, `reserved_for` by index."""
    found = [GpuView(device=device(index)) for index in range(len(used))]
    for view, share in zip(found, used, strict=True):
        if share:
            view.take(share, f"job{view.device.index}")
    for field, values in more.items():
        for index, value in values.items():
            setattr(found[index], field, value)
            if field == "others":
                found[index].other_holders.append("bob")
    return found


def request(gpus: int = 1, *pinned: int) -> ResourceRequest:
    return ResourceRequest(gpus=gpus, pinned=pinned)


@pytest.mark.parametrize(
    ("gpus", "wanted", "share", "expected"),
    [
        (views(0, 0), request(), 1.0, (0,)),
        (views(1, 0), request(), 1.0, (1,)),
        # spreads: the least loaded first, then the lowest index
        (views(0.5, 0.25, 0.5), request(), 0.25, (1,)),
        (views(0.25, 0.25), request(), 0.25, (0,)),
        (views(0, 0, others={0: 0.5}), request(), 0.5, (1,)),
        # pins
        (views(0, 0.5), request(1, 1), 0.5, (1,)),
        (views(0, 0, 0), request(2, 2), 1.0, (0, 2)),
        (views(0, 0, 0), request(1, 2, 1), 1.0, (1,)),
        (views(0, 1, 0), request(1, 1, 2), 1.0, (2,)),
        # pins by UUID, of which a beginning is enough
        (views(0, 0), ResourceRequest(pinned=("g1",)), 1.0, (1,)),
        (views(0, 0, 0), ResourceRequest(gpus=2, pinned=("g2",)), 1.0, (0, 2)),
        # several: ascending indices, the emptiest ones
        (views(0, 0, 0), request(2), 1.0, (0, 1)),
        (views(0.5, 0, 0), request(2), 0.5, (1, 2)),
        (views(1, 0, 0), request(2), 1.0, (1, 2)),
        # unlimited: a share of 0 always fits, fewest jobs first
        (views(0, 0), request(), 0.0, (0,)),
        # three thirds are one GPU
        (views(2 / 3), request(), 1 / 3, (0,)),
        (views(1 / 3 + 1 / 3), request(), 1 / 3, (0,)),
        # what is blocked or kept is passed over
        (views(0, 0, blocked={0: FILLED}), request(), 1.0, (1,)),
        (views(0, 0, reserved_for={0: "wide"}), request(), 1.0, (1,)),
    ],
)
def test_placed(gpus: list[GpuView], wanted: ResourceRequest, share: float, expected: tuple[int, ...]) -> None:
    found = place(wanted, gpus, share, "new")
    assert isinstance(found, Allocation), found
    assert found.indices == expected
    assert all("new" in view.jobs for view in gpus if view.device.index in expected), "it is booked"


@pytest.mark.parametrize(
    ("gpus", "wanted", "share", "code", "text"),
    [
        (views(), request(), 1.0, ReasonCode.IMPOSSIBLE, "it needs 1 GPU; this workspace has none"),
        (views(0), request(2), 1.0, ReasonCode.IMPOSSIBLE, "it needs 2 GPUs; this workspace has GPU 0"),
        (views(0, 0), request(1, 7), 1.0, ReasonCode.IMPOSSIBLE, "it is pinned to GPU 7; this workspace has GPUs 0, 1"),
        (
            views(0, 0),
            ResourceRequest(pinned=("MIG-9",)),
            1.0,
            ReasonCode.IMPOSSIBLE,
            "it is pinned to GPU MIG-9; this workspace has GPUs 0, 1",
        ),
        (
            views(0, 0),
            ResourceRequest(pinned=("g",)),
            1.0,
            ReasonCode.IMPOSSIBLE,
            "it is pinned to GPU g; this workspace has GPUs 0, 1",
        ),
        (views(1, 1), request(), 1.0, ReasonCode.SLOTS_FULL, "GPU 0: job0; GPU 1: job1"),
        (views(1, 0), request(1, 0), 1.0, ReasonCode.SLOTS_FULL, "GPU 0: job0"),
        (views(1 / 3 + 1 / 3 + 1 / 3), request(), 1 / 3, ReasonCode.SLOTS_FULL, "GPU 0: job0"),
        (views(0, others={0: 1.0}), request(), 1.0, ReasonCode.LEASED, "GPU 0: bob"),
        (views(0.5, others={0: 0.5}), request(), 0.5, ReasonCode.SLOTS_FULL, "GPU 0: job0, bob"),
        (views(0, blocked={0: FILLED}), request(), 1.0, ReasonCode.FOREIGN, "GPU filled"),
        (views(0, 0, blocked={0: FILLED}), request(1, 0), 1.0, ReasonCode.FOREIGN, "GPU filled"),
        (views(0, 0, blocked={0: FILLED}), request(2), 1.0, ReasonCode.FOREIGN, "GPU filled"),
        (views(1, 0, reserved_for={1: "wide"}), request(), 1.0, ReasonCode.RESERVED, "wide"),
        (views(0, 1), request(2), 1.0, ReasonCode.SLOTS_FULL, "GPU 1: job1"),
    ],
)
def test_refused(gpus: list[GpuView], wanted: ResourceRequest, share: float, code: ReasonCode, text: str) -> None:
    before = [(view.used, list(view.jobs)) for view in gpus]
    found = place(wanted, gpus, share, "new")
    assert isinstance(found, Reason), found
    assert (found.code, found.text) == (code, text)
    assert [(view.used, view.jobs) for view in gpus] == before, "nothing is booked"


def test_a_wide_job_keeps_the_gpus_it_will_get() -> None:
    gpus = views(0, 1, 1)
    place(request(2), gpus, 1.0, "wide")
    assert [view.reserved_for for view in gpus] == ["wide", "wide", None]
    assert isinstance(place(request(), gpus, 1.0, "narrow"), Reason)


@pytest.mark.parametrize("wanted", [request(), request(1, 0)])
def test_a_narrow_job_keeps_nothing(wanted: ResourceRequest) -> None:
    gpus = views(1, 1)
    place(wanted, gpus, 1.0, "narrow")
    assert [view.reserved_for for view in gpus] == [None, None]


def test_a_wide_job_blocked_by_others_keeps_nothing() -> None:
    gpus = views(0, 0, blocked={1: FILLED})
    place(request(2), gpus, 1.0, "wide")
    assert isinstance(place(request(), gpus, 1.0, "narrow"), Allocation)


@given(
    st.lists(st.builds(ResourceRequest, gpus=st.integers(1, 4), pinned=st.sets(st.integers(0, 4)).map(tuple))),
    st.sampled_from([1.0, 1 / 2, 1 / 3, 1 / 7, 0.0]),
    st.integers(1, 4),
)
def test_never_overbooked(wanted: list[ResourceRequest], share: float, count: int) -> None:
    gpus = views(*[0.0] * count)
    for one in wanted:
        found = place(one, gpus, share, "x")
        if isinstance(found, Allocation):
            assert len(set(found.indices)) == one.gpus
            assert list(found.indices) == sorted(found.indices)
            inside = set(found.indices) <= set(one.pinned)
            assert not one.pinned or inside or set(one.pinned) <= set(found.indices)
    assert all(view.used <= 1 + SHARE_TOLERANCE for view in gpus)
