"""Reads one pipeline file: every problem at once, each at its place."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.config_fields import Reader
from researchflow_tmux.adapters.job_config import SECTION
from researchflow_tmux.adapters.sources.pipelines.entry import (
    RESOURCES,
    WORD_CHECKS,
    JobEntry,
    JobReader,
    Need,
    Words,
    resources,
)
from researchflow_tmux.adapters.sources.sweeps import nodes
from researchflow_tmux.adapters.yaml_nodes import Entry, Mapping, Scalar
from researchflow_tmux.domain.errors import ConfigError, Problem
from researchflow_tmux.domain.pipelines import circles, in_order

KEYS = ("name", "variables", "defaults", "jobs")
_NAME = re.compile(r"\w[\w.+-]{0,99}")
_JOB = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_EXAMPLE = "such as `jobs: {train: {command: python train.py}}`"


class PipelineFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a pipeline file says."""

    path: str
    name: str
    constants: dict[str, str]
    """Its variables."""
    workdir: str | None
    section: dict[str, Any]
    """What every job asks for that does not say otherwise."""
    jobs: tuple[JobEntry, ...]
    """Each after those it needs."""
    place: Problem
    """A problem without words, for what concerns them all."""


def read(data: bytes, path: str) -> PipelineFile:
    """Read the pipeline file that `data` is. Raises ConfigError with every problem."""
    document = yaml_tree.parse(yaml_tree.decode(data, path), path)
    if not isinstance(document.root, Mapping):
        raise ConfigError([document.problem(None, "is no pipeline: expected lines of `key: value`", _EXAMPLE)])
    reader = Reader(document)
    given = nodes.entries(reader, document.root, KEYS)
    name = _name(reader, given.get("name"), os.path.splitext(os.path.basename(path))[0])
    constants = _constants(reader, given.get("variables"))
    workdir, section = _defaults(reader, given.get("defaults"))
    jobs = _jobs(reader, document.root, given.get("jobs"), constants)
    _check_needs(reader, jobs)
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: (problem.line or 0, problem.column or 0)))
    return PipelineFile(
        path=path,
        name=name,
        constants=constants,
        workdir=workdir,
        section=section,
        jobs=tuple(jobs[one] for one in in_order(_graph(jobs))),
        place=document.problem(given["jobs"].key.start, ""),
    )


def _name(reader: Reader, entry: Entry | None, stem: str) -> str:
    if entry is None:
        return stem
    node = entry.value
    if isinstance(node, Scalar) and _NAME.fullmatch(node.text):
        return node.text
    reader.fail(entry, "name: expected one word of letters, digits, `.`, `_`, `+` and `-`")
    return stem


def _constants(reader: Reader, entry: Entry | None) -> dict[str, str]:
    if entry is None:
        return {}
    mapping = nodes.mapping_of(reader, entry, "variables", "variables: {data: data/v1}")
    found: dict[str, str] = {}
    names = JobReader(reader, {})
    for name, each in (nodes.entries(reader, mapping, None, "variables.") if mapping else {}).items():
        problem = names.bad_variable(name)
        if problem:
            reader.fail(each.key, problem)
        if not isinstance(each.value, Scalar) or each.value.is_null:
            hint = "values of which each makes a job of its own go under a job's `matrix:`"
            reader.fail(each, f"variables.{name}: expected one simple value", hint)
        elif nodes.usable(reader, each.value):
            found[name] = each.value.text
    return found


def _defaults(reader: Reader, entry: Entry | None) -> tuple[str | None, dict[str, Any]]:
    if entry is None:
        return None, {}
    mapping = nodes.mapping_of(reader, entry, "defaults", "defaults: {gpus: 0}")
    if mapping is None:
        return None, {}
    given = nodes.entries(reader, mapping, ("workdir", SECTION, *RESOURCES), "defaults.")
    part = Mapping(
        start=mapping.start,
        end=mapping.end,
        flow=mapping.flow,
        entries=[given["workdir"]] if "workdir" in given else [],
    )
    words = reader.fields(part, Words, WORD_CHECKS, "defaults.")
    workdir = words["workdir"][0] if "workdir" in words else None
    return workdir, resources(reader, mapping, given, "defaults.")


def _jobs(reader: Reader, root: Mapping, entry: Entry | None, constants: dict[str, str]) -> dict[str, JobEntry]:
    if entry is None or not isinstance(entry.value, Mapping) or not entry.value.entries:
        reader.fail(entry or root, "there are no jobs", _EXAMPLE)
        return {}
    jobs = JobReader(reader, constants)
    found = {}
    for name, each in nodes.entries(reader, entry.value, None, "jobs.").items():
        if not _JOB.fullmatch(name):
            reader.fail(each.key, f"{name!r} cannot be the name of a job", "letters, digits, `_`, `-` and `.`")
        job = jobs.read(name, each)
        if job is not None:
            found[name] = job
    return found


# Needs ----------------------------------------------------------------------------------------------------------------


def _check_needs(reader: Reader, jobs: dict[str, JobEntry]) -> None:
    for job in jobs.values():
        for need in job.needs:
            if need.name not in jobs:
                _fail(
                    reader, need, f"{job.name} needs {need.name!r}, and there is no job of that name", _hint(need, jobs)
                )
    for circle in circles(_graph(jobs)):
        need = next(need for need in jobs[circle[0]].needs if need.name == circle[1])
        words = "a job needs itself" if len(circle) == 2 else "jobs need each other in a circle"
        _fail(reader, need, f"{words}: {' → '.join(circle)}", "one of these needs has to go")


def _graph(jobs: dict[str, JobEntry]) -> dict[str, list[str]]:
    return {job.name: [need.name for need in job.needs if need.name in jobs] for job in jobs.values()}


def _hint(need: Need, jobs: dict[str, JobEntry]) -> str | None:
    return nodes.suggestion(need.name, jobs)


def _fail(reader: Reader, need: Need, message: str, hint: str | None) -> None:
    reader.problems.append(msgspec.structs.replace(need.place, message=message, hint=hint))
