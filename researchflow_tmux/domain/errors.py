"""Every error a user can meet, as one tree.

RfschedError
├── ConfigError        the user's files say something that cannot be done: all problems at once
├── UsageError         the command line asks for something that cannot be done
├── StoreError         the workspace's state cannot be read or written
│   └── WorkspaceBusy  somebody else is writing it (another scheduler, another host)
├── HostUnreachable    tmux does not answer, or cannot be started
├── LaunchError        one job could not be launched
├── ProbeError         the GPUs could not be read
├── JobFailed          a job whose result was asked for did not succeed
│   └── RemoteError    the Python function that was the job raised an exception
├── ResultError        a job succeeded, and what it returned cannot be read here
├── RankError          the user's order of GPUs gave none
└── PolicyError        the user's policy cannot be loaded, or gave no answer

`InvalidTransition` stands apart: it is a bug of ours and is never caught.
"""

from __future__ import annotations

import msgspec


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with an input: where it is, what is wrong, what to do."""

    message: str
    file: str | None = None
    line: int | None = None
    """1-based."""
    column: int | None = None
    """1-based."""
    hint: str | None = None
    source_line: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        lines = [f"{place}: {self.message}" if place else self.message]
        if self.source_line is not None and self.column is not None:
            lines += [f"    {self.source_line}", "    " + " " * (self.column - 1) + "^"]
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)


class RfschedError(Exception):
    """The root: catching it catches everything this package raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n    hint: {self.hint}" if self.hint else self.message


class UsageError(RfschedError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class ConfigError(RfschedError):
    """The user's files cannot be used; `problems` names every problem found, in file order."""

    exit_code = 3

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StoreError(RfschedError):
    """The workspace's state cannot be read or written."""

    exit_code = 4


class WorkspaceBusy(StoreError):  # noqa: N818 - it reads as the fact it states
    """Somebody else is writing the workspace's state."""


class WorkspaceElsewhere(WorkspaceBusy):
    """The workspace is in the hands of another machine: waiting here changes nothing."""


class HostUnreachable(RfschedError):  # noqa: N818 - it reads as the fact it states
    """tmux does not answer or cannot be started. Nothing may be concluded about any job."""

    exit_code = 5


class LaunchError(RfschedError):
    """One job could not be launched."""

    exit_code = 6


class ProbeError(RfschedError):
    """The GPUs could not be read. An unread GPU is unknown, never free."""

    exit_code = 7


class JobFailed(RfschedError):  # noqa: N818 - it reads as the fact it states
    """A job whose result was asked for did not succeed: it failed, was cancelled, or was skipped."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        job_id: int = 0,
        state: str = "failed",
        code: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.job_id = job_id
        self.state = state
        """How the job ended: failed, cancelled or skipped."""
        self.code = code
        """The job's exit code; None = it has none."""


class RemoteError(JobFailed):
    """The Python function that was the job raised an exception, or returned what cannot be pickled.

    The exception itself is the cause (`__cause__`) and `original`, if it can be pickled.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        job_id: int = 0,
        state: str = "failed",
        code: int | None = None,
        traceback: str = "",
        original: BaseException | None = None,
    ) -> None:
        super().__init__(message, hint=hint, job_id=job_id, state=state, code=code)
        self.traceback = traceback
        """The traceback as text, as it is in the job's log."""
        self.original = original
        self.__cause__ = original

    def __str__(self) -> str:
        told = super().__str__()
        return f"{told}\n\n{self.traceback.rstrip()}" if self.traceback else told


class ResultError(RfschedError):
    """A job succeeded, and what it returned cannot be read here."""


class InvalidTransition(Exception):  # noqa: N818 - it reads as the fact it states
    """A state was asked to change in a way the transition table does not have: a bug, never caught."""


class RankError(RfschedError):
    """The function that `gpu_order` names gave no order of the GPUs."""

    exit_code = 1


class PolicyError(RfschedError):
    """The policy plug-in cannot be loaded, raised, answered nonsense, or gave no answer in time."""

    exit_code = 1
