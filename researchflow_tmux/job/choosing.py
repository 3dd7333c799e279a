"""Which checkpoint to load and which to remove."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import names
from .errors import CheckpointError, DamageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from .manifest import Manifest
    from .store import CheckpointStore

    T = TypeVar("T")

_TRIES = 20


@dataclass(frozen=True)
class Keep:
    """What stays in a store: the `last` ones saved, and the `count` best by the metric `best`, if one is named.

    `mode` is "max" (more is better) or "min". `last` is at least 1, and 2 or more to have one to fall back on.
    """

    last: int = 3
    best: str | None = None
    mode: str = "max"
    count: int = 1

    def __post_init__(self) -> None:
        if self.last < 1 or self.count < 1:
            raise ValueError(f"keep: last={self.last} and count={self.count} must be at least 1")
        if self.mode not in ("max", "min"):
            raise ValueError(f'keep: mode {self.mode!r} must be "max" or "min"')


def surplus(found: Iterable[tuple[str, Manifest | None]], keep: Keep) -> list[str]:
    """Return the names that need not stay, of (name, manifest or None if it is damaged), the newest first.

    Damaged ones do not count among the last; they go when they are older than those.
    """
    found = list(found)
    sound = [(name, manifest) for name, manifest in found if manifest is not None]
    last = [name for name, _ in sound[: keep.last]]
    if not last:
        return []
    kept = {*last, *_best(sound, keep)}
    oldest = found.index(next(pair for pair in found if pair[0] == last[-1]))
    return [name for name, _ in found[oldest + 1 :] if name not in kept]


def _best(sound: list[tuple[str, Manifest]], keep: Keep) -> list[str]:
    if keep.best is None:
        return []
    sign = 1.0 if keep.mode == "max" else -1.0
    scores = [(sign * manifest.metrics.get(keep.best, math.nan), name) for name, manifest in sound]
    ranked = sorted(((score, name) for score, name in scores if not math.isnan(score)), key=lambda pair: -pair[0])
    return [name for _, name in ranked[: keep.count]]


def prune(store: CheckpointStore, keep: Keep) -> list[str]:
    """Remove what need not stay; return the names."""
    gone = surplus(((name, manifest_or_none(store, name)) for name in store.names()), keep)
    for name in gone:
        store.delete(name)
    return gone


def newest(
    store: CheckpointStore, load: Callable[[str], T], order: Callable[[list[str]], list[str]] = list
) -> tuple[T | None, dict[str, str]]:
    """Return what `load(name)` gives for the first sound checkpoint, and why those before it were passed over.

    `order` picks and sorts the candidates of a listing, newest first. None if there are none. Raises `CheckpointError`
    if there are some and all are damaged: beginning again is not for a program to decide.
    """
    for _ in range(_TRIES):
        damaged: dict[str, str] = {}
        candidates = order(store.names())
        for name in candidates:
            try:
                return load(name), damaged
            except DamageError as error:
                damaged[name] = str(error)
                if name not in store.names():
                    break  # another process saved newer ones and removed it meanwhile: list again
        else:
            if not candidates:
                return None, {}
            what = "; ".join(f"{name}: {why}" for name, why in damaged.items())
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints in {store.place} can be used ({what}):"
                " restore one, or remove them to begin again"
            )
    raise CheckpointError(f"the checkpoints in {store.place} change faster than they can be read: try again")


def manifest_or_none(store: CheckpointStore, name: str) -> Manifest | None:
    """Return the manifest of a checkpoint, None if it is damaged."""
    try:
        return store.manifest(name)
    except DamageError:
        return None


def position(name: str, listing: list[str]) -> int:
    """Return how many of a newest-first listing are newer than `name`, whether or not it is still there."""
    mine = names.order(name)
    return sum(1 for other in listing if mine is not None and (names.order(other) or mine) > mine)
