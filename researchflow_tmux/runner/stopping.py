"""Who asked an attempt to stop and why: `ATTEMPT_DIR/stop`, written before SIGTERM goes to the runner."""

from __future__ import annotations

import os

from researchflow_tmux.runner import files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_stop(attempt_dir: str, by: str, reason: str, *, save: bool = False, save_s: float | None = None) -> None:
    """Record that `by` ("user", "scheduler", …) wants the attempt stopped; atomic, the last writer counts.

    `save`: the job is to go on later, so it may save a checkpoint first (SIGUSR1, if it has a handler for that);
    `save_s`: for so long, if that is more than a few seconds.

    Then send SIGTERM to the pid of the claim. A runner that has not started its job yet reads the file itself and ends
    without running it.
    """
    content = {"by": by, "reason": reason, "save": save, "save_s": save_s}
    files.replace(os.path.join(attempt_dir, "stop"), jsontext.dumps(content).encode())


def read_stop(attempt_dir: str) -> tuple[str, str] | None:
    """Return (by, reason) of the stop request, None when there is none or it cannot be read."""
    content = _read(attempt_dir)
    if content is None:
        return None
    return str(content.get("by") or "signal"), str(content.get("reason") or "")


def save_first(attempt_dir: str) -> bool:
    """Tell whether the request allows the job to save a checkpoint before it is told to end."""
    return bool((_read(attempt_dir) or {}).get("save"))


def save_s(attempt_dir: str) -> float | None:
    """Return how many seconds the request gives the job to save itself; None = no more than usual."""
    found = (_read(attempt_dir) or {}).get("save_s")
    return float(found) if isinstance(found, int | float) and found >= 0 else None


def _read(attempt_dir: str) -> dict[str, Any] | None:
    return jsontext.load_dict(files.read(os.path.join(attempt_dir, "stop")) or b"")
