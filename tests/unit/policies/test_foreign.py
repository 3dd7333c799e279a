"""When a GPU counts as filled by others: every case a row."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.domain.resources import GpuProcess, GpuReading
from researchflow_tmux.policies.foreign import blocked, foreign_use

OURS = frozenset({1, 2})
NOTHING = frozenset[int]()
Processes = dict[int, int | None] | None


def reading(used: int | None, processes: Processes, total: int | None = 24_576) -> GpuReading:
    found = None if processes is None else tuple(GpuProcess(pid=p, used_mib=m) for p, m in processes.items())
    return GpuReading(uuid="GPU-a", index=0, name="X", total_mib=total, used_mib=used, processes=found)


@pytest.mark.parametrize(
    ("used", "processes", "managed", "leased", "expected"),
    [
        (0, {}, NOTHING, False, 0),
        (8000, {1: 7900}, OURS, False, 0),
        (8000, {1: 3000, 9: 4900}, OURS, False, 4900),
        (8000, {9: 4900}, NOTHING, False, 8000),
        # memory that nobody explains is the others', unless a job of ours is there
        (8000, {}, NOTHING, False, 8000),
        (8000, {}, NOTHING, True, 0),
        (8000, {1: 100}, OURS, False, 0),
        # figures the driver does not give
        (8000, {9: None}, NOTHING, False, 8000),
        (8000, {9: None}, NOTHING, True, 8000),
        (8000, {1: 5000, 9: None}, OURS, False, 3000),
        (8000, {1: None}, OURS, False, 0),
        (8000, None, NOTHING, False, 8000),
        (8000, None, NOTHING, True, 0),
        (None, {9: 700}, NOTHING, False, 700),
        (None, {9: None}, NOTHING, False, None),
        (None, {1: None}, OURS, False, 0),
        (None, {}, NOTHING, False, 0),
        (None, None, NOTHING, False, None),
        (None, None, NOTHING, True, None),
        # processes may add up to more than the driver calls used
        (100, {9: 200}, NOTHING, False, 200),
    ],
)
def test_foreign_use(
    used: int | None, processes: Processes, managed: frozenset[int], leased: bool, expected: int | None
) -> None:
    assert foreign_use(reading(used, processes), managed, leased=leased) == expected


@pytest.mark.parametrize(
    ("used", "total", "limit", "is_blocked"),
    [
        (0, 24_576, None, False),
        (1024, 8_192, None, False),  # a small card: 1 GiB
        (1025, 8_192, None, True),
        (2457, 24_576, None, False),  # a big one: a tenth
        (2458, 24_576, None, True),
        (1025, None, None, True),
        (1024, None, None, False),
        (500, 24_576, 400, True),
        (9000, 24_576, 10_000, False),
    ],
)
def test_limit(used: int, total: int | None, limit: int | None, is_blocked: bool) -> None:
    assert (blocked(reading(used, {9: used}, total), NOTHING, limit) is not None) == is_blocked


def test_the_words_name_who_and_how_much() -> None:
    crowd: Processes = {1: 10, 4242: 21_000, 7: 800, 8: 90, 9: 80, 10: 70}
    reason = blocked(reading(21_914, crowd), OURS, names={4242: "python pid 4242, user ann"})
    assert reason is not None
    assert reason.code is ReasonCode.FOREIGN
    assert reason.text == (
        "GPU 0: 21.5 of 24.0 GiB used by others (python pid 4242, user ann; pid 7; pid 8 and 2 more)"
    )


def test_hidden_memory_has_no_names() -> None:
    reason = blocked(reading(5000, {}), NOTHING)
    assert reason is not None
    assert "no process to be seen" in reason.text


def test_unknown_is_never_free() -> None:
    lost = GpuReading(uuid="GPU-a", index=3, name="X", error="GPU is lost")
    for unread in (lost, reading(None, None), None):
        reason = blocked(unread, NOTHING, index=3)
        assert reason is not None
        assert reason.code is ReasonCode.UNREADABLE
    reason = blocked(lost, NOTHING)
    assert reason is not None
    assert reason.text == "GPU 3: GPU is lost"
