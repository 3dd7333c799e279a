"""Names that tmux and file systems allow, made so that two jobs never share one."""

from __future__ import annotations

import re
import zlib

MAX_SLUG = 100
"""Longer names are cut and given a hash."""

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")


def short_hash(text: str) -> str:
    """Six hex digits that name `text`: for telling names apart, not for security."""
    return f"{zlib.crc32(text.encode('utf-8', 'surrogateescape')) & 0xFFFFFF:06x}"


def clean(name: str, limit: int = MAX_SLUG) -> str:
    """`name` where it is allowed as it is, else its cleaned form with six hex digits of its hash.

    Session names are `[A-Za-z0-9][A-Za-z0-9_-]*`: tmux turns `.` and `:` into `_` without a word, and `=` `@` `$`
    mean something in its targets.
    """
    if len(name) <= limit and _ALLOWED.fullmatch(name):
        return name
    safe = _FORBIDDEN.sub("_", name)[: limit - 7].rstrip("_") or "job"
    if not safe[0].isalnum():
        safe = f"j{safe}"[: limit - 7]
    return f"{safe}_{short_hash(name)}"


def gpu_suffix(indices: tuple[int, ...]) -> str:
    """`gpu0`, `gpu0-1`, or `cpu` for a job without a GPU."""
    return "gpu" + "-".join(str(index) for index in indices) if indices else "cpu"


def session_name(prefix: str, slug: str, indices: tuple[int, ...]) -> str:
    """`{worker_prefix or task_name}_{job}_gpu{N}`: what a person types after `tmux attach -t`."""
    return f"{prefix}_{slug}_{gpu_suffix(indices)}"
