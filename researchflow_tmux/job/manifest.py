"""The manifest: the small JSON file that makes a directory of files a checkpoint.

It is written last and lists every other file with its size and SHA-256, and it carries the SHA-256 of itself: a
directory whose manifest is sound and whose files agree with it is the checkpoint that was saved, byte for byte.

SHA-256 is not the fastest checksum, but with the instructions that processors have had for years it outruns the disks
(1.2 GB/s and more), it is in the standard library, and anybody can repeat it with `sha256sum`.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import time
from dataclasses import dataclass, field

from .errors import DamageError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SCHEMA = "rfsched.checkpoint/1"
FILE = "rfsched-manifest.json"


@dataclass(frozen=True)
class FileFacts:
    """What the manifest knows of one file: `size` in bytes, `sha256` in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One checkpoint: where in the training it was saved, by whom, and the files it consists of.

    `files` maps paths relative to the checkpoint, with `/`, to their facts; `created_at` is UTC in ISO form; `attempt`
    is the tag of the attempt that saved it, "" outside of a job.
    """

    step: int
    files: Mapping[str, FileFacts]
    metrics: Mapping[str, float] = field(default_factory=dict)
    attempt: str = ""
    created_at: str = field(default_factory=lambda: utc(time.time()))

    @property
    def size(self) -> int:
        """Bytes of all its files, the manifest apart."""
        return sum(facts.size for facts in self.files.values())

    def encode(self) -> bytes:
        """Return the manifest as JSON text that `decode` takes back."""
        body = {
            "schema": SCHEMA,
            "step": self.step,
            "created_at": self.created_at,
            "attempt": self.attempt,
            "metrics": {name: jsonable(value) for name, value in self.metrics.items()},
            "files": {path: {"size": facts.size, "sha256": facts.sha256} for path, facts in self.files.items()},
        }
        return json.dumps({**body, "sha256": _digest(body)}, indent=1).encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Return the manifest of this text; DamageError says what is wrong with it."""
        try:
            body = json.loads(data)
            claimed = body.pop("sha256")
            schema = body["schema"]
            if schema != SCHEMA:
                raise DamageError(f"its manifest is of the form {schema!r}, not {SCHEMA}: a newer version may read it")
            if claimed != _digest(body):
                raise DamageError("its manifest was altered: it does not agree with its own checksum")
            files = {safe(path): FileFacts(int(f["size"]), str(f["sha256"])) for path, f in body["files"].items()}
            metrics = {name: float(value) for name, value in body["metrics"].items()}
            return cls(int(body["step"]), files, metrics, str(body["attempt"]), str(body["created_at"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamageError(f"its manifest is torn or no manifest ({type(error).__name__}: {error})") from None


def safe(path: str) -> str:
    """Return `path` if it stays inside the directory it is relative to; else DamageError."""
    if not path or path.startswith("/") or "\0" in path or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise DamageError(f"its manifest names a file outside of the checkpoint: {path!r}")
    return path


def utc(seconds: float) -> str:
    """Return a time since the epoch in ISO form, UTC, with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def jsonable(value: float) -> float | str:
    """Return a number as JSON can hold it; what is not finite becomes "nan", "inf" or "-inf" (`float` reads it)."""
    return value if math.isfinite(value) else str(value)


def step_number(step: Any) -> int:
    """Return `step` as an int; StateError unless it is a whole number from 0 (NumPy's included)."""
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise StateError(f"step {step!r} is no whole number from 0: count steps, batches or epochs")
    return number


def _digest(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
