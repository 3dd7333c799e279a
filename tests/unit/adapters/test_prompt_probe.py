"""A driver that hangs holds up nobody, and no critical error is lost between those who ask."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from researchflow_tmux.adapters.prompt_probe import LATE_LASTS_S, TOO_LATE_S, PromptProbe
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.resources import GpuReading
from tests.support import eventually

WELL = GpuReading(uuid="g", index=0, name="GPU", used_mib=1)
LOST = GpuReading(uuid="g", index=0, name="GPU", error="GPU is lost", lost=True)


class Driver:
    """Answers when the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0
        self.answer: list[GpuReading] | Exception = [WELL]

    def read(self) -> list[GpuReading]:
        self.asked += 1
        assert self.gate.wait(30)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Bench:
    def __init__(self) -> None:
        self.driver = Driver()
        self.news = 0
        self.probe = PromptProbe(self.driver, monotonic=time.monotonic, on_news=self._on_news, patience_s=0.1)

    def _on_news(self) -> None:
        self.news += 1


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.driver.gate.set()
    made.probe.close()


def test_it_reads(bench: Bench) -> None:
    assert bench.probe.read() == [WELL]
    assert bench.probe.read() == [WELL]
    assert bench.driver.asked == 2
    assert bench.news == 0, "nobody is woken by what is in order"


def test_errors_of_the_driver_are_passed_on(bench: Bench) -> None:
    bench.driver.answer = ProbeError("the driver reports: no")
    with pytest.raises(ProbeError, match="reports: no"):
        bench.probe.read()
    assert bench.news == 0
    bench.driver.answer = [WELL]
    assert bench.probe.read() == [WELL]
    eventually(lambda: bench.news == 1, what="whoever waits for a GPU is told that they can be read again")


def test_a_driver_that_hangs_costs_one_moment_and_then_none(bench: Bench) -> None:
    bench.driver.gate.clear()
    with pytest.raises(ProbeError, match="has not answered"):
        bench.probe.read()
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(ProbeError, match="has not answered"):
            bench.probe.read()
    assert time.monotonic() - began < 2.5, "nobody waits a second time for the same call: 50 waits take 5 s"
    assert bench.driver.asked == 1
    bench.driver.gate.set()
    eventually(lambda: bench.news == 1, what="the loop is told that the driver is back")
    assert bench.probe.read() == [WELL]


def test_a_driver_that_is_always_slow_can_be_read_all_the_same(bench: Bench) -> None:
    bench.driver.gate.clear()
    with pytest.raises(ProbeError, match="has not answered"):
        bench.probe.read()
    bench.driver.gate.set()
    eventually(lambda: bench.news == 1, what="the loop is told that there is an answer")
    bench.driver.gate.clear()
    assert bench.probe.read() == [WELL], "the answer that came too late for who asked before"
    assert bench.driver.asked == 1
    with pytest.raises(ProbeError, match="has not answered"):
        bench.probe.read()
    assert bench.driver.asked == 2, "it is given once"


def test_an_answer_that_is_too_old_is_not_given(bench: Bench) -> None:
    later = [0.0]
    probe = PromptProbe(bench.driver, monotonic=lambda: time.monotonic() + later[0], patience_s=0.1)
    for wait_s in (TOO_LATE_S, 0.0):
        bench.driver.gate.clear()
        with pytest.raises(ProbeError, match="has not answered"):
            probe.read()
        later[0] += wait_s  # the first one takes too long to come, the second one is not asked for in time
        asked = bench.driver.asked
        bench.driver.gate.set()
        eventually(lambda: probe._call is None)
        later[0] += LATE_LASTS_S
        assert probe.read() == [WELL]
        assert bench.driver.asked == asked + 1
    probe.close()


def test_those_who_ask_at_the_same_time_share_one_call(bench: Bench) -> None:
    bench.driver.gate.clear()
    answers: list[list[GpuReading]] = []
    patient = PromptProbe(bench.driver, monotonic=time.monotonic, patience_s=20.0)
    askers = [threading.Thread(target=lambda: answers.append(patient.read())) for _ in range(4)]
    for asker in askers:
        asker.start()
    eventually(lambda: bench.driver.asked == 1)
    bench.driver.gate.set()
    for asker in askers:
        asker.join(10)
    patient.close()
    assert answers == [[WELL]] * 4
    assert bench.driver.asked <= 4
    assert len(patient.take()) == bench.driver.asked


def test_every_reading_is_kept_for_the_loop_whoever_asked(bench: Bench) -> None:
    bench.probe.read()
    bench.driver.answer = [LOST]
    bench.probe.read()
    taken = bench.probe.take()
    assert [readings for _, readings in taken] == [[WELL], [LOST]]
    assert taken[0][0] <= taken[1][0]
    assert bench.probe.take() == []


def test_trouble_wakes_the_loop_and_so_does_everything_while_a_gpu_is_lost(bench: Bench) -> None:
    bench.driver.answer = [LOST]
    bench.probe.read()
    eventually(lambda: bench.news == 1)
    bench.driver.answer = [GpuReading(uuid="g", index=0, name="GPU", xids=(31,))]
    bench.probe.read()
    eventually(lambda: bench.news == 2)
    bench.driver.answer = [WELL]
    bench.probe.read()
    assert bench.news == 2
    bench.probe.alert = True
    bench.probe.read()
    eventually(lambda: bench.news == 3)
