"""One finding, and what a check may look at."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

COMMAND_S = 2.0
"""Time for one program that a check runs; less than the time of a check, so that it can still say what it was."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One finding."""

    name: str
    status: Literal["ok", "warn", "fail"]
    fact: str
    advice: str = ""
    """What to do; empty when all is well."""


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a check may look at. Every check takes one and returns its findings."""

    environ: Mapping[str, str]
    paths: WorkspacePaths | None = None
    settings: Settings | None = None
    socket: str | None = None
    """The tmux socket in use, if it is known; else the settings and the environment tell."""
    root: str = "/"
    """Where /etc, /proc, /run and /sys are."""

    def place(self, path: str) -> str:
        """The absolute `path`, under `root`."""
        return os.path.join(self.root, path.lstrip("/"))

    def text(self, path: str) -> str | None:
        """Content of a small file under `root`; None = it cannot be read."""
        try:
            with open(self.place(path), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return None


def ok(name: str, fact: str) -> Check:
    """All is well."""
    return Check(name=name, status="ok", fact=fact)


def warn(name: str, fact: str, advice: str) -> Check:
    """It works, with a drawback or a danger."""
    return Check(name=name, status="warn", fact=fact, advice=advice)


def fail(name: str, fact: str, advice: str) -> Check:
    """Jobs cannot run, or not safely."""
    return Check(name=name, status="fail", fact=fact, advice=advice)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What a program answered."""

    rc: int | None
    """None = it did not end in time."""
    out: str = ""
    err: str = ""


def say(argv: Sequence[str], environ: Mapping[str, str], timeout_s: float = COMMAND_S) -> Said:
    """Run a program and keep what it says. Raises OSError if it cannot be started."""
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env={**environ, "LC_ALL": "C"},
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return Said(rc=None)
    return Said(rc=done.returncode, out=done.stdout.strip(), err=done.stderr.strip())
