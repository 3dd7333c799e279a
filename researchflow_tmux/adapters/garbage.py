"""Python's collector of circular garbage, kept out of the way while very many lasting objects are made at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection meanwhile: walking a growing heap of 100 000 jobs again and again doubles the time.

    Several threads may be in one at a time; it begins again with the end of the first of them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
