"""The scheduler's own tmux session: its name, opening it, and the environment it was started from."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Mapping

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.sqlite_store import SqliteStore
from researchflow_tmux.domain.errors import HostUnreachable, StoreError
from researchflow_tmux.domain.names import clean
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.ports import Launched, LaunchRefused, NameTaken, Unknown
from researchflow_tmux.wiring import Parts

META_ENVIRONMENT = "scheduler_environment"
"""Digest of the environment in which `start` was typed: its PATH, CUDA_VISIBLE_DEVICES and the like hold for us too."""
_PANE_OWN = ("TMUX", "TMUX_PANE", "TERM", "COLORTERM")


def session_name(settings: Settings) -> str:
    """`{task_name}{scheduler_session_suffix}`, in the form tmux allows."""
    return clean(settings.task_name + settings.scheduler_session_suffix)


def command(paths: WorkspacePaths) -> list[str]:
    """What runs in the pane: the keeper, and under it the scheduler."""
    keeper = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keeper.py")
    scheduler = [sys.executable, "-m", "researchflow_tmux", "-w", paths.root, "-f", paths.config, "_scheduler"]
    return [sys.executable, "-I", "-S", keeper, *scheduler]


def open_session(parts: Parts) -> str:
    """Open the scheduler's session and return its name. Raises HostUnreachable in plain words."""
    name = session_name(parts.settings)
    sessions = parts.tmux_sessions()
    tag = f"{parts.workspace_id}/scheduler"
    result = sessions.new_session(name, tag, command(parts.paths), "/", remain=False)
    if isinstance(result, NameTaken):
        name = f"{name}_{parts.workspace_id[:6]}"
        result = sessions.new_session(name, tag, command(parts.paths), "/", remain=False)
    match result:
        case Launched():
            return name
        case NameTaken(owner=owner):
            raise HostUnreachable(f"the session name {name} belongs to {owner}", hint="change task_name")
        case LaunchRefused(why=why) | Unknown(why=why):
            raise HostUnreachable(f"the scheduler's session cannot be opened: {why}", hint="see `rfsched doctor`")


def adopt_environment(paths: WorkspacePaths) -> Mapping[str, str]:
    """Make the environment of `start` this process's own (the tmux server's may be years old); return it."""
    store = SqliteStore(paths.database, boot_id=SystemClock().boot_id)
    try:
        digest = store.load_meta().get(META_ENVIRONMENT)
        if digest is None:
            return dict(os.environ)
        try:
            captured = dict(store.environment(digest)["env"])
        except StoreError:
            return dict(os.environ)
    finally:
        store.close()
    own = {name: os.environ[name] for name in _PANE_OWN if name in os.environ}
    os.environ.clear()
    os.environ.update(captured | own)
    return dict(os.environ)


@contextlib.contextmanager
def one_opening(paths: WorkspacePaths, patience_s: float) -> Iterator[None]:
    """Let one process at a time open the session, so that of two only one says that it did.

    The workspace lock is what keeps two schedulers apart; so whoever waited long enough goes on regardless.
    """
    clock = SystemClock()
    fd = os.open(os.path.join(paths.state, "opening"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = clock.monotonic() + patience_s
        while not _locked(fd) and clock.monotonic() < deadline:
            clock.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def last_words(paths: WorkspacePaths) -> str | None:
    """Why the last scheduler of this workspace could not begin; None = nothing is written down."""
    try:
        with open(_words_path(paths), encoding="utf-8") as file:
            return file.read().strip() or None
    except OSError:
        return None


def leave_last_words(paths: WorkspacePaths, text: str) -> None:
    """Write down why this scheduler cannot begin, for whoever started it."""
    with contextlib.suppress(OSError), open(_words_path(paths), "w", encoding="utf-8", opener=_private) as file:
        file.write(text)


def forget_last_words(paths: WorkspacePaths) -> None:
    """Before a new start."""
    with contextlib.suppress(OSError):
        os.unlink(_words_path(paths))


def _words_path(paths: WorkspacePaths) -> str:
    return os.path.join(paths.state, "last_words")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
