"""Checkpoints wherever fsspec reaches: object stores, other hosts, memory.

Such places have no rename of directories, so a checkpoint begins to exist with its manifest, which is written last and
in one piece: what has none is unfinished and never listed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from researchflow_tmux.job import names
from researchflow_tmux.job.errors import CheckpointError, DamageError, reason
from researchflow_tmux.job.manifest import FILE, FileFacts, Manifest
from researchflow_tmux.job.store import Part, Saved


class FsspecStore:
    """A `CheckpointStore` at a URL such as `s3://bucket/path`; `options` are those of the file system.

    Needs the extra `remote`, and what the kind of URL needs beyond it (s3fs, gcsfs, …): `CheckpointError` without.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._url = url.rstrip("/")
        try:
            from fsspec.core import url_to_fs

            self._fs, root = url_to_fs(self._url, **options)
        except (ImportError, ValueError) as error:
            raise CheckpointError(f"{url} cannot be used: {error}: install researchflow_tmux[remote]") from error
        self._root = str(root).rstrip("/")

    @property
    def place(self) -> str:
        """The URL."""
        return self._url

    def write(
        self, parts: Iterable[Part], *, step: int, metrics: Mapping[str, float] | None = None, attempt: str = ""
    ) -> Saved:
        """Keep a checkpoint; see `CheckpointStore.write`. `CheckpointError` if the place refuses or does not answer."""
        name = ""
        try:
            name = names.following(self._listed(), step)
            files = {part.path: self._write(name, part) for part in parts}
            manifest = Manifest(step, files, dict(metrics or {}), attempt)
            self._fs.pipe_file(self._path(name, FILE), manifest.encode())
            return Saved(name, f"{self._url}/{name}", manifest)
        except CheckpointError:
            self._abandon(name)
            raise
        except Exception as error:
            self._abandon(name)
            raise self._trouble(f"the checkpoint of step {step} was not saved", error) from error

    def names(self) -> list[str]:
        """Return the names of all finished checkpoints, the one saved last first."""
        try:
            return [name for name in self._listed() if self._fs.exists(self._path(name, FILE))]
        except Exception as error:
            raise self._trouble("the checkpoints cannot be listed", error) from error

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a checkpoint; `DamageError` if it has none that is sound."""
        try:
            text = self._fs.cat_file(self._path(name, FILE))
        except FileNotFoundError as error:
            raise DamageError("it has no manifest: its writing or its removal did not end") from error
        except Exception as error:
            raise self._trouble(f"the manifest of {name} cannot be read", error) from error
        return Manifest.decode(text)

    def fetch(self, name: str) -> str:
        """Copy a checkpoint into a temporary directory, which goes with this object, and return its path."""
        manifest = self.manifest(name)
        directory = tempfile.mkdtemp(prefix="rfsched-checkpoint-")
        weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        try:
            for path in manifest.files:
                local = os.path.join(directory, path)
                os.makedirs(os.path.dirname(local), exist_ok=True)
                self._fs.get_file(self._path(name, path), local)
        except FileNotFoundError as error:
            raise DamageError(f"a file is missing: {reason(error)}") from error
        except Exception as error:
            raise self._trouble(f"{name} cannot be copied to {directory}", error) from error
        return directory

    def delete(self, name: str) -> None:
        """Remove a checkpoint, its manifest first: from then on nobody takes it for one."""
        try:
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._path(name, FILE))
            with suppress(FileNotFoundError):
                self._fs.rm(self._path(name), recursive=True)
        except Exception as error:
            raise self._trouble(f"{name} was not removed", error) from error

    def _listed(self) -> list[str]:
        self._fs.invalidate_cache()
        try:
            return names.newest_first(os.path.basename(str(entry)) for entry in self._fs.ls(self._root, detail=False))
        except FileNotFoundError:
            return []

    def _write(self, name: str, part: Part) -> FileFacts:
        digest, size = hashlib.sha256(), 0
        path = self._path(name, part.path)
        self._fs.makedirs(os.path.dirname(path), exist_ok=True)
        with self._fs.open(path, "wb") as file:
            for piece in part.pieces():
                digest.update(piece)
                size += len(piece)
                file.write(piece)
        return FileFacts(size, digest.hexdigest())

    def _path(self, *names_inside: str) -> str:
        return "/".join((self._root, *names_inside))

    def _abandon(self, name: str) -> None:
        """Clear away what was written; if that fails too it has no manifest, so nobody takes it for a checkpoint."""
        if name:
            with suppress(Exception):
                self._fs.rm(self._path(name), recursive=True)

    def _trouble(self, what: str, error: Exception) -> CheckpointError:
        return CheckpointError(f"{what}, at {self._url}: {reason(error)}: see that the place answers and you may write")
