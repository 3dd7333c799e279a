"""Training jobs as live tmux sessions on GPU slots: started at most once, never lost."""

__version__ = "0.1.0"
