"""The picture of `rfsched gpus`: one line a GPU, why some are not used, and other people's processes."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.api.gpu_history import GpuHistory, busy_pct, columns
from researchflow_tmux.api.gpus import GpuDetail, GpusView
from researchflow_tmux.cli.layout import Block, Cell, Line, Table, bar, line
from researchflow_tmux.cli.status_blocks import load_colour

COLOURS = {"ok": "green", "draining": "yellow", "drained": "yellow", "blocked": "yellow", "lost": "bold red"}
BAR = 10
NAME_FROM, POWER_FROM, BAR_FROM = 110, 96, 130
"""Columns of the terminal from which these are shown. Piped, names and power are, bars are not."""
MOST_OTHERS = 20
PAST_TEXT = 27
"""Columns that everything but the blocks takes."""


def picture(view: GpusView, width: int | None) -> list[Block]:
    """Everything, for a terminal of `width` columns; None = output goes elsewhere."""
    head = Line((Cell(view.task_name, "bold"), Cell(f"  {view.workspace}", "dim")))
    blocks: list[Block] = [head]
    if not view.scheduler:
        words = ": this is what the driver says now; `rfsched start` watches them"
        blocks.append(Line((Cell("no scheduler is running", "bold yellow"), Cell(words))))
    blocks += [line(each, "yellow") for problem in view.problems for each in problem.splitlines()]
    if not view.gpus:
        return [*blocks, line(view.note or "there are no GPUs here: only CPU jobs run")]
    blocks += [line(), gpu_table(view.gpus, width), *_reasons(view.gpus), *_others(view.gpus)]
    return blocks


def matrix(gpus: Sequence[GpuDetail]) -> list[Block]:
    """How each GPU is connected to each other, and what the words mean."""
    if not any(gpu.links for gpu in gpus):
        return [line("how these GPUs are connected is not known")]
    rows = [tuple(Cell(word, "dim") for word in ("GPU", *(str(gpu.index) for gpu in gpus), "TYPE"))]
    for gpu in gpus:
        ways = ["·" if other.index == gpu.index else (gpu.links or {}).get(other.index, "?") for other in gpus]
        cells = [Cell(way, "green" if way.startswith("NV") else "") for way in ways]
        rows.append((Cell(str(gpu.index), "bold"), *cells, Cell(gpu.name, "dim")))
    said = {way for gpu in gpus for way in (gpu.links or {}).values()}
    told = [f"{word} = {words}" for word, words in _WAYS.items() if any(way.startswith(word) for way in said)]
    return [Table(rows), line(), line("; ".join(told), "dim")]


_WAYS = {
    "NV": "so many NVLinks",
    "XGMI": "AMD's link",
    "INT": "one board",
    "PIX": "one PCIe switch",
    "PXB": "several PCIe switches",
    "PHB": "a PCIe host bridge",
    "NODE": "one NUMA node",
    "SYS": "between NUMA nodes",
}


def past(found: GpuHistory, width: int | None) -> list[Block]:
    """How busy each GPU was, in a line of blocks from then till now; blanks = nothing was sampled."""
    head = Cell(f"since {found.since.astimezone():%Y-%m-%d %H:%M}", "bold")
    if not found.gpus:
        words = ": nothing was sampled; GPUs are sampled while jobs run or wait (`sample_interval`)"
        return [Line((head, Cell(words)))]
    places = min(max((width or 80) - PAST_TEXT, 10), 120)
    rows = [tuple(Cell(word, "dim") for word in ("GPU", "MEAN", "MEMORY", "UTILISATION"))]
    for gpu in found.gpus:
        mean = busy_pct(gpu)
        most = max((value for value in gpu.used_max_mib if value is not None), default=None)
        strip = "".join(map(_block, columns(gpu, found.since, found.until, places)))
        memory = "" if most is None else f"≤ {most / 1024:.1f} GiB"
        rows.append((Cell(str(gpu.index), "bold"), Cell(_pct(mean)), Cell(memory), Cell(strip, "green")))
    return [Line((head,)), line(), Table(rows, right=frozenset({1, 2}))]


def _block(part: float | None) -> str:
    return " " if part is None else "▁▂▃▄▅▆▇█"[min(int(part / 12.5), 7)]


def gpu_table(gpus: Sequence[GpuDetail], width: int | None) -> Table:
    """One line a GPU. Columns that say nothing about any GPU, or for which there is no room, are left out."""
    head = ["GPU", "NAME", "CC", "STATE", "", "MEMORY", "NOW", "1 MIN", "TEMP", "POWER", "SLOTS", "JOBS"]
    rows = [_row(gpu) for gpu in gpus]
    hidden = _hidden(width)
    shown = [
        at
        for at in range(len(head))
        if at not in hidden and (head[at] in ("GPU", "STATE", "JOBS") or any(row[at].text for row in rows))
    ]
    cells = [tuple(Cell(head[at], "dim") for at in shown), *(tuple(row[at] for at in shown) for row in rows)]
    right = frozenset(place for place, at in enumerate(shown) if 5 <= at <= 9)
    give = (len(shown) - 1, *(place for place, at in enumerate(shown) if at == 1))
    return Table(cells, give=give, right=right)


def _hidden(width: int | None) -> set[int]:
    if width is None:
        return {4}
    return {at for at, least in ((1, NAME_FROM), (2, NAME_FROM), (9, POWER_FROM), (4, BAR_FROM)) if width < least}


def _row(gpu: GpuDetail) -> list[Cell]:
    taken = len(gpu.jobs) + len(gpu.leases)
    part = gpu.used_mib / gpu.total_mib if gpu.used_mib is not None and gpu.total_mib else None
    users = [job.name for job in gpu.jobs] + [f"[{holder}]" for holder in gpu.leases]
    return [
        Cell(str(gpu.index), "bold"),
        Cell(gpu.name, "dim"),
        Cell(gpu.compute_capability or "", "dim"),
        Cell(gpu.state, COLOURS[gpu.state]),
        Cell("" if part is None else bar(part, BAR), "" if part is None else load_colour(part)),
        Cell(_memory(gpu.used_mib, gpu.total_mib)),
        Cell(_pct(gpu.util_pct)),
        Cell(_pct(gpu.util_mean_pct)),
        Cell("" if gpu.temperature_c is None else f"{gpu.temperature_c} °C", "dim"),
        Cell("" if gpu.power_w is None else f"{gpu.power_w:.0f} W", "dim"),
        Cell(f"{taken}/{'∞' if gpu.slots is None else gpu.slots}", "green" if taken else ""),
        Cell(", ".join(users)),
    ]


def _pct(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def _memory(used_mib: int | None, total_mib: int | None) -> str:
    if used_mib is None or total_mib is None:
        return ""
    return f"{used_mib / 1024:.1f}/{total_mib / 1024:.1f} GiB"


def _reasons(gpus: Sequence[GpuDetail]) -> list[Block]:
    """Why nothing starts on some, in the words that `why` says too."""
    told: list[Block] = [line(gpu.reason, COLOURS[gpu.state]) for gpu in gpus if gpu.reason is not None]
    told += [
        line(f"GPU {gpu.index} cannot be read: {gpu.error}", "yellow") for gpu in gpus if gpu.error and not gpu.reason
    ]
    return [line(), *told] if told else []


def _others(gpus: Sequence[GpuDetail]) -> list[Block]:
    """Processes that are no jobs of this workspace, the largest first on each GPU."""
    found = [(gpu, process) for gpu in gpus for process in gpu.others or ()]
    if not found:
        return []
    rows = [tuple(Cell(word, "dim") for word in ("OTHERS", "PID", "USER", "MEMORY", "COMMAND"))]
    for gpu, process in found[:MOST_OTHERS]:
        memory = "" if process.used_mib is None else f"{process.used_mib / 1024:.1f} GiB"
        cells = (f"GPU {gpu.index}", str(process.pid), process.user or "", memory, process.command or "(hidden)")
        rows.append(tuple(Cell(text) for text in cells))
    more = len(found) - MOST_OTHERS
    rest: list[Block] = [line(f"… and {more} more; --json lists them", "dim")] if more > 0 else []
    return [line(), Table(rows, give=(4,), right=frozenset({1, 3})), *rest]
