"""When a GPU counts as lost and when it is back: a table of readings."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.policies.gpu_health import FATAL_XIDS, GpuHealth, Verdict, harmless_xids, well_s

WELL = GpuReading(uuid="g", index=3, name="GPU", used_mib=1)
LOST = GpuReading(uuid="g", index=3, name="GPU", error="GPU is lost", lost=True)
UNREADABLE = GpuReading(uuid="g", index=3, name="GPU", error="Unknown Error")


def xid(*numbers: int, of: GpuReading = WELL) -> GpuReading:
    return GpuReading(uuid="g", index=3, name="GPU", error=of.error, lost=of.lost, xids=numbers)


def verdicts(*readings: GpuReading | None, every_s: float = 5.0) -> list[Verdict]:
    """One after another; None = the GPU is not mentioned."""
    health = GpuHealth()
    return [
        verdict
        for number, reading in enumerate(readings)
        for verdict in health.see([] if reading is None else [reading], number * every_s, {})
    ]


@pytest.mark.parametrize(
    ("readings", "why"),
    [
        ((WELL, WELL, WELL), None),
        ((WELL, LOST), None),
        ((WELL, LOST, WELL, LOST, WELL), None),
        ((WELL, LOST, LOST), "GPU is lost"),
        ((LOST, LOST), "GPU is lost"),
        ((WELL, UNREADABLE, UNREADABLE, UNREADABLE, UNREADABLE), None),
        ((WELL, None, None, None), None),
        ((WELL, LOST, UNREADABLE, LOST), None),
        ((WELL, xid(79)), "Xid 79: it has fallen off the bus"),
        ((xid(48),), "Xid 48: a memory error that could not be corrected"),
        ((xid(13), xid(31), xid(43), xid(45)), None),
        ((xid(31, 119),), "Xid 119: its system processor does not answer"),
        ((xid(79, of=LOST),), "Xid 79: it has fallen off the bus"),
    ],
)
def test_lost(readings: tuple[GpuReading | None, ...], why: str | None) -> None:
    found = verdicts(*readings)
    assert [(verdict.index, verdict.lost, verdict.why) for verdict in found] == (
        [] if why is None else [(3, True, why)]
    )


def test_it_says_when_the_gpu_was_last_well() -> None:
    (verdict,) = verdicts(WELL, WELL, UNREADABLE, LOST, LOST)
    assert verdict.well_until_s == 5.0
    assert verdicts(LOST, LOST)[0].well_until_s is None


def test_a_lost_gpu_is_back_after_a_minute_of_good_readings_without_a_bad_one() -> None:
    health = GpuHealth()
    said = []
    for second in range(0, 200, 5):
        reading = LOST if second == 50 else None if second == 55 else WELL
        found = health.see([] if reading is None else [reading], float(second), {"g": 1})
        said += [(second, verdict.lost) for verdict in found]
        if said:
            break
    assert said == [(120, False)], "a minute after 60, the first good reading after the bad one and the missing one"


def test_each_loss_makes_it_wait_longer_up_to_an_hour() -> None:
    assert [well_s(losses) for losses in (0, 1, 2, 3, 7, 40)] == [60.0, 60.0, 120.0, 240.0, 3600.0, 3600.0]


def test_while_lost_it_is_not_lost_again_and_a_fatal_error_starts_the_wait_anew() -> None:
    health = GpuHealth()
    for second, reading in ((0, WELL), (30, xid(79)), (35, LOST), (40, LOST), (45, WELL)):
        assert health.see([reading], float(second), {"g": 1}) == []
    assert health.see([WELL], 104.0, {"g": 1}) == []
    assert [verdict.lost for verdict in health.see([WELL], 105.0, {"g": 1})] == [False]


def test_gpus_are_judged_apart() -> None:
    health = GpuHealth()
    other = GpuReading(uuid="h", index=4, name="GPU", error="GPU is lost", lost=True)
    assert health.see([WELL, other], 0.0, {}) == []
    assert [verdict.uuid for verdict in health.see([WELL, other], 5.0, {})] == ["h"]


def test_what_is_a_jobs_own_fault_is_harmless() -> None:
    assert harmless_xids(xid(13, 79, 31)) == [13, 31]
    assert not {13, 31, 43, 45} & FATAL_XIDS.keys()
