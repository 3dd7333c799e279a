"""What the command line and Python users call."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.api.python import Workspace as Workspace


def __getattr__(name: str) -> object:
    # On demand: the command line needs only parts of it.
    if name == "Workspace":
        from researchflow_tmux.api.python import Workspace

        return Workspace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
