"""Memory while very many lasting objects are made at once: no collection meanwhile, and the rest given back after."""

from __future__ import annotations

import contextlib
import ctypes
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


def give_back() -> None:
    """Have the C library return to the system what was freed: it keeps 0.3 KiB a job of a large queueing otherwise.

    Where the C library knows no such call, nothing happens.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
