"""The base config of a sweep: what it says to the scheduler, and the places in it for the variables."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.job_config import ROOT_DIR, parse_job_config
from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.adapters.sources.sweeps import nodes
from researchflow_tmux.adapters.sources.sweeps.file import SweepFile
from researchflow_tmux.adapters.sources.sweeps.overlay import Overlay, keys_of
from researchflow_tmux.domain.workspace import JobSection


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base config, ready for the values of a job."""

    section: JobSection
    """Its `rfsched:` section with that of the sweep laid over it."""
    overlay: Overlay
    warnings: tuple[str, ...] = ()


def read_base(file: SweepFile, root: str) -> Base | None:
    """The base config of a sweep, if it has one; `root` = the workspace. Raises ConfigError.

    A `root_dir` in it becomes the folder of the job, as if it were a variable.
    """
    if file.words.config is None:
        return None
    path = absolute(root, file.words.config)
    try:
        with open(path, "rb") as opened:
            data = opened.read(yaml_tree.MAX_BYTES + 1)
    except OSError as error:
        message = f"config: {path} cannot be read: {error.strerror}"
        raise file.problem("config", message, "a path relative to the workspace") from None
    text = yaml_tree.decode(data, path)
    own = parse_job_config(data, path).section
    known = keys_of(yaml_tree.parse(text, path).root)
    names = list(dict.fromkeys([*file.names, *({ROOT_DIR} & set(known))]))
    inner = [name for name in names if any(name.startswith(other + ".") for other in names)]
    if inner:
        raise file.problem("variables", f"{inner[0]} is part of another variable: one of them can be set")
    overlay = Overlay(text, path, names)
    warnings = (_added(path, name, known) for name in overlay.added)
    section = msgspec.convert({**msgspec.to_builtins(own), **file.section}, JobSection)
    return Base(section=section, overlay=overlay, warnings=tuple(warnings))


def _added(path: str, name: str, known: list[str]) -> str:
    """A word about a key that the base has not: it may be misspelt."""
    hint = nodes.suggestion(name, known) or ""
    return f"{path} has no {name}: it is added" + (f"; {hint}" if hint.startswith("did") else "")
