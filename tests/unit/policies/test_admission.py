"""A job starts only on a GPU that has room for it: each row is readings and bookings, a request, and the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.domain.limits import NO_LIMITS, NO_RULES, GpuLimits, RoomRules
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import (
    SHARE_TOLERANCE,
    Allocation,
    GpuProcess,
    GpuReading,
    GpuShare,
    ResourceRequest,
    Ticket,
)
from researchflow_tmux.engine.capacity import Capacity, Seen, capacity, key_of, next_opening
from researchflow_tmux.policies.grace import Touched
from researchflow_tmux.policies.load import GpuLoad, Holder, load_of, memory_in_use, memory_of, processes_on
from researchflow_tmux.policies.placement import place
from tests.unit.engine.samples import NOW, active, device, workload

GIB = 1024
TOTAL = 24 * GIB
OURS, THEIRS, STRANGER = "1.1", "other/7.1", None

Process = tuple[str | None, int | None]
"""(whose it is, MiB)."""


def load(
    used: int | None = 3, *processes: Process, total: int | None = TOTAL, blind: bool = False, **known: Any
) -> GpuLoad:
    """What is known of a GPU of 24 GiB; `blind` = the driver shows no processes."""
    listed = tuple(GpuProcess(pid=pid, used_mib=mib) for pid, (_, mib) in enumerate(processes, 1))
    reading = GpuReading(
        uuid="g0", index=0, name="GPU", total_mib=total, used_mib=used, processes=None if blind else listed
    )
    owners = {pid: who for pid, (who, _) in enumerate(processes, 1) if who is not None}
    return load_of(reading, owners, **known)


LOST = load_of(GpuReading(uuid="g0", index=0, name="GPU", error="fell off the bus"), {})


@dataclass
class Gpu:
    """One GPU of a case: how it reads, and the declared MiB of the jobs on it."""

    load: GpuLoad | None = field(default_factory=load)
    ours: int | None = None
    """Declared MiB of our job there; None = we have none there."""
    share: float = 0.0
    theirs: int | None = None
    """The same of another workspace's job, which has a quarter of the GPU."""
    touched: Touched | None = None


def seen(*gpus: Gpu, rules: RoomRules = NO_RULES, share: float = 0.0, kind: str = "simulated") -> Capacity:
    """The room that these GPUs make."""
    devices = [device(index, kind=kind) for index in range(len(gpus))]
    pairs = [
        active(
            index + 1,
            Allocation(gpus=(GpuShare(uuid=f"g{index}", index=index, share=gpu.share, memory_mib=gpu.ours),)),
        )
        for index, gpu in enumerate(gpus)
        if gpu.ours is not None
    ]
    known = workload(*(job for job, _ in pairs), attempts=tuple(attempt for _, attempt in pairs))
    known.touched = {f"g{index}": gpu.touched for index, gpu in enumerate(gpus) if gpu.touched is not None}
    tickets = [
        Ticket(uuid=f"g{index}", share=0.25, holder="bob", tag=THEIRS, memory_mib=gpu.theirs)
        for index, gpu in enumerate(gpus)
        if gpu.theirs is not None
    ]
    loads = {f"g{index}": gpu.load for index, gpu in enumerate(gpus) if gpu.load is not None}
    return capacity(
        known, devices, share=share, max_cpu_jobs=0, tickets=tickets, rules=rules, seen=Seen(loads=loads), now=NOW
    )


def asked(room: Capacity, request: ResourceRequest) -> Allocation | Reason:
    return place(request, room.views, room.share, "new", room.rules)


def wants(memory: int | None = None, share: float | None = None, gpus: int = 1, **limits: Any) -> ResourceRequest:
    return ResourceRequest(
        gpus=gpus, share=share, gpu_memory_mib=memory, limits=GpuLimits(**limits) if limits else NO_LIMITS
    )


