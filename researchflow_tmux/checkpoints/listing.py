"""Looking at a store from outside: what is there, what is sound, what the next attempt resumes from."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_tmux.job import choosing, local_store
from researchflow_tmux.job.errors import DamageError
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import Manifest
from researchflow_tmux.job.store import CheckpointStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One checkpoint of a store."""

    name: str
    place: str
    """Path or URL, as RFSCHED_RESUME_FROM takes it."""
    manifest: Manifest | None
    """None if it is damaged."""
    problem: str | None = None
    """What is wrong with it."""


def listing(store: CheckpointStore) -> list[Entry]:
    """Return all checkpoints, the one saved last first, judged by their manifests alone. Cheap."""
    return [_entry(store, name) for name in store.names()]


def latest(store: CheckpointStore, *, contents: bool = False) -> Entry | None:
    """Return the newest sound checkpoint, None if there is none; its `problem` says which newer ones are damaged.

    Sizes are compared (in a local directory: one look per file), with `contents` every byte. `CheckpointError` if the
    place does not answer, or if there are checkpoints and all are damaged.
    """

    def load(name: str) -> Entry:
        entry = _entry(store, name)
        if entry.manifest is None:
            raise DamageError(entry.problem)
        if contents or isinstance(store, LocalStore):
            local_store.verify(store.fetch(name), entry.manifest, contents=contents)
        return entry

    found, damaged = choosing.newest(store, load)
    if found is None or not damaged:
        return found
    problem = "; ".join(f"{name}: {why}" for name, why in damaged.items())
    return Entry(name=found.name, place=found.place, manifest=found.manifest, problem=problem)


def verify(store: CheckpointStore, name: str) -> Manifest:
    """Compare every byte of a checkpoint with its manifest, and return that; `DamageError` says what differs."""
    manifest = store.manifest(name)
    local_store.verify(store.fetch(name), manifest)
    return manifest


def _entry(store: CheckpointStore, name: str) -> Entry:
    place = f"{store.place}/{name}"
    try:
        return Entry(name=name, place=place, manifest=store.manifest(name))
    except DamageError as error:
        return Entry(name=name, place=place, manifest=None, problem=str(error))
