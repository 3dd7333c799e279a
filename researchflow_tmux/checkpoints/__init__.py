"""Checkpoint stores: atomic, checksummed, pluggable. Usable without the scheduler and without a job.

    from researchflow_tmux import checkpoints

    store = checkpoints.open_store("s3://bucket/experiment")
    newest = checkpoints.latest(store)

The form on disk and the local store are in `researchflow_tmux.job`, because a job's Python may have nothing but that;
here is what looks at stores from outside, and the store over fsspec.
"""

from researchflow_tmux.checkpoints.commit import commit
from researchflow_tmux.checkpoints.listing import Entry, latest, listing, verify
from researchflow_tmux.checkpoints.remote import FsspecStore
from researchflow_tmux.job.checkpointer import Checkpointer, Restored
from researchflow_tmux.job.choosing import Keep, prune
from researchflow_tmux.job.errors import CheckpointError, DamageError, StateError
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import FileFacts, Manifest
from researchflow_tmux.job.opening import open_checkpoint, open_store
from researchflow_tmux.job.store import CheckpointStore, Part, Saved

__all__ = [
    "CheckpointError",
    "CheckpointStore",
    "Checkpointer",
    "DamageError",
    "Entry",
    "FileFacts",
    "FsspecStore",
    "Keep",
    "LocalStore",
    "Manifest",
    "Part",
    "Restored",
    "Saved",
    "StateError",
    "commit",
    "latest",
    "listing",
    "open_checkpoint",
    "open_store",
    "prune",
    "verify",
]
