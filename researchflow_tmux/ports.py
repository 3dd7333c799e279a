"""What the engine needs of the world: five protocols. Adapters keep these promises, and so do the simulator's parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from researchflow_tmux.domain.attempt import Attempt, AttemptKey, Ended
from researchflow_tmux.domain.events import Event, Payload
from researchflow_tmux.domain.hardware import GpuTraits
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.limits import RamReading
from researchflow_tmux.domain.plugin import Answer, Hooks, Question
from researchflow_tmux.domain.resources import GpuInfo, GpuReading, Ticket

# Clock ----------------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The only source of time."""

    boot_id: str
    """Changes with every start of the machine."""

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; for spans."""
        ...


# Store ----------------------------------------------------------------------------------------------------------------


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One thing somebody asks of the scheduler, from the inbox."""

    id: int
    kind: str
    json: bytes
    """What it says, as it was written: thousands of jobs are decoded once, by whoever knows what they are."""
    by: str

    @property
    def body(self) -> dict[str, Any]:
        """What it says. Raises msgspec.MsgspecError when it is no JSON object."""
        return msgspec.json.decode(self.json, type=dict[str, Any])


class StoredState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the engine starts from."""

    jobs: list[Job]
    attempts: list[Attempt]
    """The live ones only."""
    next_job_id: int
    meta: dict[str, str]


class Store(Protocol):
    """The durable state. `commit` is one transaction: all or nothing, on disk when it returns."""

    def load(self) -> StoredState:
        """The rows as they stand."""
        ...

    def commit(
        self,
        payloads: Sequence[Payload],
        jobs: Iterable[Job],
        attempts: Iterable[Attempt],
        *,
        at: datetime,
        replies: Mapping[int, Mapping[str, Any]] | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> list[Event]:
        """Append the events, replace the rows of `jobs` and `attempts`, answer requests; all in one transaction.

        Raises StoreError when the disk refuses; then nothing of it is there.
        """
        ...

    def requests(self) -> list[Request]:
        """The unanswered requests, oldest first."""
        ...

    def environment(self, digest: str) -> dict[str, Any]:
        """The environment captured under `digest`. Raises StoreError if there is none."""
        ...


# SessionHost ----------------------------------------------------------------------------------------------------------


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One tmux session of ours, as the host sees it."""

    name: str
    tag: str
    """`{workspace id}/{job}.{attempt}`, or `{workspace id}/scheduler`."""
    pane_pid: int
    pane_dead: bool
    attached: int
    created_at: float


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """The host answered."""

    by_name: dict[str, Session]
    """Tagged sessions of this workspace only."""
    foreign_names: frozenset[str]
    """Names in use by anybody else."""
    server_pid: int


class ServerDown(msgspec.Struct, frozen=True, kw_only=True):
    """There is certainly no tmux server on our socket."""


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """The host did not answer, or not intelligibly: nothing may be concluded."""

    why: str


Snapshot = Sessions | ServerDown | Unknown


class Launched(msgspec.Struct, frozen=True, kw_only=True):
    """The session is there and the runner was started in it."""

    runner_pid: int


class NameTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A session of that name exists and is not this attempt's: never touched."""

    owner: str


class LaunchRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The launch did not happen; `why` is for people. `host` = it would not have worked for any job."""

    why: str
    host: bool


LaunchResult = Launched | NameTaken | LaunchRefused | Unknown


class Unreaped(msgspec.Struct, frozen=True, kw_only=True):
    """There is a valid exit record, and processes of the job that could not be killed: its slots are not free."""

    ended: Ended
    pids: tuple[int, ...]


class ClaimFree(msgspec.Struct, frozen=True, kw_only=True):
    """Claimed once, and the runner is dead; `survivors` are processes of the job that still live."""

    survivors: tuple[int, ...] = ()
    started_at: datetime | None = None
    rebooted: bool = False
    """The machine was restarted since the claim."""


class ClaimHeld(msgspec.Struct, frozen=True, kw_only=True):
    """The runner lives."""

    runner_pid: int
    started_at: datetime


class NotClaimed(msgspec.Struct, frozen=True, kw_only=True):
    """No runner has claimed the attempt so far."""


class Fenced(msgspec.Struct, frozen=True, kw_only=True):
    """The claim was taken by a scheduler: no runner can ever start this attempt."""


Observation = Ended | Unreaped | ClaimHeld | ClaimFree | NotClaimed | Fenced | Unknown
"""What the attempt's own files say. `Ended` = a valid exit record."""


