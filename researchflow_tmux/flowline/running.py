"""`run_cli`: from a FlowLine script to a scheduler with FlowLine's commands in front of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.flowline.places import place_of
from researchflow_tmux.flowline.preparing import prepare
from researchflow_tmux.flowline.prompt import Prompt
from researchflow_tmux.job.table_function import IMPORTING


def run_cli(
    func: Callable[..., str],
    task_dir: str | os.PathLike[str],
    user_cmp: Callable[[Any, Any], int] | None = None,
) -> None:
    """Run the rows of a table, each with the command that `func` makes of it.

    Args:
        func: Called as `func(dict, gpu_id, sorted_gpu_ids)` (or without the last) when a job has its GPU, in the job's
            own session; returns a shell line. It must be at the top level of a file.
        task_dir: The table: .xlsx, .csv, .tsv or .json.
        user_cmp: Compares two GPUs; negative = the first is better.

    In a terminal it offers FlowLine's commands. Without one it carries out the commands on its standard input; if there
    are none, it runs the table to its end and leaves with 1 if a job failed. Mistakes are told in words, and the script
    then ends with an exit code of `rfsched`.
    """
    if os.environ.get(IMPORTING):
        return  # the script is being imported by a job that wants its function
    try:
        order = None if user_cmp is None else place_of(user_cmp)
        workspace = prepare(os.fspath(task_dir), place_of(func), order)
    except RfschedError as error:
        print(f"run_cli: {error}", file=sys.stderr)  # noqa: T201 - this is a program's last word
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"run_cli: {where}{error.strerror or error}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(4)
    code = Prompt(workspace).run()
    if code:
        sys.exit(code)
