"""The scheduler's log: one line per event, in `{task_name}_scheduler.log` and, day by day, in `history/history.log`."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import datetime

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.log_files import DailyLog, LogFile, SizedLog
from researchflow_tmux.domain.events import Event, Notice
from researchflow_tmux.domain.names import clean
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

MAX_BYTES = 5 * 1024 * 1024
BACKUPS = 3
LINES_AT_ONCE = 1000
"""Lines of one write: the log may grow by so many beyond its bound."""
DAYS = 7
"""Days before today that the history keeps."""


def log_path(paths: WorkspacePaths, settings: Settings) -> str:
    """`{log_dir}/{task_name}_scheduler.log`."""
    return os.path.join(_directory(paths, settings), clean(settings.task_name) + "_scheduler.log")


def history_path(paths: WorkspacePaths, settings: Settings) -> str:
    """`{log_dir}/history/history.log`; `{log_dir}/history/{task_name}.log` where log_dir may be shared."""
    directory = _directory(paths, settings)
    inside = os.path.commonpath([directory, paths.root]) == paths.root
    name = "history" if inside else clean(f"{settings.task_name}_history")
    return os.path.join(directory, "history", f"{name}.log")


def _directory(paths: WorkspacePaths, settings: Settings) -> str:
    return os.path.normpath(os.path.join(paths.root, os.path.expanduser(settings.log_dir)))


class SchedulerLog:
    """Writes lines. A log that cannot be written never stops the scheduler: `problem` says why it is silent."""

    def __init__(self, paths: WorkspacePaths, settings: Settings) -> None:
        self.path = log_path(paths, settings)
        self.problem: str | None = None
        self._files: list[LogFile] = []
        self._lock = threading.Lock()
        if settings.enable_logging:
            self._open(paths, settings)

    def _open(self, paths: WorkspacePaths, settings: Settings) -> None:
        try:
            self._files.append(SizedLog(self.path, most_bytes=MAX_BYTES, backups=BACKUPS))
            self._files.append(DailyLog(history_path(paths, settings), days=DAYS))
        except OSError as error:
            self.problem = f"{error.filename or self.path} cannot be written: {error.strerror}"

    def write(self, event: Event, line: str) -> None:
        """One event as one line: local time with its offset, level, words."""
        self.write_all([(event, line)])

    def write_all(self, told: Sequence[tuple[Event, str]]) -> None:
        """Many events: thousands of jobs that come at once are a few writes, not thousands."""
        for start in range(0, len(told), LINES_AT_ONCE):
            part = told[start : start + LINES_AT_ONCE]
            self._write([_line(event.at, _level(event), text) for event, text in part], part[-1][0].at)

    def complain(self, text: str) -> None:
        """A line that is no event; may be called from any thread."""
        now = SystemClock().now()
        self._write([_line(now, "WARNING", text)], now)

    def _write(self, lines: Sequence[str], when: datetime) -> None:
        with self._lock:
            for file in self._files:
                file.write(lines, when.astimezone().date())

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for file in self._files:
                file.close()
            self._files = []


def _level(event: Event) -> str:
    warning = isinstance(event.payload, Notice) and event.payload.level == "warning"
    return "WARNING" if warning else "INFO"


def _line(when: datetime, level: str, text: str) -> str:
    at = when.astimezone().isoformat(sep=" ", timespec="milliseconds")
    return f"{at} {level:7} {text}".replace("\n", " ")
