"""What the scheduler tells a job by its environment, and what holds where nobody told anything."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Environment:
    """One field per variable; the comment names it."""

    tag: str = ""  # RFSCHED_ATTEMPT: unique to this attempt; "" outside of a job
    name: str = ""  # RFSCHED_JOB
    attempt: int = 1  # RFSCHED_ATTEMPT_NUMBER, from 1
    output_dir: str = ""  # RFSCHED_OUTPUT_DIR, else the working directory
    checkpoint_dir: str = ""  # RFSCHED_CHECKPOINT_DIR: path or URL
    provider: str | None = None  # RFSCHED_CHECKPOINT_STORE: "module:name" of another kind of store
    resume_from: str | None = None  # RFSCHED_RESUME_FROM: path or URL of a checkpoint, or of a store
    metrics: str | None = None  # RFSCHED_METRICS: file that metrics are appended to
    progress: str | None = None  # RFSCHED_PROGRESS: file that holds the latest progress


def read(variables: Mapping[str, str], argv: Sequence[str] | None = None) -> Environment:
    """Return what the variables say; `argv` (this process's) tells runs by hand apart."""
    tag = variables.get("RFSCHED_ATTEMPT", "")
    argv = sys.argv if argv is None else argv
    name = variables.get("RFSCHED_JOB") or _script(argv)
    fallback = _plain(name) if tag else f"{_plain(name)}-{_digest(argv[1:])}"
    return Environment(
        tag=tag,
        name=name,
        attempt=_number(variables.get("RFSCHED_ATTEMPT_NUMBER")),
        output_dir=variables.get("RFSCHED_OUTPUT_DIR") or os.getcwd(),
        checkpoint_dir=variables.get("RFSCHED_CHECKPOINT_DIR") or os.path.join(os.getcwd(), "checkpoints", fallback),
        provider=variables.get("RFSCHED_CHECKPOINT_STORE") or None,
        resume_from=variables.get("RFSCHED_RESUME_FROM") or None,
        metrics=variables.get("RFSCHED_METRICS") or None,
        progress=variables.get("RFSCHED_PROGRESS") or None,
    )


def _script(argv: Sequence[str]) -> str:
    """Return the name of the script without its ending; of an interactive session "session"."""
    name = os.path.splitext(os.path.basename(argv[0] if argv else ""))[0]
    return "session" if name in ("", "-", "-c", "-m") else name


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "job"


def _digest(arguments: Sequence[str]) -> str:
    """Six digits that differ for other arguments: another experiment must not resume from this one's checkpoints."""
    return hashlib.sha256("\0".join(arguments).encode(errors="surrogateescape")).hexdigest()[:6]


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and int(text) else 1
