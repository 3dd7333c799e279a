"""The YAML files in job_dir: which of them are sweeps and which are pipelines, read again only when they changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, Literal, TypeVar

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.sources.port import SourceContext
from researchflow_tmux.adapters.sources.selection import natural_key
from researchflow_tmux.adapters.sources.sweeps.scan import key_prefix
from researchflow_tmux.adapters.yaml_nodes import Mapping as MappingNode
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.job import Job
from researchflow_tmux.engine.taking_in import WAITING

Kind = Literal["pipeline", "sweep"]
Stamp = tuple[int, int, int]
"""Inode, time of change and size."""
Found = TypeVar("Found")

_ENDINGS = (".yml", ".yaml")
_NEITHER = "is neither a pipeline (`jobs:` at the top) nor a sweep (`variables:` at the top)"
_NEITHER_HINT = (
    "configs that a script reads go into config_dir; see `rfsched pipeline --help` and `rfsched sweep --help`"
)

_EMPTY = "has nothing but comments any more: its jobs stay as they are"
_EMPTY_HINT = "delete the file to withdraw those that wait"


class YamlFile(msgspec.Struct, Generic[Found], kw_only=True):
    """One file of our kind, as it was read last."""

    prefix: str
    """How the keys of its jobs begin."""
    stamp: Stamp
    found: Found | None = None
    """What it says; None = see `problems`."""
    problems: tuple[Problem, ...] = ()
    fresh: bool = True
    """Read since its jobs were last handed out."""


class YamlFiles(Generic[Found]):
    """The files of one kind below job_dir. What is of no kind is a problem of the pipelines."""

    def __init__(self, context: SourceContext, kind: Kind, scan: Callable[[str], Found]) -> None:
        """`scan` reads one file; it raises ConfigError and OSError."""
        self._context = context
        self._kind = kind
        self._scan = scan
        self._root = resolve_places(context.paths, context.settings).job_dir
        self._others: dict[str, Stamp] = {}
        """Files of another kind."""
        self.directories: list[str] = [self._root]
        self.files: dict[str, YamlFile[Found]] = {}
        self._unseen: dict[str, Problem] = {}
        """Places that could not be looked at: what is in them is unknown, and not gone."""

    def look(self) -> None:
        """Read what is new or changed since the last look. Raises nothing that a file can cause."""
        now = self._stamps()
        self.files = {path: file for path, file in self.files.items() if path in now or self._unseen}
        self._others = {path: stamp for path, stamp in self._others.items() if path in now or self._unseen}
        for path in sorted(now, key=lambda path: (natural_key(path), path)):
            known = self.files.get(path)
            if now[path] != (known.stamp if known else self._others.get(path)):
                self._read(path, now[path])

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All there are now."""
        found = [problem for path in sorted(self.files) for problem in self.files[path].problems]
        return (*self._unseen.values(), *found)

    def withdrawn(self, jobs: Mapping[str, Job], keys_of: Callable[[Found], frozenset[str]]) -> tuple[str, ...]:
        """Keys of waiting jobs that are gone from their file, or with it. What cannot be read keeps all."""
        if self._unseen or not os.path.isdir(self._root):
            return ()
        home = key_prefix(os.path.join(self._root, "x"), self._context.paths)[: -len("x#")]
        kept = {file.prefix: None if file.found is None else keys_of(file.found) for file in self.files.values()}
        gone = []
        for key, job in jobs.items():
            if job.state not in WAITING or not key.startswith(home):
                continue
            prefix = key.partition("#")[0] + "#"
            if prefix not in kept:  # a `#` in the name of the file
                prefix = next((each for each in kept if key.startswith(each)), "")
            keys = kept.get(prefix, frozenset[str]())
            if keys is not None and key not in keys:
                gone.append(key)
        return tuple(gone)

    # -- inside

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        self.directories = [self._root]
        self._unseen = {}
        for entry in self._walk(self._root):
            try:
                stat = entry.stat()
            except FileNotFoundError:
                continue  # gone since, or a link to nothing
            except OSError as error:
                self._note_unseen(entry.path, error)
                continue
            found[entry.path] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return found

    def _walk(self, directory: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                inside = list(entries)
        except FileNotFoundError:
            return
        except OSError as error:
            self._note_unseen(directory, error)
            return
        for entry in inside:
            if entry.name.startswith("."):
                continue
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
                is_file = entry.name.lower().endswith(_ENDINGS) and entry.is_file()
            except OSError as error:  # a link to itself, or a file system that does not answer
                self._note_unseen(entry.path, error)
                continue
            if is_directory:
                self.directories.append(entry.path)
                yield from self._walk(entry.path)
            elif is_file:
                yield entry

    def _note_unseen(self, path: str, error: OSError) -> None:
        message = f"cannot be looked at: {error.strerror or error}: the jobs of files there stay as they are"
        self._unseen[path] = Problem(message=message, file=path)

    def _read(self, path: str, stamp: Stamp) -> None:
        file = YamlFile[Found](prefix=key_prefix(path, self._context.paths), stamp=stamp)
        try:
            kind = _kind_of(path)
            if kind == self._kind:
                file.found = self._scan(path)
            elif kind == "empty" and path in self.files:  # half-saved, or meant so: nothing is done for want of a word
                file.problems = (Problem(message=_EMPTY, file=path, hint=_EMPTY_HINT),)
            elif kind == "neither" and (self._kind == "pipeline" or path in self.files):
                file.problems = (Problem(message=_NEITHER, file=path, hint=_NEITHER_HINT),)
            else:
                self.files.pop(path, None)
                self._others[path] = stamp
                return
        except ConfigError as error:  # one that cannot be read may be of either kind: its jobs wait until it can
            file.problems = error.problems
        except OSError as error:
            file.problems = (Problem(message=f"cannot be read: {error.strerror or error}", file=path),)
        self._others.pop(path, None)
        self.files[path] = file


def _kind_of(path: str) -> Kind | Literal["neither", "empty"]:
    """What a file is by its keys at the top; "empty" = nothing but comments. Raises ConfigError and OSError."""
    with open(path, "rb") as opened:
        data = opened.read(yaml_tree.MAX_BYTES + 1)
    root = yaml_tree.parse(yaml_tree.decode(data, path), path).root
    if root is None:
        return "empty"
    if not isinstance(root, MappingNode):
        return "neither"
    if root.get("jobs") is not None:
        return "pipeline"
    return "sweep" if root.get("variables") is not None else "neither"
