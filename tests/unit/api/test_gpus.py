"""Naming, steering and looking at GPUs without a scheduler."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sample_store import SampleStore
from researchflow_tmux.api.gpu_history import history
from researchflow_tmux.api.gpus import chosen, named, steer, view
from researchflow_tmux.api.usage import state_of
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import StoreError, UsageError
from researchflow_tmux.domain.reasons import Reason, ReasonCode
from researchflow_tmux.domain.resources import GpuReading

PRESENT = {"GPU-8f2c1111": 0, "GPU-8f2c2222": 1, "GPU-77770000": 5}
KNOWN = PRESENT | {"GPU-gone0000": 9}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    settings = f"task_name: t\ngpu_count: simulated:3\nmax_jobs_per_gpu: 2\ntmux_socket: {tmp_path}/none\n"
    (tmp_path / "scheduler_config.yml").write_text(settings)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "indices"),
    [
        (["0"], [0]),
        (["5", "0"], [5, 0]),
        (["0,1"], [0, 1]),
        (["GPU-7777"], [5]),
        (["GPU-8f2c2222"], [1]),
        (["all"], [0, 1, 5]),
        (["GPU-gone0000"], [9]),
        (["0", "GPU-8f2c1111"], [0]),
    ],
)
def test_gpus_are_named_by_index_uuid_its_beginning_or_all(words: list[str], indices: list[int]) -> None:
    assert list(named(words, KNOWN, PRESENT).values()) == indices


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["2"], "there is no GPU '2'"),
        (["9"], "there is no GPU '9'"),
        (["GPU-"], "there is no GPU 'GPU-'"),
        (["GPU-8f2c"], "'GPU-8f2c' is the beginning of several UUIDs: GPU-8f2c1111, GPU-8f2c2222"),
        (["-1", "x"], "there is no GPU '-1'\nthere is no GPU 'x'"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        named(words, KNOWN, PRESENT)
    assert str(caught.value).startswith(said)
    assert "this workspace has GPU 0, 1, 5" in str(caught.value)


def test_a_workspace_in_which_nothing_was_ever_queued(root: Path) -> None:
    found = view(Workspace(root))
    assert (found.scheduler, found.note) == (False, "3 simulated GPUs: no hardware is used")
    assert [(gpu.index, gpu.state, gpu.slots, gpu.used_mib, gpu.jobs) for gpu in found.gpus] == [
        (index, "ok", 2, None, []) for index in range(3)
    ]
    assert not os.path.exists(Workspace(root).paths.database), "looking leaves nothing behind"


def test_two_processes_without_a_scheduler_do_not_forget_each_others_drains(root: Path) -> None:
    one, two = Workspace(root), Workspace(root)
    assert steer(one, "drain", ["0"]).drained == [0]
    assert steer(two, "drain", ["1"]).drained == [1]
    assert steer(one, "drain", ["2"]).drained == [2]
    assert steer(two, "enable", ["0"]).enabled == [0]
    assert steer(one, "enable", ["1"]).enabled == [1]
    assert [gpu.state for gpu in view(Workspace(root)).gpus] == ["ok", "ok", "drained"]


def test_a_drained_gpu_that_is_not_there_any_more_can_still_be_enabled(root: Path) -> None:
    workspace = Workspace(root)
    steer(workspace, "drain", ["2"])
    config = root / "scheduler_config.yml"
    config.write_text(config.read_text().replace("simulated:3", "simulated:1"))
    fewer = Workspace(root)
    assert chosen(fewer, ["simulated-2"]) == {"simulated-2": 2}
    assert steer(fewer, "enable", ["simulated-2"]).enabled == [2]
    with pytest.raises(UsageError, match="there is no GPU '2'"):
        steer(fewer, "drain", ["2"])


def test_a_list_that_makes_no_sense_is_shown(root: Path) -> None:
    (root / "available_gpus.txt").write_text("0 nonsense")
    (problem,) = view(Workspace(root)).problems
    assert "available_gpus.txt:1:3: 'nonsense' is no GPU" in problem


@pytest.mark.parametrize(
    ("code", "busy", "state"),
    [
        (None, True, "ok"),
        (ReasonCode.GPU_LOST, True, "lost"),
        (ReasonCode.DRAINED, True, "draining"),
        (ReasonCode.DRAINED, False, "drained"),
        (ReasonCode.FOREIGN, False, "blocked"),
        (ReasonCode.UNREADABLE, True, "blocked"),
    ],
)
def test_one_word_for_where_a_gpu_stands(code: ReasonCode | None, busy: bool, state: str) -> None:
    assert state_of(None if code is None else Reason(code=code), busy=busy) == state


def test_history_of_what_was_sampled(root: Path) -> None:
    workspace, now = Workspace(root), SystemClock().now()
    assert history(workspace, now - timedelta(hours=2)).gpus == []
    os.makedirs(workspace.paths.state)
    store = SampleStore(workspace.paths.samples)
    store.add(now.timestamp() - 60, [GpuReading(uuid="g", index=0, name="GPU", util_pct=40)], {})
    store.close()
    found = history(workspace, now - timedelta(minutes=30))
    assert (found.span_s, found.gpus[0].util_pct) == (0, [40.0])
    assert history(workspace, now - timedelta(hours=2)).span_s == 60
    with pytest.raises(UsageError, match="lies ahead"):
        history(workspace, now + timedelta(hours=1))
    Path(workspace.paths.samples).write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="may be deleted"):
        history(workspace, now - timedelta(minutes=30))
