"""The scheduler's log file: one line per event, rotated, private, never written through a symbolic link."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.domain.events import Event, Notice
from researchflow_tmux.domain.names import clean
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

MAX_BYTES = 5 * 1024 * 1024
BACKUPS = 3


LINES_AT_ONCE = 1000
"""Lines of one write: the log may grow by so many beyond its bound."""


class _PrivateFile(RotatingFileHandler):
    """Opens without following links (log_dir may be /tmp) and readable by the user alone."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.fdopen(os.open(self.baseFilename, flags, 0o600), "a", encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A full disk costs lines of the log, nothing else."""


def log_path(paths: WorkspacePaths, settings: Settings) -> str:
    """`{log_dir}/{task_name}_scheduler.log`."""
    directory = os.path.join(paths.root, os.path.expanduser(settings.log_dir))
    return os.path.join(directory, clean(settings.task_name) + "_scheduler.log")


class SchedulerLog:
    """Writes lines. A log that cannot be written never stops the scheduler: `problem` says why it is silent."""

    def __init__(self, paths: WorkspacePaths, settings: Settings) -> None:
        self.path = log_path(paths, settings)
        self.problem: str | None = None
        self._handler: _PrivateFile | None = None
        if settings.enable_logging:
            self._open()

    def _open(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self._handler = _PrivateFile(self.path, maxBytes=MAX_BYTES, backupCount=BACKUPS)
        except OSError as error:
            self.problem = f"{self.path} cannot be written: {error.strerror}"

    def write(self, event: Event, line: str) -> None:
        """One event as one line: local time with its offset, level, words."""
        self.write_all([(event, line)])

    def write_all(self, told: Sequence[tuple[Event, str]]) -> None:
        """Many events: thousands of jobs that come at once are a few writes, not thousands."""
        for start in range(0, len(told), LINES_AT_ONCE):
            part = told[start : start + LINES_AT_ONCE]
            self._write("\n".join([_line(event.at, _level(event), text) for event, text in part]))

    def complain(self, text: str) -> None:
        """A line that is no event; may be called from any thread."""
        self._write(_line(SystemClock().now(), logging.WARNING, text))

    def _write(self, text: str) -> None:
        if self._handler is not None:
            self._handler.handle(logging.LogRecord("rfsched", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            self._handler.close()


def _level(event: Event) -> int:
    warning = isinstance(event.payload, Notice) and event.payload.level == "warning"
    return logging.WARNING if warning else logging.INFO


def _line(when: datetime, level: int, words: str) -> str:
    at = when.astimezone().isoformat(sep=" ", timespec="milliseconds")
    return f"{at} {logging.getLevelName(level):7} {words}".replace("\n", " ")
