"""A copy of a training state that the training may go on changing.

The state becomes a tree of JSON (what is small and plain) and buffers (what is large). Only arrays are copied; pickle
is used for what is neither plain data nor an array, at once, so that it cannot change either. `restore` reads it back.
"""

from __future__ import annotations

import json
import math
import os
import pickle
from collections import OrderedDict
from pathlib import Path

from . import arrays, disk, files
from .errors import StateError
from .store import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ALIGNMENT = 64
"""Bytes: each buffer begins at a multiple, as vector instructions like it."""


class Snapshot:
    """The copy of `state`; raises `StateError`, naming the place, for what cannot be kept.

    With `copy=False` arrays are used as they are: half the memory, if the state does not change before all is written.
    """

    def __init__(self, state: Any, *, copy: bool = True) -> None:
        self._copy = copy
        self._buffers: list[Any] = []
        self._end = 0
        self._files: list[Part] = []
        self._shared: dict[int, Any] = {}
        self._alive: list[Any] = []  # whose ids are in `_shared`: an id is free for another object when one dies
        if isinstance(state, (os.PathLike, files.Files)):
            self._tree = self._kept(os.fspath(state), "")
        else:
            try:
                self._tree = self._node(state, "state")
            except RecursionError:
                raise StateError("the state is nested too deep to be saved, or contains itself") from None
        self._shared.clear()
        self._alive.clear()

    def parts(self) -> list[Part]:
        """Return the files the checkpoint consists of."""
        found = [Part(files.STATE_FILE, self._text), *self._files]
        return [*found, Part(files.BUFFER_FILE, self._bytes)] if self._buffers else found

    def _text(self) -> Iterator[bytes]:
        yield json.dumps({"schema": "rfsched.state/1", "state": self._tree}).encode()

    def _bytes(self) -> Iterator[Any]:
        for buffer in self._buffers:
            view = memoryview(buffer)
            for start in range(0, len(view), disk.PIECE):
                yield view[start : start + disk.PIECE]
            yield bytes(-len(view) % ALIGNMENT)

    def _node(self, value: Any, place: str) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$": "float", "value": str(value)}
        if kind in (dict, OrderedDict, list, tuple):
            return self._container(kind, value, place)
        if kind in (bytes, bytearray):
            return {"$": kind.__name__, **self._buffer(bytes(value))}
        if isinstance(value, files.Files):
            return self._kept(value.path, f"files/{len(self._files)}/")
        if isinstance(value, Path):
            return {"$": "path", "value": str(value)}
        return self._object(value, place)

    def _container(self, kind: type, value: Any, place: str) -> Any:
        if kind in (list, tuple):
            items = [self._node(item, f"{place}[{index}]") for index, item in enumerate(value)]
            return items if kind is list else {"$": "tuple", "items": items}
        pairs = [(key, self._node(item, f"{place}[{key!r}]")) for key, item in value.items()]
        if kind is dict and "$" not in value and all(type(key) is str for key in value):
            return dict(pairs)
        named = [[self._node(key, f"{place}: key {key!r}"), item] for key, item in pairs]
        return {"$": "dict" if kind is dict else "ordered", "items": named}

    def _object(self, value: Any, place: str) -> Any:
        if id(value) in self._shared:
            return self._shared[id(value)]
        array = arrays.taken(value, copy=self._copy)
        if array is not None:
            node = {**array[0], **self._buffer(array[1])}
        elif callable(getattr(value, "state_dict", None)) and not isinstance(value, type):
            node = self._node(value.state_dict(), f"{place}.state_dict()")
        else:
            node = {"$": "pickle", **self._buffer(_pickled(value, place))}
        self._shared[id(value)] = node
        self._alive.append(value)
        return node

    def _buffer(self, data: Any) -> dict[str, int]:
        start, size = self._end, len(data)
        self._buffers.append(data)
        self._end += size + -size % ALIGNMENT
        return {"start": start, "size": size}

    def _kept(self, path: str, prefix: str) -> Any:
        is_directory = os.path.isdir(path)
        self._files += files.parts(path, prefix)
        inside = prefix.rstrip("/") if is_directory else prefix + os.path.basename(path)
        return {"$": "files", "path": inside}


def _pickled(value: Any, place: str) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except RecursionError:
        raise
    except Exception as error:
        raise StateError(
            f"{place}, of type {type(value).__name__}, cannot be saved: {error}:"
            " leave it out, or give what it can be made from again"
        ) from error
