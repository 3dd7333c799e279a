"""Which config files are meant: all that match the pattern, or those that somebody typed."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

import msgspec

from researchflow_tmux.adapters.places import Places
from researchflow_tmux.domain.errors import Problem
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths

_DIGITS = re.compile(r"([0-9]+)")

_UUID = re.compile(r"(?:GPU|MIG)-[A-Za-z0-9-]+")


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """One config file and the GPU it is pinned to."""

    path: str
    pin: int | str | None = None


def split_list(text: str | None) -> list[str]:
    """The items of `a.yml,b.yml` or `0,1`; an empty one in the middle stays, as one that says nothing."""
    items = [item.strip() for item in (text or "").split(",")]
    while items and not items[-1]:
        items.pop()
    return items


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts exp2 before exp10."""
    parts = _DIGITS.split(text.casefold())
    return tuple(
        (0, int(part), "") if index % 2 and len(part) < 300 else (1, 0, part) for index, part in enumerate(parts)
    )


def matching(paths: WorkspacePaths, settings: Settings, places: Places) -> list[str]:
    """Every file of config_pattern, naturally sorted. The workspace's own config is none."""
    names = glob.glob(settings.config_pattern, root_dir=places.config_dir, recursive=True)
    found = {os.path.normpath(os.path.join(places.config_dir, name)) for name in names}
    found = {path for path in found if not os.path.isdir(path) and path != os.path.normpath(paths.config)}
    return sorted(found, key=lambda path: (natural_key(path), path))


def choose(
    typed: Sequence[str], paths: WorkspacePaths, settings: Settings, places: Places
) -> tuple[list[str | None], list[Problem]]:
    """The files that names stand for, in their order (None = a problem says why)."""
    chosen: list[str | None] = []
    problems: list[Problem] = []
    for number, name in enumerate(typed, 1):
        path = _find(name, paths, settings, places) if name else None
        if not name:
            problems.append(Problem(message=f"item {number} of the list of configs is empty"))
        elif path is None:
            problems.append(_missing(name, paths, settings, places))
        elif path in chosen:
            message = f"{name} is named twice (item {chosen.index(path) + 1} and {number})"
            problems.append(Problem(message=message, hint="copy the config to run it twice"))
            path = None
        chosen.append(path)
    return chosen, problems


def _find(name: str, paths: WorkspacePaths, settings: Settings, places: Places) -> str | None:
    endings = ["", ".yml", ".yaml"]
    own = os.path.splitext(settings.config_pattern)[1]
    if own and own not in endings and not set(own) & set("*?["):
        endings.append(own)
    name = os.path.expanduser(name)
    for base in (places.config_dir, paths.root, os.getcwd()):
        for ending in endings:
            path = os.path.normpath(os.path.join(base, name + ending))
            if os.path.isfile(path):
                return path
    return None


def _missing(name: str, paths: WorkspacePaths, settings: Settings, places: Places) -> Problem:
    import difflib

    there = [os.path.relpath(path, places.config_dir) for path in matching(paths, settings, places)[:2000]]
    stems = {os.path.splitext(item)[0]: item for item in reversed(there)}
    wanted = os.path.splitext(name)[0] if name not in stems else name
    close = difflib.get_close_matches(wanted, stems, n=1, cutoff=0.6)
    if close:
        hint = f"did you mean {stems[close[0]]}?"
    elif there:
        hint = f"{places.config_dir} has {', '.join(there[:5])}" + (" …" if len(there) > 5 else "")
    else:
        hint = f"{places.config_dir} has no file that matches {settings.config_pattern}"
    return Problem(message=f"there is no config {name}", hint=hint)


def read_pins(pins: Sequence[int | str | None], count: int) -> tuple[list[int | str | None], list[Problem]]:
    """One pin per config, an index or a UUID; missing ones are None, which lets the scheduler choose."""
    problems = []
    read: list[int | str | None] = []
    for number, pin in enumerate(pins, 1):
        text = "" if pin is None else str(pin).strip()
        index = text.isascii() and text.isdigit() and len(text) <= 4
        good = index or _UUID.fullmatch(text)
        if text and not good:
            message = f"item {number} of the list of GPUs is {text!r}; expected an index, such as 0, or a UUID"
            problems.append(Problem(message=message, hint='write it as in: start "a.yml,b.yml" "0,1"'))
        read.append(int(text) if index else text if good else None)
    if len(read) > count:
        message = f"{len(read)} GPUs are given for {count} config{'' if count == 1 else 's'}"
        problems.append(Problem(message=message, hint="the first GPU is for the first config, and so on"))
    return (read + [None] * count)[:count], problems
