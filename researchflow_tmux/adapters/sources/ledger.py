"""What we last wrote into a user's file: only compared with that can a change be told to be the user's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

import msgspec

from researchflow_tmux.adapters.files import write_atomic

_decode = msgspec.json.Decoder(dict[str, str]).decode


class Ledger:
    """The notes on one file of a user, kept in a private directory. They are whole or not there, and durable."""

    def __init__(self, directory: str, path: str) -> None:
        """`directory` is made when something is noted; `path` names the user's file, relative to the workspace."""
        self._directory = directory
        digest = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
        self.path = os.path.join(directory, f"{digest}.json")

    def load(self) -> dict[str, str]:
        """What was noted last; empty if nothing was, or if it cannot be understood."""
        try:
            with open(self.path, "rb") as file:
                return _decode(file.read())
        except (OSError, msgspec.DecodeError):
            return {}

    def save(self, notes: Mapping[str, str]) -> None:
        """Note it; on disk on return. Raises OSError."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        write_atomic(self.path, msgspec.json.encode(notes))

    def forget(self) -> None:
        """Nothing is noted any more (the file was archived)."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
