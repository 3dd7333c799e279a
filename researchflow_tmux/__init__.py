"""Training jobs as live tmux sessions on GPU slots: started at most once, never lost."""

import sys

__version__ = "0.1.0"
__all__ = [
    "JobFailed",
    "JobHandle",
    "RemoteError",
    "ResultError",
    "RfschedError",
    "UsageError",
    "Workspace",
    "current_job",
    "job",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from researchflow_tmux.api.functions import job as job
    from researchflow_tmux.api.handles import JobHandle as JobHandle
    from researchflow_tmux.api.python import Workspace as Workspace
    from researchflow_tmux.domain.errors import JobFailed as JobFailed
    from researchflow_tmux.domain.errors import RemoteError as RemoteError
    from researchflow_tmux.domain.errors import ResultError as ResultError
    from researchflow_tmux.domain.errors import RfschedError as RfschedError
    from researchflow_tmux.domain.errors import UsageError as UsageError
    from researchflow_tmux.job import current_job as current_job

else:
    ModuleType = type(sys)  # the runner gets by with few modules

_HOMES = {
    "current_job": "researchflow_tmux.job",
    "Workspace": "researchflow_tmux.api.python",
    "JobHandle": "researchflow_tmux.api.handles",
    "JobFailed": "researchflow_tmux.domain.errors",
    "RemoteError": "researchflow_tmux.domain.errors",
    "ResultError": "researchflow_tmux.domain.errors",
    "RfschedError": "researchflow_tmux.domain.errors",
    "UsageError": "researchflow_tmux.domain.errors",
}
"""Where each public name comes from. On demand: the scheduler, its runner and the jobs need none of it."""


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    """`researchflow_tmux.job` is the decorator, although there is a subpackage of that name.

    Importing a subpackage sets it as an attribute of the package. Here that is passed over: imports find the subpackage
    by its full name all the same (`from researchflow_tmux.job import current_job`).
    """

    @property
    def job(self) -> object:
        from researchflow_tmux.api.functions import job

        return job

    @job.setter
    def job(self, _subpackage: object) -> None:
        pass


sys.modules[__name__].__class__ = _Package
