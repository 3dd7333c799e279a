"""What the command line and Python users call."""

from researchflow_tmux.api.workspace import Workspace

__all__ = ["Workspace"]
