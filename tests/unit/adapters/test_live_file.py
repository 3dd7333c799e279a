"""What the scheduler tells about itself in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from researchflow_tmux.adapters import live_file
from researchflow_tmux.adapters.live_file import Live
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import GpuDevice, GpuReading, Ticket
from tests.contract.store_samples import NOW, at

DEVICES = [GpuDevice(uuid=f"GPU-{index}", index=index, name="A100", kind="nvml", leased=True) for index in (0, 3)]


def snapshot(
    seconds: float = 0,
    *,
    share: float = 1 / 3,
    note: str = "2 GPUs",
    halt: Reason | None = None,
    warnings: Sequence[str] = (),
    error: str | None = None,
) -> Live:
    return live_file.snapshot(
        now=at(seconds),
        started_at=NOW,
        session="exp_scheduler",
        devices=DEVICES,
        readings=[GpuReading(uuid="GPU-3", index=3, name="A100", used_mib=17)],
        blocked={"GPU-0": Reason(code=ReasonCode.FOREIGN, text="80 %")},
        tickets=[Ticket(uuid="GPU-3", share=0.5, holder="her:/work")],
        share=share,
        cpu_places=2,
        note=note,
        halt=halt,
        warnings=warnings,
        error=error,
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "live.json")


def test_what_is_written_is_read(path: str) -> None:
    assert live_file.read(path) is None
    live = snapshot(warnings=["w"], error="e", halt=Reason(code=ReasonCode.HOST))
    assert live_file.publish(path, live)
    assert live_file.read(path) == live
    first, second = live.gpus
    assert (first.slots, first.reading, first.tickets) == (3, None, ())
    assert first.blocked is not None
    assert second.reading is not None
    assert (second.blocked, second.reading.used_mib, second.tickets[0].holder) == (None, 17, "her:/work")
    assert live.pid == os.getpid()
    live_file.remove(path)
    live_file.remove(path)
    assert live_file.read(path) is None


def test_unlimited_sharing_has_no_number_of_slots() -> None:
    assert [gpu.slots for gpu in snapshot(share=0.0).gpus] == [None, None]


def test_only_what_changed_or_grew_old_is_written(path: str) -> None:
    assert live_file.publish(path, snapshot(0), every_s=10)
    assert not live_file.publish(path, snapshot(9), every_s=10)
    assert live_file.publish(path, snapshot(9, note="changed"), every_s=10)
    assert not live_file.publish(path, snapshot(18, note="changed"), every_s=10)
    assert live_file.publish(path, snapshot(19, note="changed"), every_s=10)
    assert live_file.publish(path, snapshot(-60, note="changed"), every_s=10)  # the clock was set back


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "rfsched.live/9"}'])
def test_what_is_not_understood_is_nothing(path: str, content: str) -> None:
    Path(path).write_text(content)
    assert live_file.read(path) is None


def test_another_schema_is_not_understood(path: str) -> None:
    live_file.publish(path, snapshot())
    Path(path).write_text(Path(path).read_text().replace("rfsched.live/1", "rfsched.live/2"))
    assert live_file.read(path) is None


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"live\.json: No such file"):
        live_file.publish(str(tmp_path / "no" / "live.json"), snapshot())
