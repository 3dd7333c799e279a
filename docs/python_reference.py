"""docs/reference/python.md: what Python users call, from its docstrings and signatures."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from researchflow_tmux.api.functions import JobFunction, job
from researchflow_tmux.api.handles import JobHandle
from researchflow_tmux.api.happenings import Events, Happening
from researchflow_tmux.api.pipeline_builder import PipelineBuilder
from researchflow_tmux.api.python import Workspace
from researchflow_tmux.api.wishes import KNOWN
from researchflow_tmux.domain import errors

CLASSES: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (
        Workspace,
        ("submit", "submit_many", "pipeline", "start", "handle", "handles", "wait", "as_completed", "results", "events",
         "timeline", "graph", "utilisation", "report",
         "set_jobs", "close"),
    ),
    (
        JobHandle,
        ("state", "reason", "why", "job", "attempts", "wait", "result", "exception", "logs", "cancel", "hold",
         "release", "requeue", "set", "__await__"),
    ),
    (JobFunction, ("__call__", "job", "submit", "having")),
    (PipelineBuilder, ("job", "submit", "__getitem__", "handles", "wait", "results")),
    (Events, ("close",)),
    (Happening, ()),
)  # fmt: skip
OPTIONS = {
    "name": "What the job is called; without it, the program or the function and four digits.",
    "gpus": "Number of GPUs; 0 = a CPU job. Without it 1.",
    "share": "Part of each GPU, such as `0.5`.",
    "gpu_memory": 'Memory to keep free for it on each GPU: `"12GiB"`, or a number of MiB.',
    "gpu_type": 'Only on GPUs of these types: `"A100"`, `"A100|H100"` (the preferred one first), or a list.',
    "min_gpu_memory": 'Only on GPUs with this much memory in all: `"40GiB"`.',
    "compute_capability": 'Only on GPUs of at least this compute capability: `"8.0"`.',
    "topology": 'How several GPUs should be connected: `"nvlink"`, `"same_switch"`, `"same_numa"`; `"nvlink!"` waits.',
    "max_memory": "Only on GPUs where less of the memory is in use, in percent.",
    "max_util": "Only on GPUs that were less busy over the last 60 s, in percent.",
    "min_free_memory": 'Only on GPUs with this much memory free: `"10GiB"`.',
    "time_limit": 'Stop each attempt after this: `"90m"`, `"2d"`, or a number of seconds.',
    "priority": "Higher starts first; 0 without it.",
    "project": "Whose share of the GPUs it uses, if the settings choose a `policy`.",
    "deadline": 'When it should have ended, for `policy: balanced`: `"2026-12-01 18:00"`, or a `datetime`.',
    "preemptible": "`True` = it may be stopped, and resumed later, for a job with a deadline; what the settings say "
    "without it.",
    "retries": "Further attempts after a failure; what the settings say without it.",
    "after": "Jobs that must have ended first: handles, names or ids, one or several.",
    "when": 'How those must have ended: `"success"` (all; the default), `"failure"` (one failed), `"always"`.',
    "group": "A group, named as `@group` elsewhere.",
    "labels": 'Labels: `{"model": "bert", "seed": 1}`.',
    "env": "Variables for the job, over the environment of this process.",
    "workdir": "Where it runs; without it the current directory.",
    "hold": "True = queued held, until it is released.",
    "verify": "A command, or `module:function`, that says whether it really succeeded.",
    "verify_timeout": "How long that may take.",
    "success": "What counts as a success: see `success` in the [settings](config.md).",
}
"""What each option of `submit` means."""

_TREE = re.compile(r"RfschedError\n(?:[│├└].*\n)+")


def page(note: str) -> str:
    """The page. Raises AssertionError when an option has no words here, or the other way round."""
    assert set(OPTIONS) == KNOWN, f"options without words, or words without options: {set(OPTIONS) ^ KNOWN}"
    rows = "".join(f"| `{name}` | {words} |\n" for name, words in OPTIONS.items())
    tree = _TREE.search(errors.__doc__ or "")
    assert tree is not None
    parts = [
        "# Python\n",
        note,
        "What `from researchflow_tmux import Workspace, job` offers, call by call, and what each raises.\n",
        "How to use it is in [Jobs from Python](../howto/python.md).\n",
        *_function(),
        "## Options of a job\n",
        "For `submit`, `submit_many`, `pipeline`, `@job` and `JobFunction.having`.\n",
        f"| Option | |\n|---|---|\n{rows}",
    ]
    for cls, members in CLASSES:
        parts += _class(cls, members)
    parts += [
        "## Exceptions\n",
        "All are in `researchflow_tmux.domain.errors`; `JobFailed`, `RemoteError`, `ResultError`, `UsageError` and",
        "`RfschedError` also in `researchflow_tmux`. Besides them there is Python's own `TimeoutError`.\n",
        f"```text\n{tree[0]}```\n",
        *_error(errors.JobFailed, ("job_id", "state", "code")),
        *_error(errors.RemoteError, ("traceback", "original")),
    ]
    return "\n".join(parts)


def _function() -> Iterator[str]:
    yield "## @job\n"
    yield "```text\n@job\n@job(**options)\n```\n"
    yield from _text(job.__doc__)


def _class(cls: type[Any], members: tuple[str, ...]) -> Iterator[str]:
    yield f"## {cls.__name__}\n"
    if cls is Workspace:
        yield f"```text\n{_signature('Workspace', cls.__init__)}\n```\n"
    yield from _text(cls.__doc__)
    if cls is Happening:
        yield "Its fields are `seq`, `at`, `kind`, `job_id`, `name`, `text` and `payload`.\n"
    for name in members:
        yield from _member(cls, name)


def _member(cls: type[Any], name: str) -> Iterator[str]:
    member = inspect.getattr_static(cls, name)
    shown = {"__await__": "await handle", "__call__": "function(…)", "__getitem__": "pipeline[…]"}.get(name, name)
    yield f"### {cls.__name__}: {shown}\n"
    if isinstance(member, property):
        yield from _text(member.__doc__)
        return
    if not name.startswith("__"):
        yield f"```text\n{_signature(name, member)}\n```\n"
    yield from _text(member.__doc__)


def _signature(name: str, function: Any) -> str:
    """The parameters without annotations, which say more than a reader wants; one line, or several if it is long."""
    found = inspect.signature(function)
    parameters = [each.replace(annotation=each.empty) for each in found.parameters.values() if each.name != "self"]
    line = f"{name}{found.replace(parameters=parameters, return_annotation=found.empty)}"
    return "\n".join(textwrap.wrap(line, 110, subsequent_indent=" " * (len(name) + 1)))


def _error(cls: type[Exception], attributes: tuple[str, ...]) -> Iterator[str]:
    yield f"### {cls.__name__}\n"
    yield from _text(cls.__doc__)
    yield f"It has {', '.join(f'`{name}`' for name in attributes)}.\n"


def _text(doc: str | None) -> Iterator[str]:
    """A docstring as Markdown: paragraphs as they are, examples as code."""
    told, _, example = inspect.cleandoc(doc or "").partition("Example:\n")
    after = ""
    if example:
        code, _, after = example.partition("\n\n")
        lines = [re.sub(r"\s+# doctest:.*", "", line) for line in textwrap.dedent(code).splitlines()]
        told, example = told.rstrip() + "\n", "```pycon\n" + "\n".join(lines) + "\n```\n"
    for part in (told, example, after):
        if part.strip():
            yield part.rstrip() + "\n"
