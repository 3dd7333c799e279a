"""Sweeps: variables, the values they may have, and every wanted combination in a fixed order. Pure."""

from researchflow_tmux.domain.sweeps.expansion import Choice, Sweep, Variable
from researchflow_tmux.domain.sweeps.variable_set import Combination, VariableSet

__all__ = ["Choice", "Combination", "Sweep", "Variable", "VariableSet"]
