"""The main job source: one config file is one job."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.job_config import JobConfig, parse_job_config
from researchflow_tmux.adapters.places import absolute, resolve_places
from researchflow_tmux.adapters.sources import JobDraft, ScanResult
from researchflow_tmux.adapters.sources.defaults import digest_of_script, wishes
from researchflow_tmux.adapters.sources.selection import Selected, choose, matching, read_pins
from researchflow_tmux.adapters.sqlite_reader import SqliteReader
from researchflow_tmux.domain.errors import ConfigError, Problem, RfschedError
from researchflow_tmux.domain.workspace import JobSection, Settings, WorkspacePaths

SOURCE = "config"


def scan(
    paths: WorkspacePaths,
    settings: Settings,
    names: Sequence[str] | None = None,
    pins: Sequence[int | str | None] = (),
    env: Mapping[str, str] | None = None,
) -> ScanResult:
    """The jobs of the configs that are there, or of those named.

    Args:
        paths: The workspace.
        settings: Its settings.
        names: Configs as typed (relative to config_dir, or paths; the suffix may be missing); None = all.
        pins: GPU of the first config, the second, …; None or empty text = any.
        env: The captured environment, for finding Python and conda; default: this process's.

    Returns:
        The good jobs in order, with every problem of the others. Nothing is raised for a bad config.
    """
    return _Scan(paths, settings, os.environ if env is None else env).run(names, pins)


CONFIG_DIR = Settings(task_name="t").config_dir
"""Where nothing is set."""


def _has_jobs(database: str) -> bool:
    """Whether anything was ever queued in the workspace."""
    try:
        with SqliteReader(database) as reader:
            return any(reader.counts_by_state().values())
    except (RfschedError, OSError):
        return False


class _Scan:
    def __init__(self, paths: WorkspacePaths, settings: Settings, env: Mapping[str, str]) -> None:
        self.paths = paths
        self.settings = settings
        self.places = resolve_places(paths, settings)
        self.builder = CommandBuilder(settings, env, paths)
        self.problems: dict[Problem, None] = {}  # in order, each said once
        self.warnings: dict[str, None] = {}
        self.script_digest: str | None = None

    def run(self, names: Sequence[str] | None, pins: Sequence[int | str | None]) -> ScanResult:
        drafts = []
        if not os.path.isdir(self.places.work_dir):
            hint = f"work_dir in {self.paths.config} is {self.settings.work_dir!r}"
            self.problems[Problem(message=f"the directory {self.places.work_dir} does not exist", hint=hint)] = None
        for item in self.select(names, pins):
            try:
                drafts.append(self.draft(item))
            except ConfigError as error:
                self.problems.update(dict.fromkeys(error.problems))
        drafts = self.separate_markers(drafts)
        return ScanResult(drafts=tuple(drafts), problems=tuple(self.problems), warnings=tuple(self.warnings))

    def select(self, names: Sequence[str] | None, pins: Sequence[int | str | None]) -> list[Selected]:
        problems: list[Problem] = []
        found: list[str | None]
        if names is None:
            found = list(matching(self.paths, self.settings, self.places))
            problems += self.nothing_there(found)
        else:
            found, problems = choose(names, self.paths, self.settings, self.places)
        read, more = read_pins(pins, len(found))
        self.problems.update(dict.fromkeys(problems + more))
        return [Selected(path=path, pin=pin) for path, pin in zip(found, read, strict=True) if path is not None]

    def nothing_there(self, found: Sequence[str | None]) -> list[Problem]:
        directory, pattern = self.places.config_dir, self.settings.config_pattern
        if os.path.isdir(self.places.job_dir) and not found:
            return []  # jobs come from there
        if not os.path.isdir(directory):
            if self.settings.config_dir == CONFIG_DIR and _has_jobs(self.paths.database):  # they came in another way
                self.warnings[f"the config directory {directory} does not exist: no configs to queue"] = None
                return []
            hint = "create it, or set config_dir in scheduler_config.yml"
            return [Problem(message=f"the config directory {directory} does not exist", hint=hint)]
        if not found:
            self.warnings[f"no file in {directory} matches {pattern}: there is nothing to queue"] = None
        return []

    # -- one config

    def draft(self, item: Selected) -> JobDraft:
        stem = os.path.splitext(os.path.basename(item.path))[0]
        if not _encodable(item.path):
            shown = item.path.encode("utf-8", "backslashreplace").decode()
            raise _error(shown, "the name is not UTF-8, and no session can be called that", "rename the file")
        data, digest = _read(item.path)
        config = parse_job_config(data, item.path)
        self.warnings.update(dict.fromkeys(config.warnings))
        section = config.section
        output_dir = absolute(self.paths.root, config.root_dir) if config.root_dir else self.places.output_dir
        digests = {item.path: digest, **self.script(config)}
        command = self.builder.build(section, item.path, output_dir)
        self.warnings.update(dict.fromkeys(command.warnings))
        return JobDraft(
            source=SOURCE,
            key=os.path.relpath(item.path, self.paths.root),
            name=stem,
            argv=command.argv,
            shell=command.shell,
            workdir=self.places.work_dir,
            completion=section.completion or self.settings.completion,
            marker=os.path.join(output_dir, f"{stem}_completed.txt"),
            output_dir=output_dir,
            config_path=item.path,
            digests=digests,
            **wishes(self.settings, section, self.pins(item, section)),
        )

    def script(self, config: JobConfig) -> dict[str, str]:
        """The script's digest, if this job runs it. Raises ConfigError (the same for every config) if it is missing."""
        if "{script}" not in (config.section.command or self.settings.command):
            return {}
        path = self.places.script
        if self.script_digest is None:
            self.script_digest = digest_of_script(self.paths, self.settings, path)
        return {path: self.script_digest}

    def pins(self, item: Selected, section: JobSection) -> tuple[int | str, ...]:
        if item.pin is not None and section.gpus != 1:
            what = "is a CPU job (`gpus: 0`)" if section.gpus == 0 else f"needs {section.gpus} GPUs"
            raise _error(item.path, f"{what} and cannot be pinned to GPU {item.pin}", "leave its GPU empty in the list")
        return () if item.pin is None else (item.pin,)

    # -- all of them

    def separate_markers(self, drafts: list[JobDraft]) -> list[JobDraft]:
        """Two configs of one stem would see each other's marker and stop each other: those jobs have none."""
        import msgspec

        count = Counter(draft.marker for draft in drafts)
        kept = []
        for draft in drafts:
            if count[draft.marker] == 1:
                kept.append(draft)
            elif draft.completion == "exit_code":
                text = f"{draft.marker} would be the marker of several configs: their exit codes alone count"
                self.warnings[text] = None
                kept.append(msgspec.structs.replace(draft, marker=None))
            else:
                message = f"shares its marker {draft.marker} with another config"
                hint = "rename one of them, or give it a `root_dir` of its own"
                self.problems[Problem(message=message, file=draft.config_path, hint=hint)] = None
        return kept


def _read(path: str) -> tuple[bytes, str]:
    """(the beginning of a config, more than the parser takes; SHA-256 of all of it)."""
    try:
        with open(path, "rb") as file:
            data = file.read(yaml_tree.MAX_BYTES + 1)
            digest = hashlib.sha256(data)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except FileNotFoundError:
        raise _error(path, "is a link to a file that does not exist") from None
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or error}") from None
    return data, digest.hexdigest()


def _encodable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _error(path: str, message: str, hint: str | None = None) -> ConfigError:
    return ConfigError([Problem(message=message, file=path, hint=hint)])
