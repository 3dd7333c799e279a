"""The names of a workspace's own files."""

from __future__ import annotations

import os

import msgspec

STATE_DIR = ".rfsched"
CONFIG_NAME = "scheduler_config.yml"


class WorkspacePaths(msgspec.Struct, frozen=True, kw_only=True):
    """The only place that knows where the workspace's own files are. All paths absolute."""

    root: str
    config: str
    """The scheduler_config.yml in use."""

    @property
    def state(self) -> str:
        """The private state directory (0700)."""
        return os.path.join(self.root, STATE_DIR)

    @property
    def database(self) -> str:
        """The SQLite file."""
        return os.path.join(self.state, "state.db")

    @property
    def lock(self) -> str:
        """Held by whoever writes the state: the scheduler, or the CLI while none runs."""
        return os.path.join(self.state, "lock")

    @property
    def decisions(self) -> str:
        """The latest decisions, a line each; those before are in the same name with `.1`."""
        return os.path.join(self.state, "decisions.jsonl")

    @property
    def policy(self) -> str:
        """What the policy plug-in of the running scheduler said."""
        return os.path.join(self.state, "policy.json")

    @property
    def wake(self) -> str:
        """FIFO: a byte in it makes the scheduler look at once."""
        return os.path.join(self.state, "wake")

    @property
    def live(self) -> str:
        """What the running scheduler last saw of GPUs and itself (JSON, replaced atomically)."""
        return os.path.join(self.state, "live.json")

    @property
    def made(self) -> str:
        """Where runners note the successes of jobs that have inputs and outputs."""
        return os.path.join(self.state, "made")

    @property
    def calls(self) -> str:
        """Where the calls of function jobs are until the jobs are forgotten."""
        return os.path.join(self.state, "calls")

    @property
    def usage(self) -> str:
        """What the sampler last measured of GPUs and jobs (JSON, replaced atomically)."""
        return os.path.join(self.state, "usage.json")

    @property
    def samples(self) -> str:
        """How the GPUs were used over time (SQLite); may be deleted."""
        return os.path.join(self.state, "samples.db")

    @property
    def predictions(self) -> str:
        """What is known of how long jobs take (SQLite); may be deleted."""
        return os.path.join(self.state, "predictions.db")

    @property
    def foreseen(self) -> str:
        """How far running jobs are, and when they should end (JSON, replaced atomically)."""
        return os.path.join(self.state, "foreseen.json")

    def attempt_dir(self, job_id: int, number: int) -> str:
        """Where one attempt's spec, claim and exit record are."""
        return os.path.join(self.state, "attempts", str(job_id), str(number))
