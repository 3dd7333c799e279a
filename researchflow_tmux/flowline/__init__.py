"""FlowLine's `run_cli` on top of rfsched: `from researchflow_tmux.flowline import run_cli` and the script runs."""

from researchflow_tmux.flowline.running import run_cli

__all__ = ["run_cli"]
