"""Write the parts of docs/reference that follow from the code: cli.md, config.md, json.md and python.md.

`python docs/generate.py` writes them; with `--check` it ends with 1 if one is not current.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import python_reference

from researchflow_tmux.adapters.config_reference import reference_markdown
from researchflow_tmux.adapters.live_file import LiveSources
from researchflow_tmux.adapters.sample_store import GpuSeries
from researchflow_tmux.api import (
    adding,
    cleaning,
    control,
    deciding,
    gpu_history,
    gpus,
    hooking,
    machine,
    pipelining,
    project_report,
    project_setting,
    projects,
    saved,
    sweeping,
    threadwarding,
    views,
    why,
)
from researchflow_tmux.api.plan_views import NotPlanned, PlannedGroup, PlannedJob, PlanView
from researchflow_tmux.cli.main import ALIASES, COMMANDS, HIDDEN, cli
from researchflow_tmux.domain.decisions import Considered, Decision
from researchflow_tmux.domain.reasons import WORDS
from researchflow_tmux.engine.steering import Steered
from researchflow_tmux.engine.submitting import Submitted
from researchflow_tmux.hindsight import graph, report, shares, timeline, utilisation
from researchflow_tmux.policies.prediction.accuracy import Accuracy
from researchflow_tmux.records.comparing import Comparison, Difference
from researchflow_tmux.records.pruning import Pruned
from researchflow_tmux.simulation.replay import comparing, figures

REFERENCE = Path(__file__).resolve().parent / "reference"
WIDTH = 118
NOTE = "<!-- Written by docs/generate.py; change the code, not this file. -->\n"
JSON_OUTPUTS: tuple[tuple[str, str, tuple[type[msgspec.Struct], ...]], ...] = (
    (
        "rfsched.status/1",
        "status --json",
        (views.StatusView, views.JobView, views.UsageView, views.GpuView, views.SchedulerView, views.AccountView),
    ),
    ("rfsched.plan/1", "plan --json", (PlanView, PlannedJob, PlannedGroup, NotPlanned)),
    ("rfsched.accuracy/1", "plan --accuracy --json: `accuracy`, a list of", (Accuracy,)),
    ("rfsched.why/1", "why --json", (why.Why, why.AttemptLine, why.Upstream)),
    (
        "rfsched.decisions/1",
        "why --decisions --json",
        (deciding.JobDecisions, deciding.JobDecision, Decision, Considered),
    ),
    (
        "rfsched.machine/1",
        "status --all --json",
        (machine.MachineView, machine.MachineWorkspace, machine.MachineGpu, machine.GpuTaker),
    ),
    ("rfsched.gpus/1", "gpus --json", (gpus.GpusView, gpus.GpuDetail, gpus.JobOnGpu, gpus.OtherProcess)),
    ("rfsched.gpu-history/1", "gpus --since 2h --json", (gpu_history.GpuHistory, GpuSeries)),
    ("rfsched.gpus-drain/1", "gpus drain --json (also gpus-enable, gpus-kill)", (Steered,)),
    ("rfsched.start/1", "start --json", (control.Started, Submitted, LiveSources)),
    ("rfsched.add/1", "add --json", (adding.Added,)),
    ("rfsched.add-many/1", "add --json with --array or -", (adding.AddedMany,)),
    ("rfsched.sweep/1", "sweep --json", (sweeping.Swept, sweeping.SweptJob)),
    ("rfsched.pipeline/1", "pipeline --json", (pipelining.Piped, pipelining.PipedJob)),
    ("rfsched.threadward/1", "threadward run --json", (threadwarding.Warded, threadwarding.WardTask)),
    ("rfsched.kill-all/1", "kill-all --json", (control.Killed,)),
    ("rfsched.checkpoints/1", "checkpoint list --json", (saved.CheckpointList, saved.CheckpointView)),
    ("rfsched.projects/1", "project list --json: `projects`, a list of", (projects.ProjectView, views.HoursView)),
    ("rfsched.project-report/1", "project report --json", (project_report.ProjectReport, report.Tally, Accuracy)),
    ("rfsched.project-set/1", "project set --json", (project_setting.ProjectSet,)),
    ("rfsched.hooks/1", "hooks list --json: `hooks`, a list of", (hooking.HookView,)),
    ("rfsched.hooks-test/1", "hooks test --json: `hooks`, a list of", (hooking.HookTest,)),
    ("rfsched.simulate/1", "simulate --json", (comparing.Compared, figures.Figures)),
    (
        timeline.SCHEMA,
        "export timeline --format json",
        (
            timeline.Timeline,
            timeline.TimelineLane,
            timeline.TimelineBar,
            timeline.TimelineDeadline,
            timeline.CountPoint,
        ),
    ),
    (
        graph.SCHEMA,
        "export graph --format json",
        (graph.Graph, graph.GraphNode, graph.GraphLink, graph.CriticalChain),
    ),
    (
        utilisation.SCHEMA,
        "export utilisation --format json",
        (utilisation.Utilisation, utilisation.GpuUse, utilisation.StepPoint, timeline.CountPoint),
    ),
    (report.SCHEMA, "export report --format json", (report.Report, report.Tally)),
    (shares.SCHEMA, "export shares --format json, and `shares` in the report", (shares.Shares, shares.ProjectShare)),
    ("rfsched.clean/1", "clean --json", (cleaning.Cleaned,)),
    ("rfsched.diff/1", "results diff --json", (Comparison, Difference)),
    ("rfsched.prune/1", "results prune --json", (Pruned,)),
)


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    return {
        "cli.md": cli_page(),
        "config.md": config_page(),
        "json.md": json_page(),
        "python.md": python_reference.page(NOTE),
    }


# The command line -----------------------------------------------------------------------------------------------------


def cli_page() -> str:
    """Every command with its arguments and options, from the click tree."""
    context = click.Context(cli, info_name="rfsched")
    parts = [
        "# Commands\n",
        NOTE,
        "Every command of `rfsched`, its arguments and its options.\n",
        "```text\nrfsched [-w DIR] [-f FILE] COMMAND ...\n```\n",
        *_options(cli, context),
        _WITHOUT_COMMAND,
        _JOB,
        "Exit codes are in [exit-codes.md](exit-codes.md), the fields of `--json` in [json.md](json.md).\n",
        "| Command | |\n|---|---|\n"
        + "".join(f"| [`{name}`](#{_anchor(name)}) | {words} |\n" for name, (_, _, words) in _shown()),
        textwrap.fill("Other names for commands: " + ", ".join(f"`{a}` = `{b}`" for a, b in ALIASES.items()), WIDTH)
        + ".\n",
    ]
    for name, _ in _shown():
        command = cli.get_command(context, name)
        assert command is not None
        parts += _command(command, click.Context(command, info_name=name, parent=context), "##")
    return "\n".join(parts)


_JOB = """\
`JOB` is a name, an id, a glob such as `'exp*'` (quote it), `@group` or `@label=value`. An exact name wins over an id; a
group and a value may be globs too.
"""
_WITHOUT_COMMAND = """\
Without a command, inside a workspace: `status`. `-w DIR` may also stand after the command. The workspace is the
directory with a `scheduler_config.yml`, here or above.
"""


def _shown() -> list[tuple[str, tuple[str, str, str]]]:
    return [(name, facts) for name, facts in COMMANDS.items() if name not in HIDDEN]


def _command(command: click.Command, context: click.Context, heading: str) -> Iterator[str]:
    path = context.command_path.removeprefix("rfsched ")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"{heading} {path}\n"
    yield from _help(command)
    yield f"```text\n{usage}\n```\n"
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _command(child, click.Context(child, info_name=name, parent=context), heading + "#")


def _help(command: click.Command) -> Iterator[str]:
    r"""The paragraphs of the help text; those marked with \b keep their lines."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            yield "```text\n" + paragraph.removeprefix("\b").strip("\n") + "\n```\n"
        else:
            yield textwrap.fill(" ".join(paragraph.split()), WIDTH) + "\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    found = [param.get_help_record(context) for param in command.params if isinstance(param, click.Option)]
    rows = [(row[0].replace("INTEGER RANGE", "N"), row[1]) for row in found if row is not None]
    if rows:
        lines = [f"| `{_cell(names)}` | {_cell(words)} |" for names, words in rows]
        yield "| Option | Meaning |\n|---|---|\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


