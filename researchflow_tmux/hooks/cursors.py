"""Up to which entry of the history each hook has been told: durable, so that nothing is left out or told again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection

import msgspec

from researchflow_tmux.adapters.files import write_atomic
from researchflow_tmux.domain.hooks import Hook, HookEvent


class _File(msgspec.Struct, kw_only=True):
    schema: str = "rfsched.hook-cursors/1"
    targets: dict[str, int] = {}


def target_of(event: HookEvent, hook: Hook) -> str:
    """What a hook goes by: one that is changed is another, and begins anew."""
    words = msgspec.json.encode([event, hook.command, hook.url])
    return f"{event}-{hashlib.sha256(words).hexdigest()[:16]}"


class Cursors:
    """The file; safe for the threads of one process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._targets = _load(path)

    def begin(self, targets: Collection[str], now_at: int) -> None:
        """Keep these hooks only; one that is new begins with what happens after entry `now_at`."""
        with self._lock:
            # A history that is shorter than what was told of it is another one.
            self._targets = {target: min(self._targets.get(target, now_at), now_at) for target in targets}
            self._save()

    def of(self, target: str) -> int:
        """The last entry this hook has been told of (or that was none of its business)."""
        return self._targets[target]

    def move(self, target: str, seq: int) -> None:
        """Everything up to `seq` is told. Raises OSError when that cannot be noted."""
        with self._lock:
            if target in self._targets and seq > self._targets[target]:
                self._targets[target] = seq
                self._save()

    def _save(self) -> None:
        write_atomic(self._path, msgspec.json.encode(_File(targets=self._targets)), durable=False)


def _load(path: str) -> dict[str, int]:
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=_File).targets
    except (OSError, msgspec.MsgspecError):
        return {}
