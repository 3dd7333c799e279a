"""Small things that decide what tmux understands: sockets, escapes, environments and the lines of a snapshot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from researchflow_tmux.adapters.tmux import Output, Tmux, escaped, server_environment
from researchflow_tmux.adapters.tmux_snapshot import FORMAT, parse
from researchflow_tmux.adapters.tmux_socket import ensure_socket, find_server, ready_socket, resolve_socket
from researchflow_tmux.domain.errors import HostUnreachable, LaunchError


def test_an_empty_setting_is_the_users_default_socket(tmp_path: Path) -> None:
    found = resolve_socket("", {"TMUX_TMPDIR": str(tmp_path)})
    assert found == f"{tmp_path}/tmux-{os.getuid()}/default"
    assert Path(found).parent.stat().st_mode & 0o777 == 0o700


def test_inside_tmux_an_empty_setting_is_the_socket_we_are_in(tmp_path: Path) -> None:
    environ = {"TMUX_TMPDIR": str(tmp_path), "TMUX": "/some/where, odd,123,0"}
    assert resolve_socket("", environ) == "/some/where, odd"
    assert resolve_socket("mine", environ) == f"{tmp_path}/tmux-{os.getuid()}/mine", "a name means the user's directory"
    assert resolve_socket("", {"TMUX_TMPDIR": str(tmp_path), "TMUX": "junk"}).endswith("/default")


def test_an_absolute_path_is_taken_as_it_is() -> None:
    assert resolve_socket("/a/b/../s", {"TMUX": "/x,1,0"}) == "/a/s"


@pytest.mark.parametrize("setting", ["/" + "x" * 107, "a/b"])
def test_what_cannot_be_a_socket_is_refused(setting: str) -> None:
    with pytest.raises(HostUnreachable, match="absolute path") as caught:
        resolve_socket(setting, {})
    assert setting in str(caught.value)


def test_a_path_in_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert resolve_socket("~/s", {}) == "/home/me/s"


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    place = tmp_path / f"tmux-{os.getuid()}"
    place.mkdir()
    place.chmod(0o755)
    with pytest.raises(HostUnreachable, match="not private") as caught:
        resolve_socket("", {"TMUX_TMPDIR": str(tmp_path)})
    assert str(place) in str(caught.value)


def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"tmux-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostUnreachable, match="not private"):
        resolve_socket("", {"TMUX_TMPDIR": str(tmp_path)})


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostUnreachable, match="cannot be made"):
        resolve_socket("", {"TMUX_TMPDIR": str(tmp_path / "missing")})


def test_a_directory_that_a_reboot_took_is_made_again(tmp_path: Path) -> None:
    socket = str(tmp_path / "tmux-1000" / "default")
    assert ready_socket(socket) == socket
    assert (tmp_path / "tmux-1000").stat().st_mode & 0o777 == 0o700
    (tmp_path / "tmux-1000").chmod(0o755)
    assert ready_socket(socket) == socket  # what is there is not ours to judge


def test_where_no_server_listens_there_is_none(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert find_server(path) is None
    assert ensure_socket(path) == "absent"
    assert ensure_socket(path, os.getpid()) == "absent", "a living process that is no tmux is not taken for the server"


@pytest.mark.parametrize(
    ("given", "sent"), [("a;", "a\\;"), (";", ";"), ("a\\;", "a\\\\;"), ("a;b", "a;b"), ("", ""), ("a", "a")]
)
def test_only_a_lone_semicolon_separates(given: str, sent: str) -> None:
    assert escaped((given,)) == [sent]


def test_the_servers_environment_is_the_users_without_ours() -> None:
    kept = {"PATH": "/bin", "HOME": "/h", "TMUX_TMPDIR": "/t", "CUDA_HOME": "/c"}
    junk = {
        "RFSCHED_JOB": "1",
        "LD_LIBRARY_PATH": "/x",
        "PYTHONPATH": "/y",
        "TMUX": "a,1,0",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert server_environment({**kept, **junk}) == kept


@pytest.mark.parametrize(
    ("stderr", "down", "missing"),
    [
        ("no server running on /tmp/s", True, False),
        ("error connecting to /tmp/s (No such file or directory)", True, True),
        ("error connecting to /tmp/s (Permission denied)", False, False),
        ("server exited unexpectedly", False, False),
        ("lost server", False, False),
        ("", False, False),
    ],
)
def test_only_certain_words_mean_down(stderr: str, down: bool, missing: bool) -> None:
    output = Output(rc=1, stdout=[], stderr=stderr)
    assert (output.server_down, output.socket_missing) == (down, missing)


def test_without_tmux_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostUnreachable, match="tmux is not installed"):
        Tmux("/tmp/none")


def test_a_too_long_command_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    tmux = Tmux(str(tmp_path / "s"))
    with pytest.raises(LaunchError, match="16000"):
        tmux.call("display-message", "x" * 16_000)
    tmux.close()


def line(name: str, tag: str = "", pane: str = "%1", pid: str = "10", dead: str = "0") -> str:
    return f"{name}:1700000000:0:{pane}:{pid}:{dead}:{tag}"


def test_the_format_asks_for_what_the_parser_reads() -> None:
    assert FORMAT.count("#{") == 7
    assert FORMAT.endswith("#{@rf_attempt}")


def test_sessions_are_sorted_into_ours_and_others() -> None:
    seen = parse([line("a", "ws1/1.1"), line("b"), line("c", "ws11/1.1"), line("d d", "ws2/1.1")], "ws1/", 7)
    assert set(seen.by_name) == {"a"}
    assert seen.foreign_names == {"b", "c", "d d"}
    assert seen.server_pid == 7


def test_the_oldest_pane_is_the_runners() -> None:
    lines = [line("a", "w/1.1", "%12", "12"), line("a", "w/1.1", "%9", "9", dead="1"), line("a", "w/1.1", "%10", "10")]
    session = parse(lines, "w/", 7).by_name["a"]
    assert (session.pane_pid, session.pane_dead) == (9, True)


@pytest.mark.parametrize("junk", ["", "x", "a:b", "the rest of a tag", "a:1:2:three:4:5:w/1.1"])
def test_lines_that_are_none_are_passed_over(junk: str) -> None:
    seen = parse([line("a", "w/1.1"), junk], "w/", 7)
    assert (set(seen.by_name), seen.foreign_names) == ({"a"}, frozenset())