# Settings -------------------------------------------------------------------------------------------------------------


def config_page() -> str:
    """Every setting, from the Struct itself."""
    intro = """\
        # Settings

        {note}
        Every key of `scheduler_config.yml`, and of the `rfsched:` section that a job's own config may have.

        Only `task_name` must be there. `rfsched config` shows what is in force and where each value comes from,
        `rfsched config set KEY VALUE` changes one value and leaves the rest of the file as it is; a running scheduler
        takes it over. Unknown keys and wrong values are errors, all told at once with file, line and column.

        - Relative paths are relative to the workspace; `~` is your home.
        - Times are seconds, or `90m`, `12h`, `2d`; sizes are `500MiB`, `1GiB`.
        - The file is read as YAML 1.2: `on` and `yes` are texts, `1e-3` is a number, `012` is a text.
        """
    return textwrap.dedent(intro).format(note=NOTE) + "\n" + reference_markdown()


# JSON -----------------------------------------------------------------------------------------------------------------


def json_page() -> str:
    """The fields of what `--json` prints, from the Structs it is made of."""
    parts = [
        "# JSON\n",
        NOTE,
        "What commands print with `--json`, field by field.\n",
        _ALL_OBJECTS,
    ]
    for schema, command, structs in JSON_OUTPUTS:
        parts.append(f"## rfsched {command}\n")
        parts.append(f"`{schema}`\n")
        for struct in structs:
            if len(structs) > 1:
                parts.append(f"### {struct.__name__}\n")
            parts.append(_fields(struct))
    parts.append(_OTHERS + "".join(f"| `{code}` | {words} |\n" for code, words in WORDS.items()))
    return "\n".join(parts)


