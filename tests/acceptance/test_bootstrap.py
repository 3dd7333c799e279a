"""./bootstrap on machines that lack something: decided and unpacked as promised, without a network.

Each test stands for a machine: its wheels come from files, its tmux from a copy of the one installed here.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]
GLIBC = (2, 36)


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("bootstrap", str(ROOT / "bootstrap"))
    spec = importlib.util.spec_from_loader("bootstrap", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


@pytest.fixture
def room(tmp_path: Path) -> Path:
    (tmp_path / "room" / "bin").mkdir(parents=True)
    return tmp_path / "room"


# The command line -----------------------------------------------------------------------------------------------------


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bootstrap"), *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def test_help_names_every_command(bootstrap: ModuleType) -> None:
    answer = call("--help")
    assert answer.returncode == 0
    assert all(re.search(rf"^  {command} ", answer.stdout, re.MULTILINE) for command in bootstrap.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["demmo"]])
def test_without_a_command_it_says_which_there_are(arguments: list[str]) -> None:
    answer = call(*arguments)
    assert answer.returncode == 2
    assert "demo" in answer.stdout
    assert "test" in answer.stdout


def test_an_old_python_is_told_what_is_needed(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(bootstrap.SetupError, match=r"3\.9\.2.*3\.11 or newer"):
        bootstrap.require_python(["test"])


def test_an_old_python_hands_over_to_a_newer_one(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    monkeypatch.setattr(shutil, "which", lambda name: sys.executable)

    def become(command: list[str], environment: dict[str, str]) -> None:
        became.append(command)
        sys.exit(0)

    monkeypatch.setattr(bootstrap, "become", become)
    with pytest.raises(SystemExit):
        bootstrap.require_python(["test", "-q"])
    assert became == [[sys.executable, str(ROOT / "bootstrap"), "test", "-q"]]


# uv -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "glibc", "expected"),
    [
        ("x86_64", (2, 36), r"manylinux_\d+_\d+_x86_64"),
        ("aarch64", (2, 39), r"manylinux_\d+_\d+_aarch64"),
        ("x86_64", None, r"musllinux_\d+_\d+_x86_64"),
        ("aarch64", None, r"musllinux_\d+_\d+_aarch64"),
    ],
)
def test_the_lock_file_has_a_uv_for_each_machine(
    bootstrap: ModuleType, machine: str, glibc: tuple[int, int] | None, expected: str
) -> None:
    wheel = bootstrap.choose_wheel(bootstrap.locked_wheels(ROOT / "uv.lock", "uv"), machine, glibc)
    assert re.search(expected, wheel["url"])
    assert wheel["hash"].startswith("sha256:")


def test_a_wheel_for_a_newer_c_library_is_not_taken(bootstrap: ModuleType) -> None:
    newer, fitting = (
        {"url": f"https://host/uv-1-py3-none-manylinux_2_{minor}_x86_64.whl", "hash": ""} for minor in (39, 17)
    )
    assert bootstrap.choose_wheel([newer, fitting], "x86_64", GLIBC) is fitting


def test_a_machine_without_a_wheel_is_told_to_install_uv_by_hand(bootstrap: ModuleType) -> None:
    with pytest.raises(bootstrap.SetupError, match=r"m68k.*by hand"):
        bootstrap.choose_wheel(bootstrap.locked_wheels(ROOT / "uv.lock", "uv"), "m68k", GLIBC)


def make_wheel(folder: Path, version: str = "9.9.9") -> tuple[str, str]:
    """A wheel whose program tells a version; its URL and checksum."""
    path = folder / f"uv-{version}-py3-none-manylinux_2_17_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"uv-{version}.data/scripts/uv", f"#!/bin/sh\necho uv {version}\n")
        archive.writestr(f"uv-{version}.data/scripts/uvx", "")
    return path.as_uri(), "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_uv_is_unpacked_from_the_wheel_of_the_lock_file(
    bootstrap: ModuleType, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, checksum = make_wheel(tmp_path)
    lock = tmp_path / "uv.lock"
    lock.write_text(f'[[package]]\nname = "uv"\nwheels = [{{ url = "{url}", hash = "{checksum}" }}]\n')
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(bootstrap, "glibc_version", lambda: GLIBC)
    monkeypatch.setattr(bootstrap.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(bootstrap, "ensure_certificates", lambda: None)
    assert bootstrap.ensure_uv(room, lock) == str(room / "bin" / "uv")
    assert bootstrap.version_of(str(room / "bin" / "uv"), "--version") == (9, 9)
    lock.unlink()  # the second time nothing is fetched
    assert bootstrap.ensure_uv(room, lock) == str(room / "bin" / "uv")


def test_a_wrong_checksum_is_refused(bootstrap: ModuleType, room: Path, tmp_path: Path) -> None:
    url, _ = make_wheel(tmp_path)
    with pytest.raises(bootstrap.SetupError, match="checksum"):
        bootstrap.fetch(url, "sha256:" + "0" * 64, room)
    assert not list(room.glob("*.whl"))


def test_without_a_network_the_message_says_the_way_by_hand(
    bootstrap: ModuleType, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "ensure_certificates", lambda: None)
    url, checksum = make_wheel(tmp_path)
    with pytest.raises(bootstrap.SetupError, match="on another machine") as caught:
        bootstrap.fetch(url.replace("uv-9", "absent/uv-9"), checksum, room)
    # Given the advice was followed
    place = re.search(r"put it at\n  (\S+)", str(caught.value))
    assert place
    shutil.copy(tmp_path / Path(place[1]).name, place[1])
    assert bootstrap.fetch(url.replace("uv-9", "absent/uv-9"), checksum, room) == Path(place[1])


# tmux -----------------------------------------------------------------------------------------------------------------


def unpacked_tmux(tree: Path) -> None:
    """What unpacking the distribution's packages gives: the program and the libraries that a bare machine lacks."""
    program = shutil.which("tmux", path="/usr/bin:/bin")
    if program is None:
        pytest.skip("tmux of the distribution is not installed here")
    (tree / "usr" / "bin").mkdir(parents=True)
    shutil.copy(program, tree / "usr" / "bin" / "tmux")
    libraries = tree / "usr" / "lib" / "somewhere"
    libraries.mkdir(parents=True)
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"=> (/\S*lib(?:event|utempter)\S*)", listing):
        shutil.copy(path, libraries)


