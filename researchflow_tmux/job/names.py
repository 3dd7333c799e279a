"""Names of checkpoints: `ckpt-00000012-step-3400-a1b2c3`.

The first number counts the checkpoints of a store, so "newest" means saved last, whatever clocks and steps say: a
training that went back to an earlier step goes on from there. The end keeps two writers apart who save at one moment.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FORM = re.compile(r"ckpt-(\d{8,18})-step-(\d{1,30})-([0-9a-f]{6})")


def order(name: str) -> tuple[int, int, str] | None:
    """Return what checkpoints are sorted by, None for a name that is none of a checkpoint."""
    match = _FORM.fullmatch(name)
    return (int(match[1]), int(match[2]), match[3]) if match else None


def newest_first(names: Iterable[str]) -> list[str]:
    """Return the names that are checkpoints', the one saved last first."""
    known = [(key, name) for name in names if (key := order(name)) is not None]
    return [name for _, name in sorted(known, reverse=True)]


def following(names: Iterable[str], step: int) -> str:
    """Return a name for the next checkpoint of a store that has these."""
    latest = max((key[0] for name in names if (key := order(name)) is not None), default=0)
    return f"ckpt-{latest + 1:08d}-step-{step}-{os.urandom(3).hex()}"
