"""How good predictions have been: each is compared with the end of its job, once that is there."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from researchflow_tmux.adapters.lesson_store import read_made
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.policies.prediction.accuracy import Accuracy
from researchflow_tmux.policies.prediction.accuracy import accuracy as of_made


def accuracy(
    workspace: Workspace, *, since: datetime | None = None, project: str | None = None, user: str | None = None
) -> list[Accuracy]:
    """One row for each moment at which predictions were made, of the jobs that ended since then (of a project or user).

    Raises StoreError when what is kept cannot be read.
    """
    try:
        made = read_made(workspace.paths.predictions, None if since is None else since.timestamp())
    except sqlite3.Error as error:
        said = f"{workspace.paths.predictions} cannot be read: {error}"
        raise StoreError(said, hint="it may be deleted: predictions then begin anew") from error
    return of_made(
        one for one in made if (project is None or one.project == project) and (user is None or one.user == user)
    )
