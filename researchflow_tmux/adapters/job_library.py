"""Makes `from researchflow_tmux import current_job` work in a job's own Python, which has never heard of this package.

A directory with nothing but a link to the package is put at the end of the job's PYTHONPATH: it shadows nothing, and
what the link leads to is imported only by jobs that ask for it (`researchflow_tmux.job` needs the standard library
alone).
"""

from __future__ import annotations

import os
from contextlib import suppress

import researchflow_tmux
from researchflow_tmux.domain.workspace import WorkspacePaths

VARIABLE = "PYTHONPATH"


def path_with_library(paths: WorkspacePaths, given: str | None) -> str | None:
    """Return the PYTHONPATH for a job: what the user has, then ours; `given` as it is if there can be no link."""
    directory = os.path.join(paths.state, "lib")
    return os.pathsep.join(part for part in (given, directory) if part) if _linked(directory) else given


def _linked(directory: str) -> bool:
    link = os.path.join(directory, researchflow_tmux.__name__)
    target = os.path.dirname(os.path.abspath(researchflow_tmux.__file__))
    try:
        if os.readlink(link) == target:
            return True
    except OSError:
        pass  # not there yet
    fresh = f"{link}.{os.getpid()}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        os.symlink(target, fresh)
        os.replace(fresh, link)  # another version was linked before: jobs that are running keep what they imported
    except OSError:
        with suppress(OSError):
            os.unlink(fresh)
        return False
    return True
