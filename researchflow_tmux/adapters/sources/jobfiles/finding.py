"""Which job files there are: every `*.txt` in the job directory and below it that is not hidden."""

from __future__ import annotations

import contextlib
import os
import re
import stat

import msgspec

from researchflow_tmux.adapters.sources.selection import natural_key
from researchflow_tmux.domain.errors import Problem

ENDING = ".txt"
MAX_DEPTH = 32

_OUR_TEMPORARY = re.compile(r"\..+\.txt\.(\d+)\.[0-9a-f]{8}\.tmp")


class Found(msgspec.Struct, kw_only=True):
    """The job files by path relative to the workspace, in the order in which their jobs are queued."""

    files: dict[str, str] = msgspec.field(default_factory=dict)
    """Device and inode of each, `device:inode`."""
    directories: set[str] = msgspec.field(default_factory=set)
    problems: list[Problem] = msgspec.field(default_factory=list)
    left_over: list[str] = msgspec.field(default_factory=list)
    """Temporary files of a scheduler that was killed while it wrote."""


def find(root: str, directory: str) -> Found:
    """Look through `directory`; paths in what is found are relative to `root`. Raises nothing."""
    finder = _Finder(root)
    finder.directory(directory, 0)
    return finder.found


def _order(entry: os.DirEntry[str]) -> tuple[bool, tuple[tuple[int, int, str], ...], str]:
    """Links last: where a file has two names here, the link is the one to be told."""
    return entry.is_symlink(), natural_key(entry.name), entry.name


class _Finder:
    def __init__(self, root: str) -> None:
        self.root = root
        self.found = Found()
        self.seen: dict[tuple[int, int], str] = {}

    def directory(self, path: str, depth: int) -> None:
        try:
            status = os.stat(path)
            entries = sorted(os.scandir(path), key=_order)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.problem(path, f"cannot be read: {error.strerror or error}", "make it readable for yourself")
            return
        if not self.is_new(status, path) or depth > MAX_DEPTH:
            return  # a link back to where we are, or come from
        self.found.directories.add(path)
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                self.hidden(entry)
            elif self.is_directory(entry):
                below.append(entry.path)
                if entry.name.endswith(ENDING):
                    self.problem(entry.path, "is a directory, not a job file", "give it another name")
            elif entry.name.endswith(ENDING):
                self.file(entry)
        for each in below:
            self.directory(each, depth + 1)

    def file(self, entry: os.DirEntry[str]) -> None:
        try:
            entry.path.encode()
            status = entry.stat()
        except UnicodeEncodeError:
            shown = os.fsencode(entry.path).decode("utf-8", "backslashreplace")
            self.problem(shown, "the name is not UTF-8, and no session can be called that", "rename the file")
            return
        except FileNotFoundError:
            if entry.is_symlink():
                self.problem(entry.path, "is a link to a file that does not exist", "correct or delete the link")
            return
        except OSError as error:
            hint = "the link leads back to itself: delete it" if entry.is_symlink() else None
            self.problem(entry.path, f"cannot be read: {error.strerror or error}", hint)
            return
        if not stat.S_ISREG(status.st_mode):
            self.problem(entry.path, "is no ordinary file", "give it another name")
            return
        first = self.seen.get((status.st_dev, status.st_ino))
        if first is not None:
            self.problem(entry.path, f"is the same file as {self.shown(first)}", "keep one of the two names")
            return
        self.seen[(status.st_dev, status.st_ino)] = entry.path
        self.found.files[self.shown(entry.path)] = f"{status.st_dev}:{status.st_ino}"
        if entry.is_symlink():
            self.found.directories.add(os.path.dirname(os.path.realpath(entry.path)))

    def hidden(self, entry: os.DirEntry[str]) -> None:
        ours = _OUR_TEMPORARY.fullmatch(entry.name)
        if ours and int(ours[1]) != os.getpid():
            self.found.left_over.append(entry.path)

    def is_new(self, status: os.stat_result, path: str) -> bool:
        return self.seen.setdefault((status.st_dev, status.st_ino), path) == path

    def is_directory(self, entry: os.DirEntry[str]) -> bool:
        with contextlib.suppress(OSError):
            return entry.is_dir()
        return False

    def shown(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def problem(self, path: str, message: str, hint: str | None = None) -> None:
        self.found.problems.append(Problem(message=message, file=self.shown(path), hint=hint))
