"""What people do to GPUs by hand, and what a file of GPUs says: drain, enable, kill. Pure, like `by_hand` for jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.events import GpuChanged
from researchflow_tmux.domain.gpus import GpuCondition
from researchflow_tmux.engine import by_hand
from researchflow_tmux.engine.workload import Book


class Steering(msgspec.Struct, frozen=True, kw_only=True):
    """One request: what to do with which GPUs."""

    action: Literal["drain", "enable", "kill"]
    gpus: dict[str, int]
    """Index by UUID."""
    requeue: bool = False
    """With kill: its jobs are queued again instead of cancelled."""


class Steered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of them: indices of GPUs, names of jobs."""

    drained: list[int] = []
    enabled: list[int] = []
    unchanged: list[int] = []
    """They were so already."""
    still_drained: dict[str, str] = {}
    """By index, why a GPU that was enabled is not used all the same."""
    running: list[str] = []
    """Jobs that run on drained GPUs, to their ends."""
    stopping: list[str] = []
    """Jobs that were told to end."""


def steer(book: Book, wanted: Steering, by: str, grace_s: float) -> Steered:
    """Do what is asked, with `by` in the history."""
    change = _enable if wanted.action == "enable" else _drain
    changed: list[int] = []
    unchanged: list[int] = []
    kept: dict[str, str] = {}
    for uuid, index in wanted.gpus.items():
        before = condition(book, uuid, index)
        after = change(book, before, by)
        (unchanged if after == before else changed).append(index)
        if wanted.action == "enable" and not after.usable:
            kept[str(index)] = after.why
    jobs = jobs_on(book, wanted.gpus)
    if wanted.action == "kill":
        end = by_hand.requeue if wanted.requeue else by_hand.cancel
        end(book, jobs, by="user", grace_s=grace_s)
    names = [book.workload.jobs[job_id].name for job_id in jobs]
    enable = wanted.action == "enable"
    return Steered(
        drained=[] if enable else changed,
        enabled=changed if enable else [],
        unchanged=unchanged,
        still_drained=kept,
        running=names if wanted.action == "drain" else [],
        stopping=names if wanted.action == "kill" else [],
    )


def condition(book: Book, uuid: str, index: int) -> GpuCondition:
    """What is decided about a GPU so far."""
    known = book.workload.gpus.get(uuid)
    return GpuCondition(uuid=uuid, index=index) if known is None else replace(known, index=index)


def jobs_on(book: Book, uuids: Iterable[str]) -> list[int]:
    """Ids of the jobs with a live attempt on any of the GPUs, ascending."""
    wanted = set(uuids)
    attempts = book.workload.attempts.values()
    found = {attempt.job_id for attempt in attempts if wanted & {gpu.uuid for gpu in attempt.allocation.gpus}}
    return sorted(job_id for job_id in found if book.workload.live_attempt(job_id) is not None)


def list_gpus(book: Book, present: Mapping[str, int], listed: Callable[[str, int], bool] | None, file: str) -> None:
    """Take over a file of GPUs: those of `present` (index by UUID) that it leaves out are drained, the others are not.

    `listed` None = there is no such file, and no restriction.
    """
    for uuid, index in present.items():
        before = condition(book, uuid, index)
        unlisted = file if listed is not None and not listed(uuid, index) else None
        if before.unlisted != unlisted:
            text = f"drained: {file} leaves it out" if unlisted else f"is no longer left out by {before.unlisted}"
            _change(book, replace(before, unlisted=unlisted), text, by=file)


def _drain(book: Book, gpu: GpuCondition, by: str) -> GpuCondition:
    if gpu.drained_by is not None:
        return gpu
    return _change(book, replace(gpu, drained_by=by, drained_at=book.now), f"drained by {by}", by=by)


def _enable(book: Book, gpu: GpuCondition, by: str) -> GpuCondition:
    """Also a lost one: whoever says so has looked at it. A file that leaves it out has the last word."""
    if gpu.drained_by is None and gpu.lost_at is None:
        return gpu
    after = GpuCondition(uuid=gpu.uuid, index=gpu.index, unlisted=gpu.unlisted)
    return _change(book, after, f"enabled by {by}", by=by)


def _change(book: Book, gpu: GpuCondition, text: str, *, by: str) -> GpuCondition:
    book.apply(GpuChanged(gpu=gpu, text=text, by=by))
    return gpu
