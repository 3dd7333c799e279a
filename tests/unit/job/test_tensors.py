from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.job import CheckpointError, DamageError
from researchflow_tmux.job.checkpointer import Checkpointer
from researchflow_tmux.job.local_store import LocalStore
from tests.unit.job import tensors

REAL = importlib.util.find_spec("torch") is not None


@pytest.fixture(params=["stand-in", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="no PyTorch"))])
def torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "real":
        return importlib.import_module("torch")
    monkeypatch.setitem(sys.modules, "torch", tensors.module())
    return sys.modules["torch"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpointer:
    return Checkpointer(LocalStore(tmp_path))


def test_tensors_come_back_without_pickle(torch: Any, checkpoint: Checkpointer) -> None:
    matrix = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.float32)
    state = {
        "matrix": matrix,
        "columns": matrix.t(),
        "number": torch.tensor(7, dtype=torch.int64),
        "empty": torch.tensor([[], []], dtype=torch.float32),
        "parameter": torch.nn.Parameter(matrix),
    }
    checkpoint.save(state, 1, wait=True)
    found = checkpoint.load_latest(allow_pickle=False)
    assert found is not None
    for name, tensor in state.items():
        loaded = found.state[name]
        assert type(loaded) is torch.Tensor
        assert (str(loaded.dtype), tuple(loaded.shape)) == (str(tensor.dtype), tuple(tensor.shape))
        assert loaded.tolist() == tensor.tolist()
    found.state["matrix"].fill_(0)  # writable


def test_a_tensor_is_saved_as_it_was(torch: Any, checkpoint: Checkpointer) -> None:
    tensor = torch.tensor([1, 2], dtype=torch.float32)
    saving = checkpoint.save(tensor, 1)
    tensor.fill_(0)
    saving.wait()
    found = checkpoint.load_latest()
    assert found is not None
    assert found.state.tolist() == [1, 2]


def test_kinds_without_plain_bytes_are_pickled(checkpoint: Checkpointer, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = tensors.module()
    monkeypatch.setitem(sys.modules, "torch", torch)
    sparse, quantised, locked = tensors.Tensor([1]), tensors.Tensor([2]), tensors.Locked([3])
    sparse.layout = tensors.sparse_coo
    quantised.is_quantized = True
    monkeypatch.setattr(torch, "Tensor", type(locked))
    torch.nn.Parameter = tensors.Tensor
    try:
        checkpoint.save([sparse, quantised, locked], 1, wait=True)
    finally:
        torch.nn.Parameter = tensors.Parameter
    found = checkpoint.load_latest()
    assert found is not None
    assert [tensor.tolist() for tensor in found.state] == [[1], [2], [3]]
    with pytest.raises(CheckpointError, match="allow_pickle=True"):
        checkpoint.load_latest(allow_pickle=False)


def test_a_dtype_that_is_none_is_damage(checkpoint: Checkpointer, monkeypatch: pytest.MonkeyPatch) -> None:
    from researchflow_tmux.job import arrays

    monkeypatch.setitem(sys.modules, "torch", tensors.module())
    node = {"$": "tensor", "dtype": "frombuffer", "shape": [1]}
    with pytest.raises(DamageError, match="cannot be"):
        arrays.restore(node, memoryview(bytearray(4)))


@pytest.mark.skipif(REAL, reason="PyTorch is installed")
def test_a_missing_library_is_named(checkpoint: Checkpointer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", tensors.module())
    checkpoint.save(tensors.Tensor([1]), 1, wait=True)
    monkeypatch.delitem(sys.modules, "torch")
    with pytest.raises(CheckpointError, match="arrays of torch, which cannot be imported"):
        checkpoint.load_latest()
