"""What can go wrong with a checkpoint.

CheckpointError      it could not be saved, found or loaded
├── DamageError      its files are not the ones its manifest describes
└── StateError       a value of the state cannot be stored
"""

from __future__ import annotations


class CheckpointError(Exception):
    """A checkpoint could not be saved, found or loaded; the message says which, why and what to do."""


class DamageError(CheckpointError):
    """A checkpoint is not what its manifest describes: torn, altered or incomplete."""


class StateError(CheckpointError):
    """A value of the state cannot be stored; the message names the value by its place in the state."""


def reason(error: BaseException) -> str:
    """Return what an error says, without the number and the quotes of an OSError."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