_ALL_OBJECTS = """\
Each command prints one object on one line (`status --watch` and `history`: one per line), with `schema` and `at` (UTC,
ISO 8601). `null` means unknown or not yet; units are in the names. New fields may appear within a schema; none changes
its meaning without a new number.
"""
_OTHERS = """\
## Other commands

`history --json` prints one object per event, `rfsched.event/1`: `seq`, `at`, `kind`, `job_id`, `job` (its name), `text`
(the sentence that `history` shows), `boot_id`, `data` (all fields of the event).

`results --json` prints `runs`, a list of objects with all that a record says: `uuid`, `job_id`, `job`, `attempt`,
`group`, `config`, `finished`, `succeeded`, `outcome`, `reason_code`, `exit_code`, `signal`, `note`, `queued_at`,
`started_at`, `ended_at`, `duration_s`, `host`, `gpus`, `gpu_uuids`, `session`, `peak_rss_mib`, `cpu_s`,
`peak_tree_mib`, `peak_cpu_pct`, `peak_gpu_mib`, `peak_gpu_util_pct`, `mean_gpu_util_pct`, `command`,
`workdir`, `config_path`, `environment` (digest), `sha256` (digests by path), `log`, `marker` (its text), `outputs`,
`metrics` (last values), `metrics_range` (`last`, `min`, `max`, `count` of each), `git` (`commit`, `branch`, `dirty`,
`root`, `noted_at`), `files` (paths by name). With `--columns` only those. `results show --json` prints one of them.

`cancel`, `requeue`, `hold`, `release` print lists of job names by what became of them, such as `cancelled`, `stopping`,
`queued`, `held`, `untouched`; `set` prints `changed`, `unchanged`, `refused` (sentences), `notes`.
`wait` prints the jobs with `id`, `name`, `state`, `reason`, `exit_code`. `config` prints each setting with
its `value` and where it comes `from`.

## States and reasons

`state` is one of `held`, `queued` (shown as "waiting"), `running`, `succeeded`, `failed`, `cancelled`, `skipped`.

`reason_code` is one of these; `reason` is the same in words, with the particular fact.

| Code | In words |
|---|---|
"""
_MEANINGS = {
    "schema": "Name and version of this form.",
    "counts": "Number of jobs in each state; every state is there.",
    "state": "See [states and reasons](#states-and-reasons).",
    "reason": "Why it waits, or why it ended as it did.",
    "reason_code": "See [states and reasons](#states-and-reasons).",
    "until": "When the reason is known to end, such as a backoff.",
    "gpus_wanted": "GPUs it asks for.",
    "session": "Its tmux session, now or last.",
    "attempt": "Number of its latest attempt; 0 = none yet.",
    "headless": "It runs on without its session: tmux is gone.",
    "elapsed_s": "Seconds from its start to its end, or to now.",
    "retries_used": "Automatic further attempts so far.",
    "log": "Path of the log of its latest attempt.",
    "source": "`config`, `command` or `sweep`.",
    "key": "Its identity in the source: for a config its path in the workspace, for a job of a sweep file and values.",
    "blocked": "Why nothing is started on it now.",
    "kind": "`nvml`, `amd`, `logical` or `simulated`.",
    "note": "What is to be added.",
    "command": "What it runs.",
    "phase": "`planned`, `launching`, `running`, `stopping` or `ended`.",
    "outcome": "How it ended, in words.",
    "after": "What it comes after.",
    "last_line": "Last line of the log of a failed job.",
    "advice": "What one can do next.",
    "already_running": "A scheduler was there already.",
    "gpu_note": "Which GPUs are used, in words.",
    "done_before": "Left alone: their marker is there, or they succeeded before.",
    "left_failed": "Left alone: they failed before.",
    "code": "The commit, its branch, whether tracked files differ from it.",
    "same_config_keys": "How many values of the config are the same.",
    "uuids": "Their entries in the results.",
    "left_cancelled": "Left alone: they were cancelled before.",
}


def _fields(struct: type[msgspec.Struct]) -> str:
    words = _docs(struct)
    rows = ["| Field | Type | |", "|---|---|---|"]
    for field in msgspec.structs.fields(struct):
        cells = (
            f"`{field.encode_name}`",
            _type(field.type),
            words.get(field.name, _MEANINGS.get(field.encode_name, "")),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The texts that stand below the fields in the source."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


_TYPES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
}


def _type(annotation: Any) -> str:
    origin: Any = getattr(annotation, "__origin__", None)
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    if annotation in _TYPES:
        return _TYPES[annotation]
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[1])} by name"
    if origin is None and arguments:
        return _union(arguments)
    if arguments:  # a Literal
        return ", ".join(f"`{value}`" if isinstance(value, str) else _type(value) for value in arguments)
    name = getattr(annotation, "__name__", str(annotation))
    return {"datetime": "time", "Any": "any value"}.get(name, name)


def _union(members: Iterable[Any]) -> str:
    return " or ".join(_type(member) for member in members)


# Writing --------------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are not current."""
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if arguments == ["--check"]:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"not current: {', '.join(stale)}; run `python docs/generate.py`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
