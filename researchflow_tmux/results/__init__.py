"""Results that are found again: entries of metadata in a plain JSON index, with their files beside it.

A library that stands alone:

    from researchflow_tmux.results import MetadataStorage

    storage = MetadataStorage("results")
    uuid = storage.create_entry(metadata={"model": "bert", "lr": 1e-4}, attachments={"weights": "bert/weights.pt"})
    storage.update_entry(uuid, extra_info={"accuracy": 0.92, "finished": True})
    best = storage.find({"model": "bert", "accuracy": {">": 0.9}}, sort="-accuracy", limit=1)
"""

from __future__ import annotations

from researchflow_tmux.results.errors import (
    EntryError,
    IndexDamaged,
    NotStorable,
    QueryError,
    ResultsError,
    StorageBusy,
    StorageUnusable,
)
from researchflow_tmux.results.garbage import Garbage
from researchflow_tmux.results.storage import MetadataStorage
from researchflow_tmux.results.verification import Finding

__all__ = [
    "EntryError",
    "Finding",
    "Garbage",
    "IndexDamaged",
    "MetadataStorage",
    "NotStorable",
    "QueryError",
    "ResultsError",
    "StorageBusy",
    "StorageUnusable",
]
