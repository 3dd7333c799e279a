"""From a command and what its user wishes to a draft that can be submitted."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.adapters.places import resolve_places
from researchflow_tmux.adapters.room_settings import HARDWARE, hardware_of, mib
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.domain.arrays import Array, Indices
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.job import CompletionRule, Condition, JobFiles, SuccessRule
from researchflow_tmux.domain.limits import NO_LIMITS, GpuLimits
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.engine.submitting import Draft
from researchflow_tmux.intake.submissions import Captured

SOURCE = "command"
_INDEX = re.compile(r"(?<![$\\])\{index\}")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the user said about a job."""

    name: str | None = None
    gpus: int = 1
    share: float | None = None
    gpu_memory_mib: int | None = None
    limits: GpuLimits = NO_LIMITS
    gpu_type: str | None = None
    min_gpu_memory: str | int | None = None
    compute_capability: str | None = None
    topology: str | None = None
    time_limit_s: float | None = None
    cpus: int | None = None
    memory_mib: int | None = None
    priority: int = 0
    project: str | None = None
    deadline: datetime | None = None
    preemptible: bool | None = None
    """None = as the settings say."""
    retries: int | None = None
    after: tuple[str, ...] = ()
    after_ids: tuple[int, ...] = ()
    """Jobs it comes after that are certainly there."""
    when: Condition = "success"
    group: str | None = None
    labels: Mapping[str, str] = {}
    held: bool = False
    env: Mapping[str, str] = {}
    workdir: str | None = None
    completion: CompletionRule = "exit_code"
    success: SuccessRule | None = None
    verify: str | None = None
    verify_timeout_s: float | None = None
    files: JobFiles | None = None


class Drafter:
    """Makes drafts of commands: they run in the directory and in the environment in which they were typed."""

    def __init__(self, paths: WorkspacePaths, settings: Settings, captured: Captured) -> None:
        self.captured = captured
        self._builder = CommandBuilder(settings, captured.variables, paths)
        self._settings = settings
        self._output_dir = resolve_places(paths, settings).output_dir
        self._here = os.getcwd()

    def draft(
        self,
        words: Sequence[str],
        wish: Wish,
        *,
        source: str = SOURCE,
        key: str | None = None,
        name: str | None = None,
        array: Array | None = None,
        index: int | None = None,
    ) -> Draft:
        """One command as a draft. Raises ConfigError (no conda), UsageError (a name or group that cannot be)."""
        check(wish)
        command = self._builder.build_words(words)
        key = uuid.uuid4().hex if key is None else key
        settings = self._settings
        retries = settings.max_retries if settings.auto_restart_failed else 0
        draft = JobDraft(
            source=source,
            key=key,
            name=name or wish.name or name_of(words, key),
            argv=command.argv,
            shell=command.shell,
            workdir=os.path.join(self._here, wish.workdir) if wish.workdir else self._here,
            env={**settings.env, **wish.env},
            request=ResourceRequest(
                gpus=wish.gpus,
                share=wish.share,
                gpu_memory_mib=wish.gpu_memory_mib,
                limits=wish.limits,
                hardware=hardware_of(settings, wish, gpus=wish.gpus),
                time_limit_s=wish.time_limit_s,
                cpus=settings.cpus if wish.cpus is None else wish.cpus,
                memory_mib=mib(settings.memory) if wish.memory_mib is None else wish.memory_mib,
            ),
            completion=wish.completion,
            success=wish.success,
            verify=wish.verify,
            verify_timeout_s=wish.verify_timeout_s,
            files=wish.files,
            output_dir=self._output_dir,
            retries=retries if wish.retries is None else wish.retries,
            priority=wish.priority,
            project=wish.project,
            deadline=wish.deadline,
            preemptible=settings.preemptible if wish.preemptible is None else wish.preemptible,
            after=wish.after,
            when=wish.when,
            labels=dict(wish.labels),
            array=array,
            array_index=index,
        )
        spec = draft.to_spec(self.captured.digest, wish.after_ids, group=wish.group)
        return Draft(spec=spec, after_names=draft.after, held=wish.held)

    def array(self, words: Sequence[str], wish: Wish, indices: Indices) -> Iterator[Draft]:
        """One draft for each index, named `NAME_INDEX`, in the group NAME unless the user named another.

        `{index}` in the words is the index.
        """
        base = wish.name or name_of(words, uuid.uuid4().hex)
        array = indices.array(uuid.uuid4().hex[:8], base)
        for index in indices.values:
            said = replace(wish, name=f"{base}_{index}", group=wish.group or base)
            yield self.draft([_INDEX.sub(str(index), word) for word in words], said, array=array, index=index)


def check(wish: Wish) -> None:
    """Raise UsageError when the name, the group or a label cannot be one, or a CPU job asks for a kind of GPU."""
    if wish.name is not None and not wish.name.isprintable():
        raise UsageError(f"the name {wish.name!r} holds characters that cannot be printed", hint="choose another name")
    kinds = [f"--{name.replace('_', '-')}" for name in HARDWARE if getattr(wish, name) is not None]
    if kinds and not wish.gpus:
        raise UsageError(f"{kinds[0]} says which GPU, and the job asks for none", hint="leave one of them out")
    group = wish.group
    if group is not None and (not group or group.startswith("@") or "=" in group or not group.isprintable()):
        raise UsageError(f"{group!r} cannot be a group", hint="a group is a word such as sweep1, without `=` and `@`")
    for label, value in wish.labels.items():
        if not _LABEL.fullmatch(label) or not value.isprintable():
            raise UsageError(f"{label}={value} cannot be a label", hint="a label is KEY=VALUE, such as model=bert")


def name_of(words: Sequence[str], key: str) -> str:
    """A name for a nameless command: its program (and script), told apart by four digits."""
    parts = " ".join(words).split()
    program = os.path.basename(parts[0]) if parts else "job"
    if program.startswith("python") and len(parts) > 1 and not parts[1].startswith("-"):
        program = os.path.splitext(os.path.basename(parts[1]))[0]
    return f"{program[:60]}-{key[:4]}"
