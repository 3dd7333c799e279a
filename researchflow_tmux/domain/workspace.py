"""A workspace: its settings, every key of scheduler_config.yml, in one place."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from researchflow_tmux.domain.hooks import Hook
from researchflow_tmux.domain.job import CompletionRule, SuccessRule
from researchflow_tmux.domain.job_section import Fraction, JobSection, Natural, Percent, Positive, Seconds
from researchflow_tmux.domain.projects import Project, User
from researchflow_tmux.domain.workspace_paths import CONFIG_NAME, STATE_DIR, WorkspacePaths

__all__ = ["CONFIG_NAME", "META_TASK_NAME", "STATE_DIR", "JobSection", "Settings", "WorkspacePaths"]

META_TASK_NAME = "task_name"
"""In the state's meta table, the name in force: that of the settings when the scheduler last took them over."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every key of scheduler_config.yml, with its default. Descriptions feed the editor schema and the reference."""

    # -- names and places
    task_name: Annotated[str, Meta(description="Name of the sessions and logs.", min_length=1)]
    work_dir: Annotated[
        str, Meta(description="Directory the jobs run in. Relative paths are relative to the workspace.")
    ] = "."
    config_dir: Annotated[str, Meta(description="Directory of the job configs; `${task_name}` is substituted.")] = (
        "configs"
    )
    config_pattern: Annotated[str, Meta(description="Which files in config_dir are job configs (a glob).")] = "*.yml"
    job_dir: Annotated[
        str,
        Meta(description="Directory of job files, task tables, sweeps and pipelines; `${task_name}` is substituted."),
    ] = "jobs"
    processed_dir: Annotated[
        str, Meta(description="Where job files go that have nothing more to run, as `{file}.old`.")
    ] = "processed"
    archive_job_files: Annotated[
        Literal["finished", "ended", "never"],
        Meta(
            description="When a job file goes there: all its commands finished (`finished`), or ended in any way "
            "(`ended`)."
        ),
    ] = "finished"
    script_path: Annotated[str, Meta(description="The training script; `${task_name}` is substituted.")] = "train.py"
    output_dir: Annotated[str, Meta(description="Where completion markers `{config stem}_completed.txt` are.")] = "out"
    checkpoint_dir: Annotated[
        str,
        Meta(
            description="Where jobs keep their checkpoints, each in a directory of its own; also a URL such as "
            "`s3://bucket/path`.",
            min_length=1,
        ),
    ] = "checkpoints"

    # -- sessions
    scheduler_session_suffix: Annotated[
        str, Meta(description="The scheduler's session is `{task_name}{this}`.", min_length=1)
    ] = "_scheduler"
    worker_prefix: Annotated[str, Meta(description="Prefix of job sessions; empty = task_name.")] = ""
    cleanup_on_complete: Annotated[
        bool, Meta(description="Close the session of a job that succeeded. Failed ones stay for a look.")
    ] = False
    keep_sessions: Annotated[
        Natural, Meta(description="How many sessions of ended jobs stay at most; the oldest are closed first.")
    ] = 20
    tmux_socket: Annotated[
        str, Meta(description="tmux socket: a name (as `tmux -L`) or an absolute path (as `tmux -S`); empty = default.")
    ] = ""

    # -- GPUs
    gpu_count: Annotated[
        Natural | str | list[int | str],
        Meta(
            description="`auto` (all), a number (the first N), a list of indices or UUIDs, "
            "`simulated`, `simulated:N`, `simulated:12GiB,24GiB` or `simulated:4xA100,2xT4` (no hardware needed)."
        ),
    ] = "auto"
    max_jobs_per_gpu: Annotated[
        Positive | Literal["unlimited"],
        Meta(description="Jobs at a time on one GPU; `unlimited` = no limit by number."),
    ] = 1
    share: Annotated[
        Fraction | None,
        Meta(description="Part of a GPU that one job gets, such as 0.5; empty = what max_jobs_per_gpu makes of one."),
    ] = None
    gpu_memory: Annotated[
        str | Natural | None,
        Meta(
            description="Memory that a job needs on each of its GPUs, such as `12GiB` (a bare number: MiB): kept free "
            "for it from its start on; empty = not said."
        ),
    ] = None
    gpu_type: Annotated[
        str | None,
        Meta(
            description="Kinds of GPU on which a job may run, such as `A100` or `A100|H100` (the preferred one first): "
            "words of the name that `rfsched gpus` shows, `*` for anything; empty = any."
        ),
    ] = None
    min_gpu_memory: Annotated[
        str | Natural | None,
        Meta(description="Memory that each of a job's GPUs must have in all, such as `40GiB`; empty = any."),
    ] = None
    compute_capability: Annotated[
        str | None, Meta(description="The least CUDA compute capability of a job's GPUs, such as `8.0`; empty = any.")
    ] = None
    topology: Annotated[
        str | None,
        Meta(
            description="How the GPUs of a job for several should be connected, if there is a choice: `nvlink`, "
            "`same_switch`, `same_numa` or `any`; with `!` it waits for it, such as `nvlink!`; empty = the best there "
            "is."
        ),
    ] = None
    max_memory: Annotated[
        Percent | None,
        Meta(description="No job starts on a GPU with this much of its memory in use, in percent; empty = any."),
    ] = None
    max_util: Annotated[
        Percent | None,
        Meta(description="No job starts on a GPU that was this busy over the last 60 s, in percent; empty = any."),
    ] = None
    min_free_memory: Annotated[
        str | Natural | None,
        Meta(description="No job starts on a GPU with less memory free than this, such as `10GiB`; empty = any."),
    ] = None
    max_processes: Annotated[
        Positive | None,
        Meta(description="No job starts on a GPU on which so many processes run, whosever they are; empty = any."),
    ] = None
    grace_period: Annotated[
        str | Natural | None,
        Meta(
            description="For so long after a start or an end on a GPU nothing starts there, as seconds or `3m`; "
            "0 = not at all; empty = 60 s after a start where max_jobs_per_gpu is unlimited and there are thresholds, "
            "else none."
        ),
    ] = None
    gpu_order: Annotated[
        str,
        Meta(
            description="Which GPU comes first: `spread`, `pack`, `most_free_memory`, `least_utilised`, "
            "`fewest_processes`, `coolest`, `least_power`, `lowest_index`, `highest_index`, or a comparison of yours "
            "as `module:function`."
        ),
    ] = "spread"
    keep_scarce_gpus: Annotated[
        bool,
        Meta(
            description="Jobs that run on any GPU take first those that are not needed by jobs which say their "
            "`gpu_type` (memory, compute capability); with a policy those have the first choice of scarce GPUs."
        ),
    ] = True
    max_jobs: Annotated[
        Positive | Literal["unlimited"], Meta(description="Jobs at a time in all, on GPUs and without.")
    ] = "unlimited"
    max_ram: Annotated[
        Percent | None,
        Meta(description="No job starts while so much of the machine's memory is in use, in percent; empty = any."),
    ] = None
    kill_ram: Annotated[
        Percent | None,
        Meta(
            description="While so much of the machine's memory is in use, in percent, the job that uses most is "
            "stopped and waits again; empty = never."
        ),
    ] = None
    cpus: Annotated[
        Positive | None,
        Meta(description="CPU cores of its own that each job gets; empty = it shares all with everybody."),
    ] = None
    memory: Annotated[
        str | Natural | None,
        Meta(
            description="Memory of the machine that a job may use with all its processes, such as `16GiB` (a bare "
            "number: MiB): promised to one job only, and a job above it is stopped; empty = no limit."
        ),
    ] = None
    max_cpu_jobs: Annotated[
        Positive | Literal["auto"], Meta(description="CPU jobs (`gpus: 0`) at a time; `auto` = one per core.")
    ] = "auto"
    avoid_foreign: Annotated[
        bool, Meta(description="Do not use a GPU that is filled by processes which are no rfsched jobs.")
    ] = True
    available_gpus_file: Annotated[
        str,
        Meta(
            description="File that lists the GPUs to be used (indices or UUIDs), read again whenever it changes; "
            "without such a file all are. A GPU that it leaves out is drained.",
            min_length=1,
        ),
    ] = "available_gpus.txt"
    available_gpus_kill: Annotated[
        bool, Meta(description="Also stop the jobs on GPUs that this file leaves out; they wait for another GPU.")
    ] = False
    sample_interval: Annotated[
        Seconds,
        Meta(description="Seconds between measurements of GPUs and jobs while jobs run or wait; 0 = none are made."),
    ] = 5.0
    gpu_idle_after: Annotated[
        str | Natural | None,
        Meta(description="A GPU that has had no job for so long is told to be idle (history, hooks); empty = never."),
    ] = "10m"
    cuda_visible_devices_var: Annotated[
        str, Meta(description="Variable that tells a job its GPUs.", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    ] = "CUDA_VISIBLE_DEVICES"

    # -- how a config becomes a command
    command: Annotated[
        str,
        Meta(
            description="Command of a config job, a shell line; knows {python} {script} {config} {name} {output_dir}."
        ),
    ] = "{python} {script} --config_path {config}"
    table_command: Annotated[
        str,
        Meta(
            description="Command of a row of a task table without a `cmd` of its own; knows {args}, {name}, {row}, "
            "{cmd} and `{column}` for every column, besides {python} and {script}."
        ),
    ] = ""
    table_function: Annotated[
        str,
        Meta(
            description="Function that makes the commands of task tables: `module:function` or `file.py:function`, "
            "called as function(row, gpu_id, sorted_gpu_ids) when a job starts."
        ),
    ] = ""
    tables: Annotated[
        list[str], Meta(description="Task tables that are not in job_dir; relative to the workspace.")
    ] = []
    before: Annotated[
        list[str], Meta(description="Shell lines run before the command in the same shell, e.g. `module load cuda`.")
    ] = []
    python_env: Annotated[
        str,
        Meta(
            description="Python of the jobs: an executable, a venv directory, or a command such as `uv run python`; "
            "empty = the `python` of the shell in which `start` or `add` was typed."
        ),
    ] = ""
    conda_env: Annotated[str, Meta(description="Conda environment to activate (name or path); empty = none.")] = ""
    env: Annotated[dict[str, str], Meta(description="Variables set for every job.")] = {}

    # -- ends and retries
    completion: Annotated[
        CompletionRule,
        Meta(description="What makes a success: `exit_code` (0), `marker` (the file), or `marker_and_exit` (both)."),
    ] = "exit_code"
    success: Annotated[
        SuccessRule | None,
        Meta(
            description="What counts: `no_error_only` (the completion rule), `no_error_and_verify`, `verify_only`, or "
            "`always` (any end that nobody forced); empty = no error, and verified if there is a `verify`."
        ),
    ] = None
    verify: Annotated[
        str | None,
        Meta(
            description="Asked after the job has ended whether it succeeded: a shell line (0 = yes; knows {python} "
            "{config} {name} {output_dir}), or `module:function`."
        ),
    ] = None
    verify_timeout: Annotated[
        str | Natural | None, Meta(description="How long verifying may take: seconds or `10m`; empty = 5 minutes.")
    ] = "5m"
    marker_grace: Annotated[
        Seconds, Meta(description="Seconds a job may live on after its marker appeared before it is stopped.")
    ] = 10.0
    stop_grace: Annotated[
        Seconds, Meta(description="Seconds between the polite signal (TERM) and the last one (KILL).")
    ] = 10.0
    time_limit: Annotated[
        str | Natural | None,
        Meta(description="Time limit of each attempt: seconds or `90m`, `12h`, `2d`; empty = none."),
    ] = None
    auto_restart_failed: Annotated[bool, Meta(description="Try failed jobs again, up to max_retries times.")] = False
    max_retries: Annotated[Natural, Meta(description="Further attempts of a failed job, if auto_restart_failed.")] = 3
    retry_delay: Annotated[
        Seconds, Meta(description="Seconds before the first retry; doubles with each one, up to an hour.")
    ] = 10.0
    on_failure: Annotated[
        Literal["continue", "silent", "stop"],
        Meta(
            description="When a job has failed for good: `continue`, `silent` (the same, without a line on the screen "
            "and in the log), or `stop`: running jobs finish, nothing more is started until `rfsched start`."
        ),
    ] = "continue"
    oom_retries: Annotated[
        Natural,
        Meta(
            description="Further attempts of a job that ran out of memory, each with more room; counted apart from "
            "other retries."
        ),
    ] = 3
    oom_patterns: Annotated[
        list[str],
        Meta(description="Regular expressions: a failed job whose last output matches one was out of memory."),
    ] = []
    restart_lost: Annotated[
        bool,
        Meta(
            description="Queue a job again whose runner was killed or whose machine went down. It may then run twice."
        ),
    ] = False

    # -- telling others
    hooks: Annotated[
        dict[str, tuple[Hook, ...]],
        Meta(
            description="Commands and webhooks by event: `start`, `success`, `failure`, `oom`, `queue_empty` or "
            "`gpu_idle`."
        ),
    ] = {}

    # -- what starts next
    policy: Annotated[
        str,
        Meta(
            description="Which waiting job starts next: `queue` (priority, then who waited longest), `balanced` (fair "
            "shares, smaller work first up to an age, deadlines), `fifo`, `easy_fifo`, `sjf`, `fair_share`, "
            "`makespan`, or a policy of yours as `module:object` or `file.py:object`."
        ),
    ] = "queue"
    projects: Annotated[
        dict[str, Project],
        Meta(
            description="By name, each with its `weight` (1; for policies but `queue`), caps, budgets, deadline: "
            "see below."
        ),
    ] = {}
    users: Annotated[
        dict[str, User], Meta(description="By login name, each with caps and budgets as those of projects; see below.")
    ] = {}

    preemptible: Annotated[
        bool,
        Meta(
            description="Jobs may be stopped (with time to save themselves) and queued again when one with a deadline "
            "needs their GPUs; for `policy: balanced`. A job's own `preemptible` has the last word."
        ),
    ] = False
    preempt_grace: Annotated[
        str | Natural, Meta(description="How long a job that is stopped for another one may take to save itself.")
    ] = "60s"
    preempt_after: Annotated[
        str | Natural,
        Meta(description="A job runs for so long before it is stopped for another one, twice as long each time again."),
    ] = "10m"

    # -- watching
    watch_configs: Annotated[
        bool, Meta(description="Queue new files in config_dir while the scheduler runs (if started with all configs).")
    ] = True
    check_interval: Annotated[
        Annotated[float, Meta(gt=0)],
        Meta(description="Seconds between fallback sweeps. Refilling a free slot does not wait for them."),
    ] = 10.0
    startup_delay: Annotated[Seconds, Meta(description="Accepted for old configs; needless, 0 is right.")] = 0.0
    command_delay: Annotated[Seconds, Meta(description="Accepted for old configs; needless, 0 is right.")] = 0.0

    # -- logs
    log_dir: Annotated[str, Meta(description="Where logs are written.")] = "logs"
    enable_logging: Annotated[bool, Meta(description="Write log files.")] = True
    decision_log: Annotated[
        str,
        Meta(
            description="Whether each decision about what starts is kept, with all that it went by: `on` (8 MiB of "
            "them), `off`, or the most space they may take, such as `50MiB` (a bare number: MiB)."
        ),
    ] = "on"
    log_cap: Annotated[
        str | Natural | None,
        Meta(description="Size cap of one job's log, such as `1GiB` (a bare number: MiB); empty = none."),
    ] = "1GiB"
