"""What makes two jobs alike, as far as their duration goes: the same script with the same arguments on the same GPUs.

Five levels, the nearest first: (user, script, arguments, GPUs, hardware), without the arguments, without the GPUs, all
jobs of the user, all jobs.
"""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from researchflow_tmux.domain.job import JobSpec
from researchflow_tmux.domain.resources import ResourceRequest

try:
    from _blake2 import blake2b  # hashlib loads OpenSSL, which takes longer than all else of a look at the status
except ImportError:
    from hashlib import blake2b

Level = tuple[str | float, ...]
"""One level of one fingerprint; the first part is its kind, one of KINDS."""

KINDS = ("arguments", "script", "any GPUs", "user", "all")
"""From the nearest to the farthest."""

CALL_SOURCE = "function"
"""Calls of functions all have the same command: the name of the function is what tells them apart."""
SCRIPT_ENDS = frozenset({"py", "ipynb", "sh", "bash", "r", "jl", "pl", "rb", "js", "lua", "m"})
SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh"})
SAYS_NOTHING = frozenset(
    {
        *("seed", "name", "id", "run", "tag", "project", "group", "fold", "index", "out", "output", "outdir", "dir"),
        *("log", "logs", "logdir", "save", "ckpt", "checkpoint", "resume", "device", "gpu", "port", "rank", "host"),
    }
)
"""Last words of options whose value says nothing about how long it takes: `--seed 3`, `--output-dir x`."""
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")
_RANDOM = re.compile(r"/tmp/\S+|[0-9a-f]{8}-[0-9a-f]{4}-\S+|(?=\S*\d)[0-9a-f]{12,}|\d{4}-\d\d-\d\d\S*|\d{8,}")  # noqa: S108 - a pattern


class Fingerprint(NamedTuple):
    """What the duration of a job is looked up by. Holds no argument in clear: these may be secret."""

    user: str
    script: str
    arguments: str
    """A digest."""
    gpus: float
    """Number of GPUs, times the share of each."""
    hardware: str

    def levels(self) -> tuple[Level, ...]:
        """One for each of KINDS."""
        user, script, arguments, gpus, hardware = self
        return (
            ("arguments", user, script, arguments, gpus, hardware),
            ("script", user, script, gpus, hardware),
            ("any GPUs", user, script),
            ("user", user),
            ("all",),
        )


def fingerprint(spec: JobSpec) -> Fingerprint:
    """That of a job. The environment and the working directory do not count."""
    if spec.source == CALL_SOURCE:
        script, arguments = spec.name, ""
    else:
        script, arguments = _command(spec.argv, spec.shell)
    request = spec.request
    gpus = request.gpus * (1.0 if request.share is None else request.share)
    return Fingerprint(owner(spec), script, arguments, gpus, hardware(request))


def owner(spec: JobSpec) -> str:
    """Whose job it is; where nobody says so, of which project."""
    return spec.user or spec.project or ""


def hardware(request: ResourceRequest) -> str:
    """The kind of machine that it asks for."""
    return str(request.hardware) if request.gpus else "cpu"


@lru_cache(maxsize=4096)
def _command(argv: tuple[str, ...], shell: str | None) -> tuple[str, str]:
    """The script and a digest of its arguments."""
    words = _words(argv, shell)
    at = _script_at(words)
    if at is None:
        return "", ""
    text = "\0".join(normalised(words[at + 1 :]))
    digest = blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return os.path.basename(words[at]), digest


def _words(argv: Sequence[str], shell: str | None) -> list[str]:
    if shell is None and len(argv) > 2 and os.path.basename(argv[0]) in SHELLS and argv[1].startswith("-"):
        shell = argv[2] if argv[1].endswith("c") else None
    if shell is None:
        return list(argv)
    try:
        return shlex.split(shell, comments=True)
    except ValueError:  # an open quote: the shell will say so
        return shell.split()


def _script_at(words: Sequence[str]) -> int | None:
    """Where the word is that says what runs: a script, a module after `-m`, else the first program."""
    for at, word in enumerate(words):
        if "." in word and word.rpartition(".")[2].lower() in SCRIPT_ENDS and not word.startswith("-"):
            return at
        if word == "-m" and at + 1 < len(words):
            return at + 1
    return next((at for at, word in enumerate(words) if not _ASSIGNED.match(word)), None)


def normalised(words: Sequence[str]) -> list[str]:
    """Arguments in one form: options in any order and either spelling, without what says nothing about the duration."""
    options: list[str] = []
    others: list[str] = []
    left = list(reversed(words))
    while left:
        word = left.pop()
        if not _OPTION.match(word):
            others.append(_RANDOM.sub("#", word))
            continue
        name, equals, value = word.partition("=")
        if not equals and left and not _OPTION.match(left[-1]):
            value = left.pop()
        if re.split(r"[-_.]", name.lower())[-1] not in SAYS_NOTHING:
            options.append(f"{name}={_RANDOM.sub('#', value)}")
    return [*sorted(options), "--", *others]
