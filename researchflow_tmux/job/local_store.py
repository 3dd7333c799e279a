"""Checkpoints in a directory of a local or network file system."""

from __future__ import annotations

import errno
import os

from . import disk, draft, names
from .errors import CheckpointError, DamageError, reason
from .manifest import FILE, Manifest
from .store import Part, Saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class LocalStore:
    """A `CheckpointStore` in directory `root`, one directory per checkpoint; `root` is created by the first `write`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(root)

    @property
    def place(self) -> str:
        """The directory."""
        return self.root

    def write(
        self, parts: Iterable[Part], *, step: int, metrics: Mapping[str, float] | None = None, attempt: str = ""
    ) -> Saved:
        """Keep a checkpoint; see `CheckpointStore.write`. Raises `CheckpointError` if the disk is full or refuses."""
        try:
            os.makedirs(self.root, exist_ok=True)
            draft.clear_leftovers(self.root)
            with draft.Draft(self.root) as fresh:
                files = {part.path: fresh.write(part) for part in parts}
                manifest = Manifest(step, files, dict(metrics or {}), attempt)
                text = manifest.encode()
                fresh.write(Part(FILE, lambda: iter([text])))
                name = names.following(self.names(), step)
                return Saved(name, fresh.publish(name), manifest)
        except OSError as error:
            advice = "free some space" if error.errno in _FULL else "make it a directory you may write"
            raise CheckpointError(
                f"the checkpoint of step {step} was not saved in {self.root}: {reason(error)};"
                f" those saved before are untouched: {advice}"
            ) from error

    def names(self) -> list[str]:
        """Return the names of all checkpoints, the one saved last first; none if there is no directory yet."""
        try:
            return names.newest_first(os.listdir(self.root))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(
                f"the checkpoints in {self.root} cannot be listed: {reason(error)}: make it a directory you may read"
            ) from error

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a checkpoint; `DamageError` if it has none that is sound."""
        try:
            with open(os.path.join(self.root, name, FILE), "rb") as file:
                return Manifest.decode(file.read())
        except OSError as error:
            raise DamageError(f"its manifest cannot be read: {reason(error)}") from error

    def fetch(self, name: str) -> str:
        """Return the path of the checkpoint: nothing is copied."""
        return os.path.join(self.root, name)

    def delete(self, name: str) -> None:
        """Remove a checkpoint; one that is not there is no error."""
        try:
            if os.path.isdir(os.path.join(self.root, name)):
                draft.retire(self.root, name)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint {name} in {self.root} was not removed: {reason(error)}: remove it by hand"
            ) from error


def verify(directory: str, manifest: Manifest, *, contents: bool = True) -> None:
    """Compare the files of a checkpoint with its manifest; `DamageError` names the first that differs.

    `contents=False` compares sizes alone: quick, and enough to find what a torn write or a full disk leaves.
    """
    for path, facts in manifest.files.items():
        disk.check_size(os.path.join(directory, path), facts)
    if contents:
        for path, facts in manifest.files.items():
            disk.check(os.path.join(directory, path), facts)
