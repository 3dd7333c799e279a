"""A private world for each test process, and proof at its end that nothing of it is still running."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import eventually

MARKER = "RFSCHED_TEST_RUN"
_world = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Change the environment before any test module is imported. With xdist each worker has its own world."""
    controls_workers = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
    if not controls_workers:
        config.stash[_world] = enter_private_world()


def pytest_unconfigure(config: pytest.Config) -> None:
    world = config.stash.get(_world, None)
    if world is not None:
        shutil.rmtree(world, ignore_errors=True)


def enter_private_world() -> Path:
    """Point everything that names a place of the user at a folder of this run."""
    keep_caches_of_uv()
    # Short: the path of a tmux socket in it must stay under 108 characters.
    world = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    places = {"HOME": "home", "TMUX_TMPDIR": "tmux", "RFSCHED_LEASE_DIR": "leases"}
    for variable, name in places.items():
        (world / name).mkdir(mode=0o700)
        os.environ[variable] = str(world / name)
    for variable in [name for name in os.environ if name.startswith(("XDG_", "RFSCHED_"))]:
        if variable not in places and not variable.startswith("RFSCHED_TEST_"):  # how long to torture
            del os.environ[variable]
    for variable in ("TMUX", "TMUX_PANE", "CUDA_VISIBLE_DEVICES"):
        os.environ.pop(variable, None)
    os.environ[MARKER] = uuid.uuid4().hex
    return world


def keep_caches_of_uv() -> None:
    """Packaging tests work without a network because uv has its cache and settings, also with another HOME."""
    home = Path(os.environ.get("HOME", "/"))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "uv"
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    if os.access(cache, os.W_OK):
        os.environ.setdefault("UV_CACHE_DIR", str(cache))
    if settings.exists():
        os.environ.setdefault("UV_CONFIG_FILE", str(settings))


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fail at the end of the run, naming and ending every process of it that is still there."""
    yield
    traces = [f"{MARKER}={os.environ[MARKER]}".encode(), bytes(pytestconfig.stash[_world])]
    try:
        eventually(lambda: not leftovers(traces), timeout_s=3)
    except AssertionError:
        found = leftovers(traces)
        for pid in found:
            kill(pid)
        listing = "\n".join(f"  {pid}: {command}" for pid, command in found.items())
        pytest.fail(f"still running after the last test (ended now):\n{listing}", pytrace=False)


def leftovers(traces: list[bytes]) -> dict[int, str]:
    """Command lines, by pid, of the processes whose environment or arguments show one of the traces."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes()
            text = (folder / "environ").read_bytes() + arguments
        except OSError:  # gone, or somebody else's
            continue
        if any(trace in text for trace in traces):
            found[int(folder.name)] = arguments.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
