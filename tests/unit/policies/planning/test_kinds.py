"""Jobs that cannot run on every GPU: counting, reservations, and who has the first choice of scarce GPUs."""

from __future__ import annotations

import pytest

from researchflow_tmux.domain.hardware import hardware
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.simulated_gpus import simulated_gpus
from researchflow_tmux.engine.planning.needs import Needs
from researchflow_tmux.policies.planning.classes import Entry
from researchflow_tmux.policies.planning.floor import Floor, Need, Stay
from researchflow_tmux.policies.planning.orders import POLICIES, Policy
from researchflow_tmux.policies.planning.walk import Why
from researchflow_tmux.policies.scarcity import Kept, kept_for_choosy, wanted
from tests.unit.policies.planning.samples import DAY, HOUR, entry, floor, walk

EASY, FIFO = POLICIES["easy_fifo"], POLICIES["fifo"]
A100 = frozenset({"g0", "g1"})
"""Of four GPUs."""


def names(*numbers: int) -> frozenset[str]:
    return frozenset(f"simulated-{number}" for number in numbers)


@pytest.mark.parametrize(
    ("request_", "need"),
    [
        (ResourceRequest(), Need(1)),
        (ResourceRequest(gpus=0, hardware=hardware(gpu_type="A100")), Need(0)),
        (ResourceRequest(hardware=hardware(gpu_type="A100")), Need(1, may=names(0, 1, 2))),
        (ResourceRequest(hardware=hardware(gpu_type="A100|T4")), Need(1)),
        (ResourceRequest(hardware=hardware(gpu_type="H100")), Need(1, may=frozenset())),
        (ResourceRequest(hardware=hardware(topology="nvlink")), Need(1)),
        (
            ResourceRequest(gpus=2, hardware=hardware(topology="nvlink!")),
            Need(2, may=names(0, 1), groups=(names(0, 1),)),
        ),
        (ResourceRequest(gpus=3, hardware=hardware(topology="nvlink!")), Need(3, may=frozenset())),
        (ResourceRequest(pinned=(3,), hardware=hardware(gpu_type="A100")), Need(1, may=frozenset())),
        (ResourceRequest(pinned=(0, 3), hardware=hardware(gpu_type="A100")), Need(1, may=names(0))),
        (
            ResourceRequest(gpus=2, pinned=(3,), hardware=hardware(gpu_type="A100")),
            Need(2, must=names(3), may=frozenset()),
        ),
        (
            ResourceRequest(gpus=2, pinned=(0,), hardware=hardware(gpu_type="A100", topology="nvlink!")),
            Need(2, must=names(0), may=names(0, 1), groups=(names(0, 1),)),
        ),
    ],
)
def test_what_a_request_needs_on_a_machine_of_two_linked_a100_one_more_and_a_t4(
    request_: ResourceRequest, need: Need
) -> None:
    assert Needs(simulated_gpus("2xA100,A100,T4"), 1.0).of(request_) == need


def test_a_group_is_counted_as_a_whole() -> None:
    groups = (frozenset({"g0", "g1"}), frozenset({"g2", "g3"}))
    need = Need(2, groups=groups)
    assert not floor(4, HOUR).fits(need, frozenset({"g2"}))
    room = Floor(
        dict.fromkeys(("g0", "g1", "g2", "g3"), 0.0) | {"g1": 1.0, "g2": 1.0},
        [Stay("g0", 1.0, 5 * HOUR), Stay("g3", 1.0, 2 * HOUR)],
    )
    assert not room.fits(need), "two are free, of two groups"
    assert room.could_ever_fit(need)
    assert not room.could_ever_fit(Need(3, groups=groups))
    found = room.reserve(need, 0.0)
    assert found is not None
    assert (found.at_s, found.uuids) == (2 * HOUR, groups[1]), "the group that is free first"


def choosy(number: int, gpus: int = 1, *, ready_s: float = 0.0) -> Entry:
    return entry(number, gpus, need=Need(gpus, may=A100), policy=EASY, ready_s=ready_s)


def test_a_reservation_for_a_kind_keeps_gpus_of_that_kind_only() -> None:
    waiting = [choosy(1, 2), entry(2, takes_s=9 * HOUR, policy=EASY, ready_s=1)]
    found = walk(waiting, floor(4, HOUR), policy=EASY)
    assert (found.reserved, found.started, found.avoided[2]) == (1, [2], A100)


