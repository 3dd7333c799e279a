"""The arguments that several commands share: JOB with completion of names, and the workspace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from researchflow_tmux.cli.main import Chosen

F = TypeVar("F", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A number in a range; click lets `nan` pass, which is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises click.BadParameter."""
        number: float = super().convert(value, param, ctx)
        if number != number:  # nan alone is not itself
            self.fail(f"{value} is not a number", param, ctx)
        return number


pass_chosen = click.make_pass_decorator(Chosen)


def complete_jobs(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of jobs that begin like this; nothing at all where there is no workspace."""
    from researchflow_tmux.adapters.sqlite_reader import SqliteReader
    from researchflow_tmux.api.locate import find_workspace
    from researchflow_tmux.domain.errors import RfschedError

    given = ctx.find_root().params
    try:
        with SqliteReader(find_workspace(given.get("workspace"), given.get("config")).database) as reader:
            return sorted({row.name for row in reader.jobs() if row.name.startswith(incomplete)})
    except (RfschedError, OSError):
        return []


def jobs_argument(*, required: bool) -> Callable[[F], F]:
    """`JOB…`."""
    metavar = "JOB..." if required else "[JOB...]"
    return click.argument("jobs", nargs=-1, required=required, metavar=metavar, shell_complete=complete_jobs)


def job_argument(*, required: bool) -> Callable[[F], F]:
    """`JOB`."""
    metavar = "JOB" if required else "[JOB]"
    return click.argument("job", required=required, metavar=metavar, shell_complete=complete_jobs)
