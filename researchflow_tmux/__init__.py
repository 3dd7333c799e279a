"""Training jobs as live tmux sessions on GPU slots: started at most once, never lost."""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.job import current_job as current_job


def __getattr__(name: str) -> object:
    # On demand: the scheduler and its runner have no use for what jobs call.
    if name == "current_job":
        from researchflow_tmux.job import current_job

        return current_job
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
