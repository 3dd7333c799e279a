"""From a path or URL to the store there. Other providers are named, never imported before they are needed."""

from __future__ import annotations

import importlib
import os

from . import names
from .errors import CheckpointError
from .local_store import LocalStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .store import CheckpointStore

REMOTE = "researchflow_tmux.checkpoints:FsspecStore"
"""Serves URLs when no other provider is named; the job's Python then needs the package with its extra `remote`."""


def open_store(place: str | os.PathLike[str], provider: str | None = None) -> CheckpointStore:
    """Return the store at a path or URL.

    `provider` is "module:name" of something that takes the place and returns a `CheckpointStore`; without one, paths
    are `LocalStore` and URLs go to fsspec. `CheckpointError` if the provider cannot be imported.
    """
    where = os.fspath(place)
    if not provider and "://" not in where:
        return LocalStore(where)
    module, _, name = (provider or REMOTE).partition(":")
    try:
        factory: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint store at {where} needs {module}:{name}, which cannot be imported: {error}:"
            " install it in the Python that runs the job"
        ) from error
    store: CheckpointStore = factory(where)
    return store


def open_checkpoint(place: str, provider: str | None = None) -> tuple[CheckpointStore, str]:
    """Return (store, name) of the checkpoint at a path or URL; of the newest one if it is the place of a store.

    `CheckpointError` if there is none.
    """
    parent, _, name = place.rstrip("/").rpartition("/")
    if names.order(name) is not None:
        return open_store(parent or ".", provider), name
    store = open_store(place, provider)
    listing = store.names()
    if not listing:
        raise CheckpointError(f"there is no checkpoint at {place}: name one, or a directory that holds some")
    return store, listing[0]
