"""The scheduler's log file: one line per event, rotated, private, never written through a symbolic link."""

from __future__ import annotations

import logging
import os
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.domain.events import Event, Notice
from researchflow_tmux.domain.names import clean
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

MAX_BYTES = 5 * 1024 * 1024
BACKUPS = 3


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
        warning = isinstance(event.payload, Notice) and event.payload.level == "warning"
        self._write(event.at, logging.WARNING if warning else logging.INFO, line)

    def complain(self, text: str) -> None:
        """A line that is no event; may be called from any thread."""
        self._write(SystemClock().now(), logging.WARNING, text)

    def _write(self, when: datetime, level: int, line: str) -> None:
        if self._handler is None:
            return
        at = when.astimezone().isoformat(sep=" ", timespec="milliseconds")
        text = f"{at} {logging.getLevelName(level):7} {line}"
        self._handler.handle(logging.LogRecord("rfsched", level, "", 0, text.replace("\n", " "), None, None))

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            self._handler.close()
