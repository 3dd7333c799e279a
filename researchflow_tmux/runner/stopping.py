"""Who asked an attempt to stop and why: `ATTEMPT_DIR/stop`, written before SIGTERM goes to the runner."""

from __future__ import annotations

import os

from researchflow_tmux.runner import files, jsontext


def write_stop(attempt_dir: str, by: str, reason: str) -> None:
    """Record that `by` ("user", "scheduler", …) wants the attempt stopped; atomic, the last writer counts.

    Then send SIGTERM to the pid of the claim. A runner that has not started its job yet reads the file itself and ends
    without running it.
    """
    files.replace(os.path.join(attempt_dir, "stop"), jsontext.dumps({"by": by, "reason": reason}).encode())


def read_stop(attempt_dir: str) -> tuple[str, str] | None:
    """Return (by, reason) of the stop request, None when there is none or it cannot be read."""
    content = jsontext.load_dict(files.read(os.path.join(attempt_dir, "stop")) or b"")
    if content is None:
        return None
    return str(content.get("by") or "signal"), str(content.get("reason") or "")
