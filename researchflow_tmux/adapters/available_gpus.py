"""The file `available_gpus.txt`: which GPUs this workspace may use, as people write it by hand."""

from __future__ import annotations

import os
import re

import msgspec

from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.workspace import Settings

MAX_BYTES = 64 * 1024
_WORD = re.compile(r"\S+")
_UUID = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9/-]{4,}|amd-[0-9a-f:.]{4,}|(?:simulated|slot|index)-\d+")
HINT = "write indices or UUIDs (as `rfsched gpus` shows them) with blanks between them; `#` begins a comment"


class Listed(msgspec.Struct, frozen=True):
    """The GPUs that the file names. None at all = none may be used."""

    indices: frozenset[int] = frozenset()
    uuids: tuple[str, ...] = ()
    """Whole UUIDs or their beginnings."""

    @property
    def empty(self) -> bool:
        """Whether it names none."""
        return not self.indices and not self.uuids

    def names(self, uuid: str, index: int) -> bool:
        """Whether it names this GPU."""
        return index in self.indices or any(uuid == word or uuid.startswith(word) for word in self.uuids)


Content = Listed | None
"""What the file says; None = there is no such file."""


def place_of(settings: Settings, root: str) -> str:
    """Where the file is, or would be, in the workspace at `root`."""
    return os.path.normpath(os.path.join(root, os.path.expanduser(settings.available_gpus_file)))


def read(path: str) -> Content:
    """Read and understand it. Raises ConfigError when it cannot be read or makes no sense."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(message=message, file=path)]) from error
    return parse(data, path)


def parse(data: bytes, path: str) -> Listed:
    """What the file says: whitespace-separated indices or UUIDs; from `#` to the end of a line is a comment.

    Raises ConfigError with every word that is neither, each with its line and column.
    """
    if len(data) > MAX_BYTES:
        message = f"is longer than {MAX_BYTES} bytes: that is no list of GPUs"
        raise ConfigError([Problem(message=message, file=path, hint=HINT)])
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    indices, uuids, problems = set[int](), list[str](), list[Problem]()
    for number, line in enumerate(text.split("\n"), 1):
        for word in _WORD.finditer(line.partition("#")[0]):
            if re.fullmatch(r"[0-9]{1,4}", word[0]):
                indices.add(int(word[0]))
            elif _UUID.fullmatch(word[0]):
                uuids.append(word[0])
            else:
                message = f"{_shown(word[0])} is no GPU"
                problems.append(Problem(message=message, file=path, line=number, column=word.start() + 1, hint=HINT))
    if problems:
        raise ConfigError(problems)
    return Listed(frozenset(indices), tuple(dict.fromkeys(uuids)))


def _shown(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:39] + "…")
