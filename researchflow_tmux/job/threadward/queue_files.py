"""`task_queue/`: which tasks there are, and which of them succeeded or failed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

ALL, SUCCESSFUL, FAILED = "all_tasks.json", "successful_tasks.txt", "failed_tasks.txt"


def tasks(queue: str) -> list[dict[str, Any]]:
    """All tasks. Raises OSError and ValueError."""
    with open(os.path.join(queue, ALL), encoding="utf-8") as file:
        found = json.load(file)
    if not isinstance(found, list):
        raise ValueError(f"{file.name} is no list of tasks")
    return found


def ids(queue: str, name: str) -> list[str]:
    """The ids in one of the two lists."""
    try:
        with open(os.path.join(queue, name), encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        return []


def note(queue: str, task_id: str, succeeded: bool) -> None:
    """Put a task into its list, and out of the other: a task that succeeds later is no failed one any more."""
    with _locked(queue):
        right, wrong = (SUCCESSFUL, FAILED) if succeeded else (FAILED, SUCCESSFUL)
        there = ids(queue, right)
        if task_id not in there:
            write(queue, right, [*there, task_id])
        others = ids(queue, wrong)
        if task_id in others:
            write(queue, wrong, [other for other in others if other != task_id])


def begin(queue: str, succeeded: Iterable[str], again: Iterable[str]) -> None:
    """Make the lists say what is known better: these succeeded, and how these end is open (again)."""
    with _locked(queue):
        good, open_now = dict.fromkeys(succeeded), set(again)
        for name, more in ((SUCCESSFUL, good), (FAILED, {})):
            there = {task_id: None for task_id in ids(queue, name) if task_id not in open_now}
            write(queue, name, [task_id for task_id in {**there, **more} if name == SUCCESSFUL or task_id not in good])


def write(queue: str, name: str, lines: Iterable[str]) -> None:
    """Replace one list, whole or not at all."""
    path = os.path.join(queue, name)
    fresh = f"{path}.{os.getpid()}.tmp"
    with open(fresh, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


@contextlib.contextmanager
def _locked(queue: str) -> Iterator[None]:
    os.makedirs(queue, exist_ok=True)
    with open(os.path.join(queue, ".lock"), "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
