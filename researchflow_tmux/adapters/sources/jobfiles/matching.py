"""Which job each line is, after any edit. Pure.

A line is known by its command. Where one command stands there several times, its lines are told apart by their marks
and their order: they would run the same, so no more is needed to run each of them once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

from researchflow_tmux.adapters.sources.jobfiles.lines import CommandLine
from researchflow_tmux.adapters.sources.jobfiles.notes import is_gone

Fits = Callable[[str, str], bool]
"""Whether a line with this mark can be the job of a key without anybody having changed the mark."""


def match(path: str, lines: Sequence[CommandLine], notes: Mapping[str, str], fits: Fits) -> list[str]:
    """The key of each line: a known one, or a new one that is the same whenever it is made from the same notes."""
    keys: list[str] = [""] * len(lines)
    known: defaultdict[str, list[str]] = defaultdict(list)
    for key in notes:
        known[key.rpartition("#")[2].partition(".")[0]].append(key)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, line in enumerate(lines):
        places[digest(line.command)].append(place)
    for name, here in places.items():
        there = known.get(name, [])
        if len(here) == len(there) == 1:
            keys[here[0]] = there[0]
        elif there:
            found = _pair([lines[place] for place in here], there, notes, fits)
            _number(path, name, there, found)
            for place, key in zip(here, found, strict=True):
                keys[place] = key
        else:
            for number, place in enumerate(here, 1):
                keys[place] = f"{path}#{name}.{number}"
    return keys


def digest(command: bytes) -> str:
    """What a command is known by."""
    return hashlib.blake2b(command, digest_size=8).hexdigest()


def _pair(lines: Sequence[CommandLine], keys: Sequence[str], notes: Mapping[str, str], fits: Fits) -> list[str]:
    """A key for each of the lines of one command, where there is one left; first those that are there already."""
    present = [key for key in keys if not is_gone(notes[key])]
    in_order = present if len(present) == len(lines) else []
    fitting = sum(fits(line.mark, key) for line, key in zip(lines, in_order, strict=False))
    if in_order and fitting == len(lines):
        return in_order
    by_mark = _by_mark(lines, present, fits)
    if in_order and fitting >= sum(map(bool, by_mark)):
        return in_order
    taken = set(by_mark)
    left = deque(key for key in present if key not in taken)
    left.extend(key for key in keys if is_gone(notes[key]))
    return [key or (left.popleft() if left else "") for key in by_mark]


def _by_mark(lines: Sequence[CommandLine], keys: Sequence[str], fits: Fits) -> list[str]:
    """For each line the first key that fits it and is not taken, else nothing. Lines with a mark choose first."""
    queues: dict[str, deque[str]] = {}
    taken: set[str] = set()
    found = [""] * len(lines)
    for place in sorted(range(len(lines)), key=lambda place: not lines[place].mark):
        mark = lines[place].mark
        if mark not in queues:
            queues[mark] = deque(key for key in keys if fits(mark, key))
        while queues[mark] and not found[place]:
            key = queues[mark].popleft()
            if key not in taken:
                taken.add(key)
                found[place] = key
    return found


def _number(path: str, name: str, taken: Sequence[str], keys: list[str]) -> None:
    """Fill in new keys where there is none."""
    used = {key.rpartition(".")[2] for key in taken}
    number = 1
    for place, key in enumerate(keys):
        if not key:
            while str(number) in used:
                number += 1
            used.add(str(number))
            keys[place] = f"{path}#{name}.{number}"
