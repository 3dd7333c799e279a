"""The end of what the job printed, kept in memory: a log may be switched off, capped or on a full disk."""

from __future__ import annotations

SIZE = 1 << 16


class Tail:
    """Keeps at least the last `size` bytes it was given."""

    __slots__ = ("_kept", "_size")

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        """Take in the next piece."""
        self._kept += data[-2 * self._size :]
        if len(self._kept) > 2 * self._size:
            del self._kept[: -self._size]

    def read(self) -> bytes:
        """Return the last `size` bytes, or all there were."""
        return bytes(self._kept[-self._size :])
