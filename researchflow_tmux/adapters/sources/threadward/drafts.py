"""From the tasks of a threadward project to jobs: one for each task, and one for each hook around all of them."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from researchflow_tmux.adapters.commands import Command, CommandBuilder
from researchflow_tmux.adapters.room_settings import hardware_of
from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.sweeps.scan import key_prefix
from researchflow_tmux.adapters.sources.sweeps.templates import name as clean_name
from researchflow_tmux.adapters.sources.threadward.recorded import Recorded
from researchflow_tmux.adapters.sources.threadward.tasks import Task
from researchflow_tmux.domain.arrays import Array
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.domain.sweeps.expansion import canonical
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.job.threadward.project import CONSTRAINTS, FOLDER, TASKS

SOURCE = "threadward"
RUN = "researchflow_tmux.job.threadward.task"
BEFORE, AFTER = "before_all_tasks", "after_all_tasks"
CONDITIONS = ("NO_ERROR_AND_VERIFY", "NO_ERROR_ONLY", "VERIFY_ONLY", "ALWAYS_SUCCESS")
HANDLINGS = ("PRINT_FAILURE_AND_CONTINUE", "SILENT_CONTINUE", "STOP_EXECUTION")


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """What the constants of a project ask for."""

    workers: int
    gpus: int
    share: float | None
    time_limit_s: float | None
    always: bool
    """Whatever happens to a task is a success."""


class TaskJob(msgspec.Struct, frozen=True, kw_only=True):
    """The job of a task or of a hook."""

    draft: JobDraft
    task: Task | None = None
    """None = a hook."""


def constraints(directory: str, found: Recorded) -> tuple[Constraints, list[str]]:
    """What is asked for, and what deserves a word. Raises ConfigError with every problem."""
    file = os.path.join(directory, FOLDER, f"{CONSTRAINTS}.py")
    given = found.constants
    problems = [
        Problem(message=text, file=os.path.join(directory, FOLDER, f"{name}.py"))
        for name, text in (
            (CONSTRAINTS, _bad_number(given, "NUM_WORKERS", whole=True, least=1)),
            (CONSTRAINTS, _bad_number(given, "NUM_GPUS_PER_WORKER", whole=False, least=0)),
            (TASKS, _bad_word(given, "SUCCESS_CONDITION", CONDITIONS)),
            ("variable_iteration", _bad_word(given, "FAILURE_HANDLING", HANDLINGS)),
        )
        if text
    ]
    gpus = given.get("NUM_GPUS_PER_WORKER") or 0
    if isinstance(gpus, int | float) and gpus > 1 and gpus != int(gpus):
        problems.append(Problem(message=f"NUM_GPUS_PER_WORKER is {gpus}: whole GPUs, or a part of one", file=file))
    if problems:
        raise ConfigError(problems)
    limit = given.get("TASK_TIMEOUT")
    asked = Constraints(
        workers=given.get("NUM_WORKERS") or 1,
        gpus=1 if 0 < gpus < 1 else int(gpus),
        share=float(gpus) if 0 < gpus < 1 else None,
        time_limit_s=float(limit) if isinstance(limit, int | float) and limit > 0 else None,
        always=given.get("SUCCESS_CONDITION") == CONDITIONS[3],
    )
    return asked, _notes(given)


def _notes(given: dict[str, Any]) -> list[str]:
    notes = []
    if given.get("AVOID_GPUS") or given.get("INCLUDE_GPUS"):
        notes.append(
            "AVOID_GPUS and INCLUDE_GPUS are not looked at: `gpu_count: [0, 2]` in scheduler_config.yml says which "
            "GPUs there are"
        )
    if given.get("FAILURE_HANDLING") == HANDLINGS[2]:
        notes.append("STOP_EXECUTION holds for a whole workspace: `on_failure: stop_execution` in scheduler_config.yml")
    return notes


def _bad_number(given: dict[str, Any], name: str, *, whole: bool, least: int) -> str:
    value = given.get(name)
    good = isinstance(value, int if whole else int | float) and not isinstance(value, bool) and value >= least
    if value is None or good:
        return ""
    return f"{name} is {value!r}; expected a {'whole ' if whole else ''}number of at least {least}"


def _bad_word(given: dict[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = given.get(name)
    return "" if value is None or value in known else f"{name} is {value!r}; it must be one of {', '.join(known)}"


class Drafter:
    """Makes the jobs of one project."""

    def __init__(
        self, directory: str, commands: CommandBuilder, paths: WorkspacePaths, settings: Settings, asked: Constraints
    ) -> None:
        self.directory = directory
        self.name = clean_name(os.path.basename(directory), {})
        self.prefix = key_prefix(directory, paths)
        self.commands = commands
        self.settings = settings
        self.asked = asked

    def jobs(self, tasks: list[Task], hooks: list[str]) -> list[TaskJob]:
        """The jobs in order: the hook before, the tasks, the hook after."""
        before = [self._hook(BEFORE)] if BEFORE in hooks else []
        after = tuple(job.draft.name for job in before)
        array = Array(
            id=f"{SOURCE}:{self.prefix}",
            name=self.name,
            count=len(tasks),
            first=0,
            last=len(tasks) - 1,
            at_most=self.asked.workers,
        )
        found = [self._task(task, after, array, index) for index, task in enumerate(tasks)]
        last = [self._hook(AFTER, tuple(job.draft.name for job in found))] if AFTER in hooks else []
        return [*before, *found, *last]

    def _task(self, task: Task, after: tuple[str, ...], array: Array, index: int) -> TaskJob:
        request = ResourceRequest(
            gpus=self.asked.gpus,
            share=self.asked.share,
            hardware=hardware_of(self.settings, gpus=self.asked.gpus),
            time_limit_s=self.asked.time_limit_s,
        )
        draft = self._draft(
            key=canonical(task.values),
            name=f"{self.name}_{task.id}",
            words=[task.id],
            request=request,
            after=after,
            output_dir=os.path.join(self.directory, task.folder),
            labels=task.nicks,
            array=array,
            array_index=index,
            success="always" if self.asked.always else None,
        )
        return TaskJob(draft=draft, task=task)

    def _hook(self, name: str, after: tuple[str, ...] = ()) -> TaskJob:
        draft = self._draft(
            key=name,
            name=f"{self.name}_{name}",
            words=["--hook", name],
            request=ResourceRequest(gpus=0),
            after=after,
            when="always" if after else "success",
        )
        return TaskJob(draft=draft)

    def _draft(self, *, key: str, name: str, words: list[str], **more: Any) -> JobDraft:
        command: Command = self.commands.build_words([*self.commands.python().words, "-m", RUN, self.directory, *words])
        return JobDraft(
            source=SOURCE,
            key=self.prefix + key,
            name=name,
            argv=command.argv,
            shell=command.shell,
            workdir=self.directory,
            env=dict(self.settings.env),
            group=self.name,
            **more,
        )
