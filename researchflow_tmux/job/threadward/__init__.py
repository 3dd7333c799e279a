"""What runs in a job's own Python for a threadward project: its variables, its tasks, its hooks.

Standard library of Python 3.8 or newer alone, like all of `researchflow_tmux.job`.
"""
