"""Arrays of NumPy and tensors of PyTorch as raw bytes with a dtype and a shape. Neither is imported to save one.

Whoever holds an array has imported its library, so that is found among the loaded modules. What has no plain bytes
(objects, sparse or quantised tensors, subclasses) is left to pickle.
"""

from __future__ import annotations

import importlib
import math
import sys

from .errors import CheckpointError, DamageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLAIN = "biufcmMSU"
"""NumPy's kinds of dtype whose elements are their bytes."""


def taken(value: Any, *, copy: bool) -> tuple[dict[str, Any], memoryview] | None:
    """Return (description, bytes) of `value` on the CPU; None if it is no array with plain bytes.

    With `copy` the bytes are its own; without, they may be those of the array, which must then not change.
    """
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
        return _array(value, copy)
    if torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter):
        return _tensor(torch, value, copy)
    return None


def _array(value: Any, copy: bool) -> tuple[dict[str, Any], memoryview] | None:
    dtype = value.dtype
    if dtype.kind not in _PLAIN or not dtype.itemsize:
        return None
    kind = "array" if hasattr(value, "__setitem__") else "scalar"
    flat = (value.copy(order="C") if copy or not value.flags.c_contiguous else value).reshape(-1)
    return {"$": kind, "dtype": dtype.str, "shape": list(value.shape)}, memoryview(flat.view("u1"))


def _tensor(torch: Any, value: Any, copy: bool) -> tuple[dict[str, Any], memoryview] | None:
    if value.layout is not torch.strided or value.is_quantized:
        return None
    try:
        for resolve in ("resolve_conj", "resolve_neg"):  # bits that say how to read the bytes
            value = getattr(value, resolve)() if hasattr(value, resolve) else value
        flat = value.detach().to("cpu", copy=copy).contiguous().reshape(-1)
        raw = memoryview(flat.view(torch.uint8).numpy())
    except (RuntimeError, TypeError):  # kinds of tensors to come, or a PyTorch without NumPy
        return None
    return {"$": "tensor", "dtype": str(value.dtype).rpartition(".")[2], "shape": list(value.shape)}, raw


def restore(node: dict[str, Any], raw: memoryview) -> Any:
    """Return the array, scalar or tensor described by `node`, writable, over the memory of `raw`.

    Tensors are on the CPU. Raises `CheckpointError` if its library is missing, `DamageError` for what cannot be.
    """
    try:
        if node["$"] == "tensor":
            return _restore_tensor(_library("torch"), node, raw)
        array = _restore_array(_library("numpy"), node, raw)
        return array[()] if node["$"] == "scalar" else array
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise DamageError(f"it describes an array that cannot be: {error}") from error


def _restore_array(numpy: Any, node: dict[str, Any], raw: memoryview) -> Any:
    dtype = numpy.dtype(str(node["dtype"]))
    if dtype.kind not in _PLAIN:
        raise ValueError(f"dtype {dtype}")
    return numpy.frombuffer(raw, dtype=dtype).reshape(node["shape"])


def _restore_tensor(torch: Any, node: dict[str, Any], raw: memoryview) -> Any:
    dtype = getattr(torch, str(node["dtype"]))
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"dtype {dtype}")
    if not math.prod(node["shape"]):
        return torch.empty(node["shape"], dtype=dtype)
    return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(node["shape"])


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CheckpointError(f"the checkpoint holds arrays of {name}, which cannot be imported: {error}") from error
