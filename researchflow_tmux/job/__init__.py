"""What a running job may call: its checkpoints, metrics and progress.

    from researchflow_tmux import current_job

    job = current_job()
    resumed = job.checkpoint.load_latest()

It stands alone: the standard library of Python 3.8 or newer is enough, and nothing else of the package is imported, for
the Python that runs a job need not have the rest of it.
"""

from .checkpointer import Checkpointer, Restored
from .current import Job, current_job
from .errors import CheckpointError, DamageError, StateError
from .files import Files
from .saving import Saving

__all__ = [
    "CheckpointError",
    "Checkpointer",
    "DamageError",
    "Files",
    "Job",
    "Restored",
    "Saving",
    "StateError",
    "current_job",
]
