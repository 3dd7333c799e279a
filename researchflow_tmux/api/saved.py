"""The checkpoints of a job, or of any directory: what is there, what is sound, and a copy of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from researchflow_tmux import checkpoints
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.checkpoints import CheckpointError, CheckpointStore, DamageError, Entry
from researchflow_tmux.domain.errors import StoreError, UsageError

PROVIDER = "RFSCHED_CHECKPOINT_STORE"


class CheckpointView(msgspec.Struct, kw_only=True):
    """One checkpoint as shown. null = unknown, because it is damaged."""

    name: str
    place: str
    """Path or URL."""
    step: int | None
    saved_at: datetime | None
    bytes: int | None
    metrics: dict[str, float]
    attempt: str | None
    """Tag of the attempt that saved it; null = nobody knows, empty = no job did."""
    problem: str | None
    """What is wrong with it."""


class CheckpointList(msgspec.Struct, kw_only=True):
    """The checkpoints of one place, the one saved last first."""

    place: str
    checkpoints: list[CheckpointView]


@contextmanager
def told_as_ours() -> Iterator[None]:
    """Turn what goes wrong with checkpoints into an error that has an exit code."""
    try:
        yield
    except CheckpointError as error:
        raise StoreError(str(error)) from error


def place_of(workspace: Callable[[], Workspace], target: str) -> str:
    """Path or URL that `target` means: itself if it has a slash, else the place of the job of that name.

    A directory without a slash in its name is found where no job is called so. Raises UsageError.
    """
    if "/" in target or target in (".", ".."):
        return target
    try:
        found = workspace()
        attempt = found.last_attempt(found.job(target))
    except UsageError:
        if os.path.isdir(target):
            return target
        raise
    if attempt is None or attempt.checkpoints is None:
        raise UsageError(f"{target} did not run so far, so it has no checkpoints", hint=f"`rfsched why {target}`")
    return attempt.checkpoints


def listed(place: str) -> CheckpointList:
    """What is at `place` (a store, or one checkpoint), by the manifests alone. Raises StoreError."""
    with told_as_ours():
        store, name = _opened(place)
        found = (entry for entry in checkpoints.listing(store) if name in (None, entry.name))
        return _list(store, found)


def verified(place: str) -> CheckpointList:
    """The same, every byte compared: `problem` says what is damaged. Raises StoreError."""
    with told_as_ours():
        store, name = _opened(place)
        return _list(store, (_checked(store, each) for each in store.names() if name in (None, each)))


def exported(place: str, target: str) -> CheckpointView:
    """Copy the files of the newest sound checkpoint (or of the one at `place`) to a new directory `target`."""
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="name a directory that is not")
    with told_as_ours():
        store, name = _opened(place)
        entry = checkpoints.latest(store, contents=True) if name is None else _checked(store, name)
        if entry is None or entry.manifest is None:
            raise UsageError(f"there is no sound checkpoint at {place}", hint=f"`rfsched checkpoint list {place}`")
        shutil.copytree(store.fetch(entry.name), target)
        return _view(entry)


def _opened(place: str) -> tuple[CheckpointStore, str | None]:
    provider = os.environ.get(PROVIDER) or None
    if os.path.basename(place.rstrip("/")).startswith("ckpt-"):
        return checkpoints.open_checkpoint(place, provider)
    return checkpoints.open_store(place, provider), None


def _checked(store: CheckpointStore, name: str) -> Entry:
    where = f"{store.place}/{name}"
    try:
        return Entry(name=name, place=where, manifest=checkpoints.verify(store, name))
    except DamageError as error:
        return Entry(name=name, place=where, manifest=None, problem=str(error))


def _list(store: CheckpointStore, entries: Iterable[Entry]) -> CheckpointList:
    return CheckpointList(place=store.place, checkpoints=[_view(entry) for entry in entries])


def _view(entry: Entry) -> CheckpointView:
    manifest = entry.manifest
    return CheckpointView(
        name=entry.name,
        place=entry.place,
        step=None if manifest is None else manifest.step,
        saved_at=None if manifest is None else datetime.fromisoformat(manifest.created_at),
        bytes=None if manifest is None else manifest.size,
        metrics={} if manifest is None else dict(manifest.metrics),
        attempt=None if manifest is None else manifest.attempt,
        problem=entry.problem,
    )