def test_what_is_kept_is_as_much_as_is_asked_for_of_what_there_is_little_of() -> None:
    everything = {"g0", "g1", "g2", "g3"}
    assert kept_for_choosy(everything, everything, {A100: 1}) == Kept(frozenset({"g0"}), A100)
    assert kept_for_choosy({"g1", "g2"}, everything, {A100: 9}) == Kept(frozenset({"g1"}), A100)
    assert kept_for_choosy({"g2"}, everything, {A100: 1}) == Kept(frozenset(), A100)
    most = frozenset({"g0", "g1", "g2"})
    assert kept_for_choosy(everything, everything, {most: 5}) == Kept(), "most GPUs are of this kind"
    one = frozenset({"g0"})
    assert kept_for_choosy(everything, everything, {A100: 1, one: 1}) == Kept(frozenset({"g0"}), A100)


KEPT = Kept(frozenset({"g0"}), A100)


def test_choosy_jobs_choose_first_and_what_they_leave_is_for_all() -> None:
    plain = [entry(number, policy=EASY, ready_s=number) for number in (1, 2, 3, 4)]
    found = walk([*plain, choosy(9, ready_s=99.0)], floor(4), policy=EASY, kept=KEPT)
    assert found.started == [1, 2, 3, 9]
    assert found.avoided[1] == KEPT.uuids
    found = walk(plain, floor(4), policy=EASY, kept=KEPT)
    assert found.started == [1, 2, 3, 4], "nobody came for it"
    assert found.avoided[4] == frozenset()


def test_who_is_kept_off_gets_the_reservation_when_nothing_is_left() -> None:
    plain = [entry(number, policy=EASY, ready_s=number) for number in (1, 2)]
    stays = [Stay(f"g{number}", 1.0, DAY) for number in (1, 2, 3)]
    room = Floor({"g0": 1.0, "g1": 0.0, "g2": 0.0, "g3": 0.0}, stays, cpu_places=1)
    found = walk([*plain, choosy(9, ready_s=99.0)], room, policy=EASY, kept=KEPT)
    assert found.started == [9]
    assert found.reserved == 1


@pytest.mark.parametrize(
    ("need", "ready_s", "early"),
    [
        (Need(3), 0.0, "it cannot do without them"),
        (Need(1), -6 * DAY, "it has waited for longer than C"),
        (Need(1, may=frozenset({"g0", "g3"})), 0.0, "it is choosy itself"),
    ],
)
def test_some_are_kept_off_nothing(need: Need, ready_s: float, early: str) -> None:
    one = entry(1, need.gpus, need=need, policy=EASY, ready_s=ready_s)
    found = walk([one, choosy(9, ready_s=99.0)], floor(4), policy=EASY, kept=KEPT)
    assert found.started[0] == 1, early
    assert found.avoided[1] == frozenset(), early


def test_an_urgent_job_and_strict_order_are_kept_off_nothing() -> None:
    one = entry(1, policy=EASY)
    assert walk([one], floor(4), policy=EASY, lane=[one], kept=KEPT).avoided[1] == frozenset()
    one = entry(1, policy=FIFO)
    assert walk([one], floor(4), policy=FIFO, kept=KEPT).avoided[1] == frozenset()


def test_gathered_gpus_serve_those_who_will_have_ended() -> None:
    kept = Kept(frozenset(), A100, gathered=A100, until_s=2 * HOUR)
    taken = floor(4, DAY, DAY, DAY, DAY)
    room = Floor({**taken.free, "g0": 1.0}, [Stay(f"g{number}", 1.0, DAY) for number in (1, 2, 3)])
    short, long = entry(1, takes_s=HOUR, policy=EASY), entry(2, takes_s=3 * HOUR, policy=EASY)
    assert walk([short], room, policy=EASY, kept=kept).started == [1]
    room = Floor({**taken.free, "g0": 1.0}, [Stay(f"g{number}", 1.0, DAY) for number in (1, 2, 3)])
    found = walk([long], room, policy=EASY, kept=kept)
    assert (found.started, found.why(long)) == ([], Why.KEPT)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_cpu_jobs_never_wait_for_gpus_and_their_places_are_counted(policy: Policy) -> None:
    wide = entry(1, 4, policy=policy)
    cpu = [entry(number, 0, policy=policy, ready_s=number) for number in (2, 3, 4)]
    found = walk([wide, *cpu], floor(4, HOUR, cpu_places=2), policy=policy)
    assert sorted(found.started) == [2, 3], "two places"
    assert found.why(cpu[2]) in (Why.CAPACITY, None)


def test_how_much_a_gpu_is_wanted_is_what_is_asked_for_by_what_there_is() -> None:
    devices = simulated_gpus("2xA100,6xT4")
    a100, large, all_ = hardware(gpu_type="A100"), hardware(min_gpu_memory="70GiB"), hardware(gpu_type="A100|T4")
    found = wanted(devices, {a100: 4}, {a100: 4, large: 2, all_: 9, hardware(gpu_type="H100"): 3})
    assert found["simulated-0"] == (2.0, 3.0)
    assert found["simulated-7"] == (0.0, 0.0)
