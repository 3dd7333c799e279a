"""What a place that keeps checkpoints must be able to do."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from .manifest import Manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Part(NamedTuple):
    """One file of a checkpoint to be: its path relative to the checkpoint, and a function that yields its bytes."""

    path: str
    pieces: Callable[[], Iterator[Any]]
    """Yields objects with a contiguous buffer (bytes, memoryview), a few MiB each."""


class Saved(NamedTuple):
    """A checkpoint that is safely in its store: its name there, where that is (path or URL), and its manifest."""

    name: str
    place: str
    manifest: Manifest


class CheckpointStore(Protocol):
    """Keeps checkpoints: files under a name, with a manifest. Several processes may use one store at a time.

    Errors of a store are `CheckpointError`; `DamageError`, its subclass, means this checkpoint is of no use but another
    may be.
    """

    @property
    def place(self) -> str:
        """Path or URL of the store, for people."""
        ...

    def write(
        self, parts: Iterable[Part], *, step: int, metrics: Mapping[str, float] | None = None, attempt: str = ""
    ) -> Saved:
        """Keep a checkpoint under a name newer than every other. Durable on return; on an error, as if never begun."""
        ...

    def names(self) -> list[str]:
        """Names of all checkpoints, the one saved last first. An unfinished one is not among them."""
        ...

    def manifest(self, name: str) -> Manifest:
        """The manifest of a checkpoint; `DamageError` if it has none that is sound."""
        ...

    def fetch(self, name: str) -> str:
        """Path of a local directory with the checkpoint's files, unchecked. The caller must not change them.

        Raises `DamageError` if a file is missing, `CheckpointError` if the place does not answer.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove a checkpoint; one that is not there is no error. A reader never takes a half removed one for sound."""
        ...
