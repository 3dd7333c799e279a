"""Takes over `available_gpus.txt` while the scheduler runs: soon after it changed, and never a half-written one."""

from __future__ import annotations

import os

from msgspec.structs import replace

from researchflow_tmux.adapters.available_gpus import Content, place_of, read
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.engine import by_hand, steering
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.workload import Book
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.wiring import Parts

AGAIN_S = 2.0
"""The directory of a file that is not there tells one arrival; after one that is none of ours, so soon the next."""
QUIET_S = 0.3
"""A file that was quiet this long is read: an editor's half-saved one is finished by then."""
EMPTY_S = 3.0
"""An empty or missing file counts only after it stayed so for this long: many programs empty a file before they write
it. So long a content must stand as well before jobs are stopped because of it."""


class AvailableGpus:
    """Watches the file of one workspace. A GPU that it leaves out is drained."""

    def __init__(self, parts: Parts, engine: Engine) -> None:
        self._parts, self._engine = parts, engine
        self._path = ""
        self._stat: tuple[int, ...] | None = None
        self._seen: Content = None
        """What was read last, whether or not it counts yet."""
        self._since_s = 0.0
        """Since when it has said so."""
        self._ever = False
        """Whether the file was ever there, or ever not there: all else so far made no sense."""
        self._counts = True
        """Whether `_seen` was taken over."""
        self._cleared = True
        """Whether the jobs on GPUs that it leaves out were seen to, as the settings say."""
        self._due_s: float | None = None
        self._told: tuple[Problem, ...] = ()

    def begin(self) -> None:
        """Read the file that the settings name, or take it over for other GPUs. The first time it counts at once.

        For nothing may start before that. One that is not there still counts only after a while: somebody may be about
        to replace it.
        """
        path = place_of(self._parts.settings, self._parts.paths.root)
        if path != self._path:
            self._path, self._ever, self._counts, self._told = path, False, True, ()
            self._read()
            if self._ever and self._seen is not None:
                self._take_over()
        elif self._ever and self._counts:
            self._take_over()

    def sweep(self) -> None:
        """What no notice told: a file on a network disk, or one that was not there to be watched."""
        self._watch()
        if _stat(self._path) != self._stat:
            self._due_s = self._parts.clock.monotonic()

    def look(self, wakeup: Wakeup) -> None:
        """Read the file once it has been quiet, and take over what has stood for long enough."""
        now = self._parts.clock.monotonic()
        if wakeup.directories & {self._path, os.path.dirname(self._path)}:
            if _stat(self._path) != self._stat:
                self._due_s = now + QUIET_S
            elif self._due_s is None:
                self._due_s = now + AGAIN_S
        if self._due_s is not None and now >= self._due_s:
            self._due_s = None
            self._read()
        stood_s = now - self._since_s
        if not self._counts and stood_s >= self._patience_s():
            self._take_over()
        if self._counts and not self._cleared and stood_s >= EMPTY_S:
            self._clear()

    def wait_s(self) -> float:
        """Seconds until there is something to do."""
        now = self._parts.clock.monotonic()
        due = [] if self._due_s is None else [self._due_s - now]
        if not self._counts:
            due.append(self._since_s + self._patience_s() - now)
        elif not self._cleared:
            due.append(self._since_s + EMPTY_S - now)
        return max(min(due, default=float("inf")), 0.0)

    # -- inside

    def _patience_s(self) -> float:
        return EMPTY_S if self._seen is None or self._seen.empty else 0.0

    def _watch(self) -> None:
        """The file itself; while there is none, its directory for new files (and not for every write in it)."""
        waiter = self._parts.waiter
        if waiter is not None and not waiter.watch_file(self._path):
            waiter.watch_arrivals(os.path.dirname(self._path))

    def _read(self) -> None:
        """Look at the file. One that makes no sense is told, and changes nothing."""
        self._watch()
        self._stat = _stat(self._path)
        try:
            content = read(self._path)
        except ConfigError as error:
            self._tell(tuple(error.problems))
            return
        self._tell(())
        if content != self._seen or not self._ever:
            self._seen, self._ever, self._counts = content, True, False
            self._since_s = self._parts.clock.monotonic()

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        for problem in problems:
            if problem not in self._told:
                text = f"{replace(problem, hint=None)}; the GPUs stay as they are"
                self._engine.notice(text, level="warning")
        self._told = problems

    def _take_over(self) -> None:
        self._counts = True
        self._cleared = self._seen is None or not self._parts.settings.available_gpus_kill
        book = Book(self._engine.workload, self._parts.clock.now())
        listed = None if self._seen is None else self._seen.names
        present = {device.uuid: device.index for device in self._engine.room.devices}
        steering.list_gpus(book, present, listed, os.path.basename(self._path))
        unknown = sorted(self._seen.indices - set(present.values())) if self._seen is not None else []
        if unknown:
            have = ", ".join(map(str, sorted(present.values()))) or "none"
            text = f"{self._path}: there is no GPU {', '.join(map(str, unknown))} here; this workspace has {have}"
            self._engine.notice(text, level="warning")

    def _clear(self) -> None:
        """`available_gpus_kill`: end the jobs on what it leaves out; they wait for another GPU."""
        self._cleared = True
        workload = self._engine.workload
        unlisted = [uuid for uuid, gpu in workload.gpus.items() if gpu.unlisted is not None]
        book = Book(workload, self._parts.clock.now())
        by_hand.requeue(book, steering.jobs_on(book, unlisted), by="user", grace_s=self._engine.rules.stop_grace_s)


def _stat(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