class SessionHost(Protocol):
    """Where attempts run: tmux and the attempts' own directories. No method blocks for more than a few seconds."""

    def snapshot(self) -> Snapshot:
        """All sessions, in one call."""
        ...

    def observe(self, attempt: Attempt) -> Observation:
        """What the attempt's files say now; no tmux call."""
        ...

    def prepare(self, attempt: Attempt, job: Job, env: Mapping[str, Any]) -> tuple[Attempt, list[str]]:
        """Write the attempt's directory and spec; return the attempt with its log path, and warnings.

        A warning is, for instance, that the script changed since the job was queued. `env` is what the store has under
        the job's `env_digest`.

        Raises LaunchError when the job cannot run (its config vanished), StoreError when the disk refuses.
        Calling it again for the same attempt replaces the spec.
        """
        ...

    def launch(self, attempt: Attempt) -> LaunchResult:
        """Open the session and start the runner. Asking twice starts it once."""
        ...

    def fence(self, attempt: Attempt) -> bool:
        """Take the claim so that no runner ever can; False = a runner was faster."""
        ...

    def stop(self, attempt: Attempt, by: str, reason: str) -> None:
        """Ask the runner to end the job (TERM, grace, KILL)."""
        ...

    def grant(self, attempt: Attempt) -> bool:
        """Let the runner know what `attempt.grant` says now; asking again is harmless. False = not now, ask again.

        Without being told more, a runner ends its job so early that all is over before its grant is used up.
        """
        ...

    def saved_at(self, attempt: Attempt) -> datetime | None:
        """When the newest checkpoint was saved that the attempt could be gone on from; None = none is known.

        Never raises, and never takes long: where nobody can look (a URL, a file system that hangs), none is known.
        """
        ...

    def destroy(self, attempt: Attempt) -> tuple[int, ...]:
        """Kill the runner and everything that carries the attempt's cookie; return the pids that still live."""
        ...

    def close_sessions(self, names: Sequence[tuple[str, str]]) -> None:
        """Close sessions given as (name, tag), each only if it still carries that tag."""
        ...

    def rename_session(self, name: str, tag: str, new_name: str) -> None:
        """Rename a session that carries `tag`."""
        ...


class Wakeup(msgspec.Struct, frozen=True, kw_only=True):
    """Why the wait ended."""

    runners: frozenset[AttemptKey] = frozenset()
    """Attempts with news: the runner ended, or told of a claim or an exit record."""
    poked: bool = False
    """Somebody wrote to the wake FIFO without saying which attempt it is about: a request, most likely."""
    directories: frozenset[str] = frozenset()
    """Watched directories in which something changed."""


class Waiter(Protocol):
    """Sleeps until something happens."""

    def watch_runner(self, key: AttemptKey, pid: int) -> None:
        """Wake up when the process ends. A pid that is gone already wakes up at once."""
        ...

    def forget_runner(self, key: AttemptKey) -> None:
        """Stop watching; unknown keys are fine."""
        ...

    def wait(self, timeout_s: float) -> Wakeup:
        """Block until something happened, at most `timeout_s` seconds."""
        ...


# GpuProbe and Leases --------------------------------------------------------------------------------------------------


class GpuProbe(Protocol):
    """Reads GPUs."""

    def read(self) -> list[GpuReading]:
        """One reading per GPU, by ascending index. Raises ProbeError when nothing can be said."""
        ...


class GpuSurveyor(GpuProbe, Protocol):
    """Also knows what does not change of GPUs. Asked once, when the GPUs are looked for."""

    def survey(self) -> dict[str, GpuTraits]:
        """By UUID; what is unknown is None or not there. Raises ProbeError when nothing can be said."""
        ...


class Leases(Protocol):
    """Who holds which share of which GPU on this machine."""

    def live(self, uuids: Sequence[str]) -> list[Ticket]:
        """The live tickets on these GPUs, our own included. Raises ProbeError when the directory cannot be read."""
        ...

    def managed(self, runner_pids: Iterable[int], candidates: Iterable[int]) -> frozenset[int]:
        """Those of `candidates` that belong to a job of any rfsched workspace: descendants of the runners."""
        ...

    def owners(self, runner_pids: Iterable[int], candidates: Iterable[int]) -> dict[int, int]:
        """The runner that each of `candidates` descends from; those under none of them are left out."""
        ...

    def describe(self, pids: Iterable[int]) -> dict[int, str]:
        """Words for processes, such as "python pid 4242, user ann"."""
        ...


class GpuRanker(Protocol):
    """The user's comparison of GPUs."""

    def rank(self, infos: Sequence[GpuInfo]) -> list[str]:
        """The UUIDs of `infos`, the best first, within a second or so. Raises RankError when it gives no order."""
        ...


class PolicyPlugin(Protocol):
    """A policy of the user's. Whatever it does, no method blocks for more than a second or so."""

    name: str
    """As the settings have it: `module:object`."""

    def hooks(self) -> Hooks | None:
        """What it has; None = it is still being loaded. Raises PolicyError when it cannot be."""
        ...

    def ask(self, question: Question) -> Answer:
        """What it says now. Raises PolicyError for everything else; then it must be loaded anew."""
        ...

    def changed(self) -> bool:
        """Whether its files are different from when it was loaded last."""
        ...

    def reload(self) -> None:
        """Begin to load it anew. It knows nothing of what was told before."""
        ...


# Memory of the machine ------------------------------------------------------------------------------------------------


class RamProbe(Protocol):
    """Reads the machine's memory."""

    def read(self) -> RamReading | None:
        """How much there is and is in use now; None = it cannot be read."""
        ...

    def used_by(self, runner_pids: Iterable[int]) -> dict[int, int]:
        """MiB that the processes below each runner hold; runners of which that cannot be read are left out."""
        ...


__all__ = [
    "AttemptKey",
    "ClaimFree",
    "ClaimHeld",
    "Clock",
    "Fenced",
    "GpuProbe",
    "GpuRanker",
    "LaunchRefused",
    "LaunchResult",
    "Launched",
    "Leases",
    "NameTaken",
    "NotClaimed",
    "Observation",
    "PolicyPlugin",
    "RamProbe",
    "Request",
    "ServerDown",
    "Session",
    "SessionHost",
    "Sessions",
    "Snapshot",
    "Store",
    "StoredState",
    "Unknown",
    "Unreaped",
    "Waiter",
    "Wakeup",
]
