"""What stands in the way of running jobs on this machine: many small looks, each with what to do about it."""

from researchflow_tmux.adapters.doctor.check import Check, Context
from researchflow_tmux.adapters.doctor.run import run_checks

__all__ = ["Check", "Context", "run_checks"]