def test_an_unpacked_tmux_runs_and_its_jobs_do_not_see_how(bootstrap: ModuleType, room: Path, tmp_path: Path) -> None:
    unpacked_tmux(room / "tmux")
    tmux = str(room / "bin" / "tmux")
    bootstrap.write_launcher(room / "tmux", Path(tmux))
    assert bootstrap.version_of(tmux, "-V") >= bootstrap.OLDEST_TMUX

    def ask(*words: str) -> str:
        return subprocess.run(
            [tmux, "-L", "unpacked", "-f", "/dev/null", *words], capture_output=True, text=True
        ).stdout

    seen = tmp_path / "environment"
    try:
        ask("new-session", "-d", "-s", "job", "sh", "-c", f"env > {seen}.part; mv {seen}.part {seen}; exec sleep 60")
        eventually(seen.exists)
        server = ask("display-message", "-p", "-t", "=job:", "#{pid}").strip()
        libraries = Path(f"/proc/{server}/maps").read_text()
        assert str(room) in libraries, "the server does not use the unpacked libraries"
        for environment in (seen.read_text(), Path(f"/proc/{server}/environ").read_text().replace("\0", "\n")):
            assert not re.search("^(LD_|TERMINFO)", environment, re.MULTILINE)
    finally:
        ask("kill-server")


def test_root_updates_the_package_lists_only_when_needed(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    outcomes = {"install": [100, 0], "update": [0]}

    def apt(*arguments: str) -> subprocess.CompletedProcess[str]:
        calls.append(arguments[0])
        return subprocess.CompletedProcess(arguments, outcomes[arguments[0]].pop(0), "", "E: no such package\n")

    monkeypatch.setattr(bootstrap, "apt", apt)
    bootstrap.apt_install("tmux")
    assert calls == ["install", "update", "install"]
    outcomes.update(install=[100, 100], update=[100])
    with pytest.raises(bootstrap.SetupError, match=r"no such package.*by hand"):
        bootstrap.apt_install("tmux")


# The environment of what follows --------------------------------------------------------------------------------------


def test_the_private_programs_come_first_and_the_users_wishes_hold(
    bootstrap: ModuleType, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_PREFERENCE", "managed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    environment = bootstrap.child_environment(room)
    assert environment["PATH"].startswith(f"{room}/bin:")
    assert environment["UV_PYTHON_PREFERENCE"] == "managed"
    assert "UV_CACHE_DIR" not in environment


def test_without_a_home_the_cache_is_in_this_folder(
    bootstrap: ModuleType, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/proc/nonexistent")
    monkeypatch.delenv("UV_CACHE_DIR", raising=False)
    monkeypatch.setattr(bootstrap.os, "access", lambda path, mode: False)
    assert bootstrap.child_environment(room)["UV_CACHE_DIR"] == str(room / "cache")
