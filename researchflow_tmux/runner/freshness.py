"""Whether a job has anything to do: it has not while all that it once made something of is as it was.

A success is noted in a small file: of which definition it was, and how each input stood when the job began. The note
goes before the job runs again, so that outputs which a killed job left half-written never count as made.
"""

from __future__ import annotations

import os

from researchflow_tmux.runner import files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Stamp = tuple[int, int]
    """Time of the last change in ns, and size."""

VERSION = 1
_LONGEST_NOTE = 1 << 24
_NAMED = 500
"""So many inputs are noted by name, for saying which one changed; of more only a digest."""
_MAGIC = "*?["


class Rule:
    """The files of one job; patterns are relative to `cwd`, and `**` is any depth. A directory counts by its own time.

    `upstream` are the notes of the jobs it needs: where one of those ran again, this one is out of date.
    """

    __slots__ = ("cwd", "definition", "force", "inputs", "note", "outputs", "upstream")

    def __init__(
        self,
        *,
        cwd: str,
        definition: str,
        note: str,
        inputs: list[str],
        outputs: list[str],
        upstream: list[str],
        force: bool = False,
    ) -> None:
        self.cwd = cwd
        self.definition = definition
        self.note = note
        self.inputs = inputs
        self.outputs = outputs
        self.upstream = upstream
        self.force = force


class Seen:
    """How the files of a job stand."""

    def __init__(self, rule: Rule) -> None:
        self.inputs: dict[str, Stamp] = {}
        self.missing_inputs: list[str] = []
        self.outputs: dict[str, Stamp] = {}
        self.missing_outputs: list[str] = []
        for patterns, found, missing in (
            (rule.inputs, self.inputs, self.missing_inputs),
            (rule.outputs, self.outputs, self.missing_outputs),
        ):
            for pattern in patterns:
                stamps = _matching(pattern, rule.cwd)
                found.update(stamps)
                if not stamps:
                    missing.append(pattern)
        for name in self.outputs:
            self.inputs.pop(name, None)  # what a pattern finds of its own work is no input
        self.upstream = {os.path.basename(path): _stamp(path) for path in rule.upstream}


def why_run(seen: Seen, note: dict[str, Any] | None, definition: str) -> str:
    """Return why the job has to run; empty = it is up to date. Pure."""
    if note is None:
        return "it has not succeeded with these files yet"
    if note.get("definition") != definition:
        return "its definition changed"
    if seen.missing_outputs:
        return f"{seen.missing_outputs[0]} is missing"
    changed = _changed(seen, note)
    if changed:
        return changed
    newest = max(seen.inputs, key=lambda name: seen.inputs[name][0], default="")
    oldest = min(seen.outputs, key=lambda name: seen.outputs[name][0], default="")
    if newest and oldest and seen.inputs[newest][0] > seen.outputs[oldest][0]:
        return f"{newest} is newer than {oldest}"
    return ""


def _changed(seen: Seen, note: dict[str, Any]) -> str:
    if note.get("upstream") != _plain(seen.upstream):
        return "a job that it needs ran again"
    if note.get("inputs") == digest(seen.inputs):
        return ""
    names = note.get("names")
    if isinstance(names, dict) and len(seen.inputs) <= _NAMED:
        now = _plain(seen.inputs)
        different = sorted(name for name in {*names, *now} if names.get(name) != now.get(name))
        if different:
            more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
            fact = "changed" if different[0] in names and different[0] in now else "is new"
            return f"{different[0]} {fact if different[0] in now else 'is gone'}{more}"
    return "its inputs changed"


def load(rule: Rule) -> dict[str, Any] | None:
    """Return the note of the last success, if it still counts."""
    data = files.read(rule.note, _LONGEST_NOTE)
    note = None if data is None else jsontext.load_dict(data)
    return note if note is not None and note.get("version") == VERSION else None


def forget(rule: Rule) -> None:
    """Take the note away, durably: from here on nothing counts as made. OSError: it may still be there."""
    try:
        os.unlink(rule.note)
    except FileNotFoundError:
        return
    files.sync_dir(os.path.dirname(rule.note))


def save(rule: Rule, seen: Seen) -> None:
    """Note a success; `seen` = how the files stood when the job began. OSError: it is not noted."""
    os.makedirs(os.path.dirname(rule.note), mode=0o700, exist_ok=True)
    names = _plain(seen.inputs) if len(seen.inputs) <= _NAMED else None
    note = {
        "version": VERSION,
        "definition": rule.definition,
        "inputs": digest(seen.inputs),
        "names": names,
        "upstream": _plain(seen.upstream),
    }
    files.replace(rule.note, jsontext.dumps(note).encode())


def missing_outputs(rule: Rule) -> list[str]:
    """Return the outputs that are not there."""
    return [pattern for pattern in rule.outputs if not _matching(pattern, rule.cwd)]


def digest(stamps: dict[str, Stamp]) -> str:
    """Return one text for all inputs: the same names, times and sizes, the same text."""
    import hashlib

    text = "\n".join(f"{name}\0{at}\0{size}" for name, (at, size) in sorted(stamps.items()))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _plain(stamps: dict[str, Any]) -> dict[str, Any]:
    """The stamps as JSON gives them back."""
    return {name: None if stamp is None else list(stamp) for name, stamp in stamps.items()}


def _matching(pattern: str, cwd: str) -> dict[str, Stamp]:
    """The files that a path or pattern stands for. A file that is called like a pattern is meant itself."""
    own = _stamp(os.path.join(cwd, pattern))
    if own is not None:
        return {pattern: own}
    if not any(sign in pattern for sign in _MAGIC):
        return {}
    import glob

    found = ((name, _stamp(os.path.join(cwd, name))) for name in glob.iglob(pattern, root_dir=cwd, recursive=True))
    return {name: stamp for name, stamp in found if stamp is not None}


def _stamp(path: str) -> Stamp | None:
    try:
        entry = os.stat(path)
    except (OSError, ValueError):
        return None
    return entry.st_mtime_ns, entry.st_size
