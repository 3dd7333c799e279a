"""A stand-in for PyTorch: the few calls on tensors that saving one makes, over NumPy.

`test_tensors` holds it, and the real PyTorch where there is one, to the same promises.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray


class dtype:  # noqa: N801 - its name there
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


uint8, float32, int64 = dtype("uint8"), dtype("float32"), dtype("int64")
strided, sparse_coo = object(), object()


class Tensor:
    is_quantized = False
    layout = strided

    def __init__(self, array: Any, kind: dtype | None = None) -> None:
        self.array: NDArray[Any] = array.array if isinstance(array, Tensor) else np.asarray(array)
        self.dtype = kind or globals()[str(self.array.dtype)]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def detach(self) -> Tensor:
        return Tensor(self.array)

    def to(self, device: str, *, copy: bool) -> Tensor:
        assert device == "cpu"
        return Tensor(self.array.copy() if copy else self.array)

    def contiguous(self) -> Tensor:
        return Tensor(np.ascontiguousarray(self.array).reshape(self.shape))

    def reshape(self, *shape: Any) -> Tensor:
        return Tensor(self.array.reshape(*shape))

    def view(self, kind: dtype) -> Tensor:
        return Tensor(self.array.view(kind.name))

    def numpy(self) -> NDArray[Any]:
        return self.array

    def t(self) -> Tensor:
        return Tensor(self.array.T)

    def tolist(self) -> Any:
        return self.array.tolist()

    def fill_(self, value: float) -> None:
        self.array[...] = value


class Parameter(Tensor):
    pass


nn = SimpleNamespace(Parameter=Parameter)


class Locked(Tensor):
    """For a kind that gives no bytes."""

    def detach(self) -> Tensor:
        raise RuntimeError("this kind of tensor has no bytes")


def tensor(values: Any, dtype: dtype) -> Tensor:
    return Tensor(np.asarray(values, dtype.name))


def frombuffer(buffer: Any, *, dtype: dtype) -> Tensor:
    return Tensor(np.frombuffer(buffer, dtype.name))


def empty(shape: Any, *, dtype: dtype) -> Tensor:
    return Tensor(np.empty(shape, dtype.name))


def module() -> ModuleType:
    """The stand-in as a module `torch`."""
    torch = ModuleType("torch")
    for name, value in globals().items():
        if not name.startswith("_"):
            setattr(torch, name, value)
    return torch
