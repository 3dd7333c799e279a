"""What every test may use: waiting for a fact, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T | None], timeout_s: float = 10.0, what: str = "") -> T:
    """Return the first truthy value of `check()`; raise AssertionError after `timeout_s` seconds.

    An exception of `check` counts as "not yet" until the time is over and is then the cause of the error.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = 0.002
    while True:
        error: Exception | None = None
        try:
            value = check()
            if value:
                return value
        except Exception as caught:
            value, error = None, caught
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what or check} (last: {value!r})") from error
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
