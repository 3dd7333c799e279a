"""Reading a checkpoint back: every byte is compared with the manifest on its way in."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

from . import arrays, disk, files
from .errors import CheckpointError, DamageError
from .manifest import safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .manifest import Manifest


def state(directory: str, manifest: Manifest, *, allow_pickle: bool = True) -> Any:
    """Return the state of the checkpoint in `directory`, whose manifest this is.

    A checkpoint without a state of ours (another program wrote it) is the `Path` of its directory. Unpickling runs
    what the checkpoint's author wants: with `allow_pickle=False` a checkpoint that needs it raises `CheckpointError`.
    `DamageError` if any file is not what the manifest describes.
    """
    found = dict(manifest.files)
    text = found.pop(files.STATE_FILE, None)
    buffers = found.pop(files.BUFFER_FILE, None)
    for path, facts in found.items():
        disk.check(os.path.join(directory, path), facts)
    if text is None:
        return Path(directory)
    tree = disk.read(os.path.join(directory, files.STATE_FILE), text)
    data = disk.read(os.path.join(directory, files.BUFFER_FILE), buffers) if buffers else bytearray()
    try:
        return _Reader(directory, memoryview(data), allow_pickle).value(json.loads(bytes(tree))["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamageError(f"{files.STATE_FILE} describes no state ({type(error).__name__}: {error})") from error


class _Reader:
    def __init__(self, directory: str, data: memoryview, allow_pickle: bool) -> None:
        self._directory = directory
        self._data = data
        self._allow_pickle = allow_pickle

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.value(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("$")
        if kind is None:
            return {key: self.value(item) for key, item in node.items()}
        return self._tagged(kind, node)

    def _tagged(self, kind: str, node: dict[str, Any]) -> Any:
        if kind in ("tuple", "dict", "ordered"):
            return self._container(kind, node["items"])
        if kind in ("bytes", "bytearray"):
            raw = self._raw(node)
            return bytes(raw) if kind == "bytes" else bytearray(raw)
        if kind in ("array", "scalar", "tensor"):
            return arrays.restore(node, self._raw(node))
        if kind == "float":
            return float(node["value"])
        if kind == "path":
            return Path(node["value"])
        if kind == "files":
            return Path(self._directory, safe(node["path"])) if node["path"] else Path(self._directory)
        if kind == "pickle":
            return self._unpickle(self._raw(node))
        raise ValueError(f"unknown kind {kind!r}: a newer version may know it")

    def _container(self, kind: str, items: list[Any]) -> Any:
        if kind == "tuple":
            return tuple(self.value(item) for item in items)
        pairs = [(self.value(key), self.value(item)) for key, item in items]
        return dict(pairs) if kind == "dict" else OrderedDict(pairs)

    def _raw(self, node: dict[str, Any]) -> memoryview:
        start, size = int(node["start"]), int(node["size"])
        if not 0 <= start <= start + size <= len(self._data):
            raise ValueError(f"{size} bytes from {start} on, of {len(self._data)}")
        return self._data[start : start + size]

    def _unpickle(self, raw: memoryview) -> Any:
        if not self._allow_pickle:
            raise CheckpointError(
                "this checkpoint holds pickled objects, which run code when loaded: load it with allow_pickle=True"
                " if you trust whoever wrote it"
            )
        try:
            return pickle.loads(raw)  # noqa: S301 - the caller allowed it; the manifest says nobody altered it
        except Exception as error:
            raise CheckpointError(
                f"an object in this checkpoint cannot be made again: {type(error).__name__}: {error}:"
                " its class must be importable under the name it had"
            ) from error
