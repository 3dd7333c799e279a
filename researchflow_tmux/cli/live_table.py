"""The scheduler's own screen: what a person sees who attaches to its session."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import TYPE_CHECKING

from researchflow_tmux.adapters import foreseen_file, live_file, usage_file
from researchflow_tmux.api import status
from researchflow_tmux.api.usage import usages_of
from researchflow_tmux.api.views import JobView, StatusView
from researchflow_tmux.cli import layout
from researchflow_tmux.cli.layout import Block, Cell, Line, Table, line
from researchflow_tmux.cli.status_blocks import gpu_table, running_table, title, waiting_table
from researchflow_tmux.domain.reasons import Reason

if TYPE_CHECKING:
    from researchflow_tmux.daemon import Daemon

HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
PATIENCE_S = 0.2
KEYS = "leave: Ctrl-b d   a job: rfsched attach JOB   end: rfsched stop (jobs run on)"
TONES = (("failed", "red"), ("lost", "red"), ("killed", "red"), ("succeeded", "green"), ("queued again", "yellow"))
Told = tuple[str, str, str]
"""An event: local time, words, style."""


class LiveTable:
    """Redraws in place. It never waits for a terminal that takes nothing: scheduling goes on."""

    def __init__(self) -> None:
        self._fd = _without_waiting()

    def draw(self, daemon: Daemon) -> None:
        """Draw what the scheduler sees now. Raises OSError when the terminal is gone."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        view, waiting = seen(daemon, most=height)
        lines = layout.render(
            screen(view, waiting, told(daemon, height), width, height), width=width, colour=layout.wants_colour()
        )
        text = HOME + "".join(f"{each}{CLEAR_LINE}\r\n" for each in lines[: height - 1]) + CLEAR_BELOW
        self._write(f"{text}\x1b[{height}H{_keys(width)}{CLEAR_LINE}".encode(errors="replace"))

    def _write(self, data: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        poller = select.poll()
        poller.register(self._fd, select.POLLOUT)
        while data and time.monotonic() < deadline:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                poller.poll(50)


def _without_waiting() -> int:
    """A descriptor of our terminal that never blocks: O_NONBLOCK belongs to the open file, which others may share."""
    return os.open(f"/proc/self/fd/{sys.stdout.fileno()}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)


def _keys(width: int) -> str:
    text = layout.cut(KEYS, width - 1)
    return f"\x1b[2m{text}\x1b[m" if layout.wants_colour() else text


def seen(daemon: Daemon, most: int) -> tuple[StatusView, int]:
    """The view with the running and the first waiting jobs only (the queue may be long), and how many wait."""
    engine, now = daemon.engine, daemon.parts.clock.now()
    workload = engine.workload
    live, watched = live_file.read(daemon.paths.live), usage_file.read(daemon.paths.usage)
    usages, known = usages_of(watched), foreseen_file.by_key(foreseen_file.read(daemon.paths.foreseen))
    reasons = engine.choice.explain(engine.look(), now, most)
    shown: dict[int, Reason | None] = {key[0]: None for key in sorted(workload.attempts)} | reasons
    attempts = {key[0]: attempt for key, attempt in workload.attempts.items()}
    jobs = [
        status.job_view(workload.jobs[number], attempts.get(number), why, now, usages=usages, known=known)
        for number, why in shown.items()
    ]
    view = StatusView(
        at=now,
        workspace=daemon.paths.root,
        task_name=daemon.settings.task_name,
        counts=status.counts(workload.jobs.values()),
        jobs=jobs,
        gpus=status.gpu_views(workload, live, watched),
        scheduler=status.scheduler_view(live, daemon.lock.holder),
    )
    return view, workload.queue_length


def told(daemon: Daemon, most: int) -> list[Told]:
    """The last events, oldest first."""
    return [
        (f"{event.at.astimezone():%H:%M:%S}", text, next((tone for word, tone in TONES if word in text), ""))
        for event, text in daemon.events[-most:]
    ]


def screen(view: StatusView, waiting: int, events: list[Told], width: int, height: int) -> list[Block]:
    """Everything that fits into `height` - 1 lines; the last one is for the keys."""
    running = [job for job in view.jobs if job.state == "running"]
    queued = [job for job in view.jobs if job.state == "queued"]
    blocks = title(view)
    gpus = view.gpus[: max(height // 3, 2)]
    table = gpu_table(gpus, width)
    blocks += [line(), *table] if table else []
    left = height - 1 - _height(blocks)
    shown_running, shown_waiting, shown_events = share(left, len(running), waiting, len(events))
    total = len(running) if shown_running else 0
    blocks += running_table(_latest_last(running), shown_running, total, now=view.at, width=width, hint="")
    blocks += waiting_table(queued, shown_waiting, waiting if shown_waiting else 0, view.at, hint="")
    if shown_events:
        rows = [
            (Cell("LAST EVENTS", "dim"), Cell("")),
            *((Cell(at, "dim"), Cell(text, tone)) for at, text, tone in events[-shown_events:]),
        ]
        blocks += [line(), *(Line((Cell(f"{a.text}  ", a.style), b)) for a, b in rows)]
    return blocks


def share(lines: int, *totals: int) -> tuple[int, ...]:
    """How many rows of the lists of running jobs, waiting jobs and events are shown in so many lines.

    Each list has a heading and an empty line before it; one that is folded says so in a line of its own.
    """

    def needed(shown: list[int]) -> int:
        *jobs, events = zip(shown, totals, strict=True)
        return sum(2 + rows + (rows < total) for rows, total in jobs if rows) + (2 + events[0] if events[0] else 0)

    shown = [0] * len(totals)
    turns = [0, 1, 2]
    while turns:
        for at in [0, *turns]:  # twice in each round: running jobs are what people come for
            more = [rows + (place == at) for place, rows in enumerate(shown)]
            if more[at] <= totals[at] and needed(more) <= lines:
                shown = more
            elif at in turns:
                turns.remove(at)
    return tuple(shown)


def _latest_last(jobs: list[JobView]) -> list[JobView]:
    return sorted(jobs, key=lambda job: (job.started_at is None, job.started_at or job.queued_at, job.id))


def _height(blocks: list[Block]) -> int:
    return sum(len(block.rows) if isinstance(block, Table) else 1 for block in blocks)
