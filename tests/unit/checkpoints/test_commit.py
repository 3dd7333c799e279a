from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from researchflow_tmux.checkpoints import (
    Checkpointer,
    CheckpointError,
    FsspecStore,
    Keep,
    LocalStore,
    StateError,
    commit,
    latest,
)  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "weights.bin").write_text("w1")
    (tmp_path / "model" / "deep" / "opt.bin").write_text("o1")
    return {"RFSCHED_CHECKPOINT_DIR": str(tmp_path / "kept"), "RFSCHED_ATTEMPT": "w/1.1"}


def test_a_directory_is_found_at_the_root_of_the_checkpoint(tmp_path: Path, job: dict[str, str]) -> None:
    saved = commit(tmp_path / "model", step=3, metrics={"acc": 1}, variables=job)
    entry = latest(LocalStore(tmp_path / "kept"), contents=True)
    assert entry is not None
    assert entry.manifest is not None
    assert (entry.name, entry.place, entry.manifest.attempt) == (saved.name, saved.place, "w/1.1")
    shown = subprocess.run(["cat", "weights.bin", "deep/opt.bin"], cwd=entry.place, capture_output=True, text=True)
    assert shown.stdout == "w1o1"


def test_python_reads_what_another_language_committed(tmp_path: Path, job: dict[str, str]) -> None:
    commit(tmp_path / "model", step=3, variables=job)
    restored = Checkpointer(LocalStore(tmp_path / "kept")).load_latest(allow_pickle=False)
    assert restored is not None
    assert (restored.state / "weights.bin").read_text() == "w1"


def test_a_file_and_what_stays(tmp_path: Path, job: dict[str, str]) -> None:
    for step in range(3):
        commit(tmp_path / "model" / "weights.bin", step=step, variables=job, keep=Keep(2))
    names = LocalStore(tmp_path / "kept").names()
    assert [int(name.split("-")[3]) for name in names] == [2, 1]
    assert (tmp_path / "kept" / names[0] / "weights.bin").read_text() == "w1"


def test_a_directory_beside_the_checkpoints_or_below_may_be_committed(tmp_path: Path, job: dict[str, str]) -> None:
    (tmp_path / "kept" / "work").mkdir(parents=True)
    (tmp_path / "kept" / "work" / "w").write_text("w")
    commit(tmp_path / "kept" / "work", step=1, variables=job)
    for around in (tmp_path / "kept", tmp_path):
        with pytest.raises(CheckpointError, match="contains the checkpoints"):
            commit(around, step=2, variables=job)


def test_another_store(tmp_path: Path, job: dict[str, str]) -> None:
    store = FsspecStore(f"memory://{tmp_path.name}")
    commit(tmp_path / "model", step=1, store=store)
    assert len(store.names()) == 1
    entry = latest(store)
    assert entry is not None
    assert entry.place.startswith("memory://")


def test_what_cannot_be_committed(tmp_path: Path, job: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RFSCHED_CHECKPOINT_DIR", raising=False)
    with pytest.raises(CheckpointError, match="RFSCHED_CHECKPOINT_DIR is not set"):
        commit(tmp_path / "model", step=1)
    with pytest.raises(StateError, match="no whole number"):
        commit(tmp_path / "model", step=-1, variables=job)
    with pytest.raises(StateError, match="No such file"):
        commit(tmp_path / "nothing", step=1, variables=job)
