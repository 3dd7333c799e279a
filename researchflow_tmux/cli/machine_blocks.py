"""The picture of `rfsched status --all`: workspaces of the machine, and who has which GPU."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from researchflow_tmux.api.machine import GpuTaker, MachineView, MachineWorkspace
from researchflow_tmux.cli.layout import Block, Cell, Line, Table, line
from researchflow_tmux.cli.output import duration, moment


def picture(view: MachineView, now: datetime) -> list[Block]:
    """Everything."""
    blocks: list[Block] = []
    if view.workspaces:
        heads = ("WORKSPACE", "USER", "SCHEDULER", "RUNNING", "WAITING", "FAILED", "GPU", "DUE")
        rows = [tuple(Cell(head, "dim") for head in heads)]
        rows += [_row(each, now) for each in view.workspaces]
        blocks.append(Table(rows, give=(0,), right=frozenset((3, 4, 5))))
    else:
        blocks.append(line(f"no scheduler of this machine's GPUs has said anything so far ({view.register})"))
        blocks.append(line("workspaces with simulated GPUs keep to themselves", "dim"))
    gpus = [gpu for gpu in view.gpus if gpu.takers or gpu.index is not None]
    if gpus:
        rows = [tuple(Cell(head, "dim") for head in ("GPU", "FREE", "WHO HAS IT"))]
        for gpu in gpus:
            free = max(1.0 - sum(taker.share for taker in gpu.takers), 0.0)
            name = gpu.uuid if gpu.index is None else str(gpu.index)
            rows.append((Cell(name, "bold"), Cell(f"{free:.0%}"), Cell(", ".join(map(_taker, gpu.takers)) or "nobody")))
        blocks += [line(), Table(rows, give=(2,))]
    blocks += list(_unreadable(view))
    return blocks


def _row(each: MachineWorkspace, now: datetime) -> tuple[Cell, ...]:
    ago = duration((now - each.said_at).total_seconds())
    gpus = ",".join(map(str, each.gpus)) + (" (simulated)" if each.simulated and each.gpus else "")
    return (
        Cell(each.path, "bold" if each.mine else ""),
        Cell(each.user),
        Cell("runs", "green") if each.scheduler else Cell(f"none for {ago}", "yellow"),
        Cell(str(each.running)),
        Cell(str(each.waiting)),
        Cell(str(each.failed), "red" if each.failed else ""),
        Cell(gpus),
        Cell(moment(each.next_deadline, now)),
    )


def _taker(taker: GpuTaker) -> str:
    user = f"{taker.user}: " if taker.user else ""
    part = "" if taker.share >= 1 else f" ({taker.share:.0%})"
    return f"{user}{taker.session or taker.holder}{part}"


def _unreadable(view: MachineView) -> Iterator[Block]:
    if view.unreadable:
        yield line()
    for each in view.unreadable:
        yield Line((Cell("cannot be read: ", "yellow"), Cell(each)))