def at(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


ADMITTED = [
    # nothing asked, nothing limited: memory is nobody's business
    ("a full GPU", [Gpu(load(TOTAL))], wants(), 0),
    # declared memory, and what is in use
    ("an empty GPU", [Gpu()], wants(12 * GIB), 0),
    ("it fits beside others", [Gpu(load(12 * GIB, (STRANGER, 12 * GIB)))], wants(12 * GIB), 0),
    ("all of an idle GPU, of which the driver has a little", [Gpu(load(300))], wants(TOTAL), 0),
    ("ours uses more than it declared", [Gpu(load(10 * GIB, (OURS, 10 * GIB)), ours=GIB)], wants(14 * GIB), 0),
    ("ours uses less than it declared", [Gpu(load(GIB, (OURS, GIB)), ours=10 * GIB)], wants(14 * GIB), 0),
    ("ours has not allocated yet", [Gpu(load(0), ours=10 * GIB)], wants(14 * GIB), 0),
    ("no processes are shown: what nobody explains is ours", [Gpu(load(10 * GIB), ours=10 * GIB)], wants(14 * GIB), 0),
    ("the second GPU has the room", [Gpu(load(20 * GIB)), Gpu(load(2 * GIB))], wants(12 * GIB), 1),
    ("the last of three", [Gpu(load(20 * GIB)), Gpu(LOST), Gpu(load(2 * GIB))], wants(12 * GIB), 2),
    ("nobody measures it, and its size is not known", [Gpu(None)], wants(12 * GIB, max_util_pct=10), 0),
    # shares
    ("half beside a half", [Gpu(ours=0, share=0.5)], wants(share=0.5), 0),
    ("its own share and not the default", [Gpu(ours=0, share=0.75)], wants(share=0.25), 0),
    ("a share beside another workspace's", [Gpu(theirs=0)], wants(share=0.75), 0),
    # thresholds
    ("below max_memory", [Gpu(load(19 * GIB))], wants(max_memory_pct=80), 0),
    ("just enough free", [Gpu(load(14 * GIB))], wants(min_free_mib=10 * GIB), 0),
    ("one process fewer", [Gpu(load(GIB, *[(STRANGER, 10)] * 3))], wants(max_processes=4), 0),
    ("not too busy", [Gpu(load(util_pct=79.9))], wants(max_util_pct=80), 0),
    ("no limit on what is unknown", [Gpu(load(None, total=None, blind=True))], wants(max_util_pct=None), 0),
    # grace
    ("the grace period is over", [Gpu(touched=Touched(at(-180)))], wants(), 0),
    ("begun before the clock was set back", [Gpu(touched=Touched(at(4000)))], wants(), 0),
    ("the other GPU has settled", [Gpu(touched=Touched(at(-10))), Gpu(touched=Touched(at(-200)))], wants(), 1),
]  # fmt: skip


@pytest.mark.parametrize(("gpus", "request_", "index"), [row[1:] for row in ADMITTED], ids=[row[0] for row in ADMITTED])
def test_admitted(gpus: list[Gpu], request_: ResourceRequest, index: int) -> None:
    room = seen(*gpus, rules=RoomRules(grace_s=180.0))
    found = asked(room, request_)
    assert isinstance(found, Allocation), found
    assert found.indices == (index,)
    assert found.gpus[0].memory_mib == (request_.gpu_memory_mib or 0), "it is kept for the attempt"


REFUSED = [
    # declared memory
    ("others have it", [Gpu(load(20 * GIB))], wants(12 * GIB), "threshold",
     "GPU 0: 4.0 GiB of 24.0 GiB neither used nor promised, 12.0 GiB needed"),
    ("promised to ours, which has not allocated", [Gpu(load(3), ours=20 * GIB)], wants(12 * GIB), "threshold",
     "GPU 0: 4.0 GiB of 24.0 GiB neither"),
    ("promised to theirs, which has not allocated", [Gpu(load(3), theirs=20 * GIB)], wants(12 * GIB), "threshold",
     "GPU 0: 4.0 GiB"),
    ("ours uses more than it declared", [Gpu(load(20 * GIB, (OURS, 20 * GIB)), ours=GIB)], wants(12 * GIB),
     "threshold", "GPU 0: 4.0 GiB"),
    ("ours ramps up beside a stranger", [Gpu(load(8 * GIB, (STRANGER, 8 * GIB)), ours=8 * GIB)], wants(12 * GIB),
     "threshold", "GPU 0: 8.0 GiB"),
    ("theirs is visible and larger than declared", [Gpu(load(20 * GIB, (THEIRS, 20 * GIB)), theirs=GIB)],
     wants(12 * GIB), "threshold", "GPU 0: 4.0 GiB"),
    ("use unknown", [Gpu(load(None))], wants(12 * GIB), "unreadable", "GPU 0: its memory is not known"),
    ("size unknown", [Gpu(load(0, total=None))], wants(12 * GIB), "unreadable", "GPU 0: its memory is not known"),
    ("lost", [Gpu(LOST)], wants(12 * GIB), "unreadable", "GPU 0: its memory is not known"),
    ("more than there is", [Gpu()], wants(25 * GIB), "impossible", "it needs 25.0 GiB of GPU memory; GPU 0: 24.0 GiB"),
    ("more than two of the GPUs have", [Gpu(), Gpu(load(total=40 * GIB))], wants(30 * GIB, gpus=2), "impossible",
     "it needs 30.0 GiB"),
    # shares
    ("two thirds beside a half", [Gpu(ours=0, share=0.5)], wants(share=0.67), "capacity", "GPU 0: j1"),
    ("all beside another workspace's quarter", [Gpu(theirs=0)], wants(share=1.0), "leased", "GPU 0: bob"),
    # thresholds
    ("max_memory", [Gpu(load(20 * GIB))], wants(max_memory_pct=80), "threshold",
     "GPU 0: 20.0 GiB of 24.0 GiB in use or promised (83 %), limit 80 % (max_memory)"),
    ("at the limit is over it", [Gpu(load(12 * GIB))], wants(max_memory_pct=50), "threshold", "(50 %), limit 50 %"),
    ("max_memory sees what is promised", [Gpu(load(3), ours=20 * GIB)], wants(max_memory_pct=80), "threshold",
     "GPU 0: 20.0 GiB of"),
    ("max_memory, unknown", [Gpu(load(None))], wants(max_memory_pct=80), "unreadable", "its memory is not known"),
    ("min_free", [Gpu(load(20 * GIB))], wants(min_free_mib=10 * GIB), "threshold",
     "GPU 0: 4.0 GiB of 24.0 GiB free, at least 10.0 GiB wanted (min_free_memory)"),
    ("min_free, unknown", [Gpu(load(0, total=None))], wants(min_free_mib=1), "unreadable", "its memory is not known"),
    ("max_processes", [Gpu(load(0, *[(STRANGER, 10)] * 4))], wants(max_processes=4), "threshold",
     "GPU 0: 4 processes on it, limit 4 (max_processes)"),
    ("a job that has not opened the GPU yet is a process", [Gpu(load(0), ours=0)], wants(max_processes=1), "threshold",
     "GPU 0: 1 process on it, limit 1"),
    ("max_processes, unknown", [Gpu(load(0, blind=True))], wants(max_processes=4), "unreadable", "its processes are"),
    ("max_util", [Gpu(load(util_pct=93.2))], wants(max_util_pct=80), "threshold",
     "GPU 0: 93 % busy over the last 60 s, limit 80 % (max_util)"),
    ("max_util, the window is not covered", [Gpu(load(util_known_at=at(25)))], wants(max_util_pct=80), "threshold",
     "GPU 0: how busy it is must be seen for 60 s first (max_util)"),
    ("max_util, unknown", [Gpu(load())], wants(max_util_pct=80), "unreadable", "GPU 0: how busy it is cannot be read"),
    ("a real GPU that nobody can ask", [Gpu(None)], wants(max_util_pct=80), "unreadable", "how busy it is cannot"),
    # grace
    ("after a start", [Gpu(touched=Touched(at(-20)))], wants(), "grace",
     "GPU 0: a job started there less than 180 s ago (grace_period)"),
    ("after an end", [Gpu(touched=Touched(at(-20), ended=True))], wants(), "grace",
     "GPU 0: the last job there ended less than 180 s ago (grace_period)"),
    # several GPUs, each with its own reason
    ("each GPU says why", [Gpu(load(20 * GIB)), Gpu(LOST), Gpu(load(util_pct=5.0))],
     wants(12 * GIB, max_util_pct=2), "threshold",
     "12.0 GiB needed; GPU 1: its memory is not known, and the job needs 12.0 GiB of it; GPU 2: 5 % busy"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gpus", "request_", "code", "text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(gpus: list[Gpu], request_: ResourceRequest, code: str, text: str) -> None:
    nobody_to_ask = gpus[0].load is None
    room = seen(*gpus, rules=RoomRules(grace_s=180.0))
    if nobody_to_ask:  # it is there and leased machine-wide, but no driver tells anything of it
        for view in room.views:
            view.device = device(view.device.index, kind="logical", leased=True)
    found = asked(room, request_)
    assert isinstance(found, Reason), found
    assert (found.code, text in found.text) == (code, True), found
    assert all(view.started == 0 for view in room.views), "nothing is booked"


def test_when_it_is_known_to_end_is_told() -> None:
    rules = RoomRules(grace_s=180.0)
    settles = asked(seen(Gpu(touched=Touched(at(-20))), rules=rules), wants())
    assert isinstance(settles, Reason)
    assert settles.until == at(160)
    room = seen(Gpu(load(util_known_at=at(25))), Gpu(load(util_known_at=at(40))))
    window = asked(room, wants(max_util_pct=80))
    assert isinstance(window, Reason)
    assert window.until == at(25)
    assert next_opening(room, NOW) == at(25)
    assert next_opening(room, at(30)) == at(40)
    assert next_opening(room, at(40)) is None


def test_gpus_with_the_same_reason_are_named_together() -> None:
    room = seen(Gpu(load()), Gpu(load(20 * GIB)), Gpu(load()))
    refused = asked(room, wants(max_util_pct=80))
    assert str(refused).endswith("GPU 0, 1, 2: how busy it is cannot be read, and there is a limit on it (max_util)")


def test_what_lasts_longer_is_told_rather_than_the_grace_period() -> None:
    room = seen(Gpu(load(3), ours=20 * GIB, touched=Touched(at(-1))), rules=RoomRules(grace_s=60.0))
    assert "needed" in str(asked(room, wants(12 * GIB)))
    assert "grace_period" in str(asked(room, wants(2 * GIB)))


# -- one start is seen by the next


def test_what_is_promised_counts_for_the_next_start_of_the_same_decision() -> None:
    room = seen(Gpu(), Gpu())
    found = [asked(room, wants(10 * GIB)) for _ in range(5)]
    assert [one.indices for one in found if isinstance(one, Allocation)] == [(0,), (1,), (0,), (1,)]
    assert isinstance(found[4], Reason)
    assert found[4].code is ReasonCode.THRESHOLD


def test_a_start_begins_the_grace_period() -> None:
    room = seen(Gpu(), Gpu(), rules=RoomRules(grace_s=60.0))
    found = [asked(room, wants()) for _ in range(3)]
    assert [one.indices for one in found if isinstance(one, Allocation)] == [(0,), (1,)]
    assert isinstance(found[2], Reason)
    assert (found[2].code, found[2].until) == (ReasonCode.GRACE, at(60))


def test_thresholds_alone_let_one_job_start_and_show_before_the_next() -> None:
    limited = RoomRules(limits=GpuLimits(max_memory_pct=80.0))
    room = seen(Gpu(), rules=limited)
    assert isinstance(asked(room, wants()), Allocation)
    second = asked(room, wants())
    assert isinstance(second, Reason)
    assert second.code is ReasonCode.GRACE
    slots = seen(Gpu(), rules=limited, share=0.5)
    assert [type(asked(slots, wants())) for _ in range(3)] == [Allocation, Allocation, Reason], "slots bound it"
    own = seen(Gpu())
    assert isinstance(asked(own, wants(max_memory_pct=80)), Allocation), "also of the job alone"
    assert "grace_period" in str(asked(own, wants(max_memory_pct=80)))
    assert isinstance(asked(own, wants()), Allocation), "who minds no threshold need not wait"
    after_an_end = seen(Gpu(touched=Touched(at(-1), ended=True)), rules=limited)
    assert isinstance(asked(after_an_end, wants()), Allocation)


def test_the_jobs_own_limits_take_the_place_of_the_workspaces() -> None:
    rules = RoomRules(limits=GpuLimits(max_memory_pct=10.0, max_processes=9), gpu_memory_mib=20 * GIB)
    busy = seen(Gpu(load(12 * GIB, *[(STRANGER, 10)] * 9)), rules=rules)
    assert "max_memory" in str(asked(busy, wants(GIB)))
    assert "max_processes" in str(asked(busy, wants(GIB, max_memory_pct=90.0)))
    assert isinstance(asked(busy, wants(GIB, max_memory_pct=90.0, max_processes=10)), Allocation)
    assert "20.0 GiB needed" in str(asked(busy, wants(max_memory_pct=90.0, max_processes=10))), "the default"


# -- wide jobs


WIDE = [
    ("slots of ours", Gpu(ours=0, share=1.0), True),
    ("memory of ours", Gpu(load(3), ours=20 * GIB), True),
    ("a grace period", Gpu(touched=Touched(at(-1))), True),
    ("memory of strangers", Gpu(load(20 * GIB, (STRANGER, 20 * GIB))), False),
    ("a threshold", Gpu(load(util_pct=99.0)), False),
    ("a lost GPU", Gpu(LOST), False),
]


@pytest.mark.parametrize(("second", "keeps"), [row[1:] for row in WIDE], ids=[row[0] for row in WIDE])
def test_a_wide_job_keeps_gpus_only_while_it_waits_for_what_passes(second: Gpu, keeps: bool) -> None:
    room = seen(Gpu(load(util_pct=0.0)), second, rules=RoomRules(grace_s=60.0, limits=GpuLimits(max_util_pct=80.0)))
    if second.load is not LOST and second.load is not None and second.load.util_pct is None:
        room.views[1].util_pct = 0.0
    assert isinstance(asked(room, wants(8 * GIB, share=0.5, gpus=2)), Reason)
    narrow = asked(room, wants(GIB, share=0.5))
    assert isinstance(narrow, Reason if keeps else Allocation), narrow


# -- how much is in use

MEMORY = [
    (load(0), [], 0),
    (load(5000), [], 5000),
    (load(5000), [Holder(OURS, 9000)], 9000),
    (load(9500), [Holder(OURS, 9000)], 9500),
    (load(5000, (OURS, 4900)), [Holder(OURS, 9000)], 9100),
    (load(5000, (OURS, 4900)), [Holder(OURS, 0)], 5000),
    (load(5000, (STRANGER, 4900)), [Holder(OURS, 9000)], 13_900),
    (load(9000, (STRANGER, 4000), (OURS, 5000)), [Holder(OURS, 6000), Holder(THEIRS, 3000)], 13_000),
    # whose use the driver does not say
    (load(5000, (OURS, None)), [Holder(OURS, 9000)], 9000),
    # ended since the reading: its memory is still in use
    (load(5000, (OURS, 4900)), [], 5000),
    (load(None), [Holder(OURS, 9000)], None),
]


@pytest.mark.parametrize(("known", "holders", "expected"), MEMORY)
def test_memory_in_use(known: GpuLoad, holders: list[Holder], expected: int | None) -> None:
    assert memory_in_use(known, holders) == expected
    if expected is not None and known.used_mib is not None:
        assert expected >= known.used_mib, "never less than what is measured"


def test_memory_of_ours_is_what_comes_back_when_they_end() -> None:
    assert memory_of(load(5000, (OURS, 4900)), [Holder(OURS, 100), Holder("2.1", 300)]) == 5200
    assert memory_of(None, [Holder(OURS, 100)]) == 100


def test_processes_of_jobs_that_have_not_begun_are_counted() -> None:
    busy = load(0, (OURS, 1), (STRANGER, 1))
    assert processes_on(busy, [Holder(OURS), Holder("2.1")]) == 3
    assert processes_on(load(0, blind=True), []) is None


# -- never too much

FIGURES = st.one_of(st.none(), st.integers(0, TOTAL))


@given(
    truth=st.lists(
        st.tuples(st.integers(0, 30 * GIB), st.integers(0, 30 * GIB), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 1.0])),
        max_size=12,
    ),
    strangers=st.integers(0, TOTAL),
    gpus=st.integers(1, 3),
)
def test_never_more_than_there_is(truth: list[tuple[int, int, float]], strangers: int, gpus: int) -> None:
    """Jobs come one by one (declared, really used, share); each is read before the next one comes."""
    pairs: list[Any] = []
    used: dict[str, dict[str, int]] = {f"g{index}": {} for index in range(gpus)}
    for number, (declared, really, share) in enumerate(truth, 1):
        loads = {
            uuid: load_of(
                GpuReading(
                    uuid=uuid,
                    index=0,
                    name="GPU",
                    total_mib=TOTAL,
                    used_mib=min(TOTAL, strangers + sum(mine.values())),
                    processes=tuple(
                        GpuProcess(pid=pid, used_mib=mib) for pid, mib in enumerate([strangers, *mine.values()], 1)
                    ),
                ),
                dict(enumerate(mine, 2)),
            )
            for uuid, mine in used.items()
        }
        known = workload(*(job for job, _ in pairs), attempts=tuple(attempt for _, attempt in pairs))
        room = capacity(
            known, [device(index) for index in range(gpus)], share=1.0, max_cpu_jobs=0, seen=Seen(loads=loads), now=NOW
        )
        found = asked(room, wants(declared, share=share))
        if not isinstance(found, Allocation):
            continue
        pair = active(number, found)
        pairs.append(pair)
        uuid = found.gpus[0].uuid
        on_it = [attempt for _, attempt in pairs if attempt.allocation.gpus[0].uuid == uuid]
        promised = sum(
            max(attempt.allocation.gpus[0].memory_mib, used[uuid].get(key_of(attempt), 0)) for attempt in on_it
        )
        assert declared == 0 or strangers + promised <= TOTAL
        assert sum(attempt.allocation.gpus[0].share for attempt in on_it) <= 1 + SHARE_TOLERANCE
        used[uuid][key_of(pair[1])] = min(really, max(0, TOTAL - strangers - sum(used[uuid].values())))


@given(
    used=FIGURES,
    total=st.one_of(st.none(), st.just(TOTAL)),
    util=st.one_of(st.none(), st.floats(0, 100)),
    blind=st.booleans(),
    limit=st.sampled_from(["memory", "max_memory", "min_free", "max_processes", "max_util"]),
)
def test_unknown_never_admits(used: int | None, total: int | None, util: float | None, blind: bool, limit: str) -> None:
    request_ = {
        "memory": wants(1),
        "max_memory": wants(max_memory_pct=100.0),
        "min_free": wants(min_free_mib=0),
        "max_processes": wants(max_processes=1000),
        "max_util": wants(max_util_pct=101.0),
    }[limit]
    unknown = {"max_processes": blind, "max_util": util is None}.get(limit, used is None or total is None)
    found = asked(seen(Gpu(load(used, total=total, blind=blind, util_pct=util))), request_)
    if unknown:
        assert isinstance(found, Reason)
        assert found.code is ReasonCode.UNREADABLE
    elif limit in ("max_processes", "max_util", "min_free"):
        assert isinstance(found, Allocation), "and what is known and free does"
