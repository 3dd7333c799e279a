"""What real tmux servers do to us: stopped, killed, robbed of their socket, oddly configured, shared with others."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from researchflow_tmux.adapters.tmux import Output
from researchflow_tmux.adapters.tmux_sessions import TmuxSessions
from researchflow_tmux.domain.attempt import Attempt, Ended, Exited
from researchflow_tmux.domain.job import Job
from researchflow_tmux.ports import (
    ClaimHeld,
    Launched,
    LaunchRefused,
    NameTaken,
    ServerDown,
    Sessions,
    Unknown,
)
from tests.support import eventually
from tests.tmux_fixtures import CAPTURED, Bed, Server, bed, kill_tree, make_job, tmux_server

__all__ = ["bed", "tmux_server"]  # fixtures
pytestmark = pytest.mark.tmux

SLEEP = ("sleep", "600")


def names(sessions: TmuxSessions) -> set[str]:
    seen = sessions.snapshot()
    assert isinstance(seen, Sessions), seen
    return set(seen.by_name)


def opened(sessions: TmuxSessions, name: str, tag: str = "ws1/1.1", argv: tuple[str, ...] = SLEEP) -> int:
    result = sessions.new_session(name, tag, argv, "/")
    assert isinstance(result, Launched), result
    return result.runner_pid


def started(bed: Bed, job: Job, number: int = 1, session: str | None = None) -> Attempt:
    attempt, _ = bed.host.prepare(bed.attempt(job, number, session), job, CAPTURED)
    assert isinstance(bed.host.launch(attempt), Launched)
    return attempt


def ended(bed: Bed, attempt: Attempt) -> Ended:
    return eventually(lambda: seen if isinstance(seen := bed.host.observe(attempt), Ended) else None)


def held(bed: Bed, attempt: Attempt) -> ClaimHeld:
    return eventually(lambda: seen if isinstance(seen := bed.host.observe(attempt), ClaimHeld) else None)


# Whose session is it --------------------------------------------------------------------------------------------------


def test_a_name_that_begins_another_name_is_not_that_other(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    opened(sessions, "exp_10", "ws1/10.1")
    sessions.kill_if_tag([("exp_1", "ws1/10.1")])
    sessions.rename_if_tag([("exp_1", "ws1/10.1", "other")])
    assert names(sessions) == {"exp_10"}, "tmux alone takes exp_1 for exp_10 when there is no exp_1"
    opened(sessions, "exp_1", "ws1/1.1")
    sessions.kill_if_tag([("exp_1", "ws1/1.1")])
    assert names(sessions) == {"exp_10"}


def test_many_are_closed_in_few_calls(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    pairs = [(f"exp_{number}", f"ws1/{number}.1") for number in range(150)]
    opened(sessions, *pairs[0])
    for number in range(1, 4):
        opened(sessions, *pairs[number])
    sessions.kill_if_tag(pairs[1:])
    assert names(sessions) == {"exp_0"}


def test_two_workspaces_with_the_same_names_leave_each_other_alone(tmux_server: Server, tmp_path: Path) -> None:
    beds = [Bed(tmux_server, tmp_path / name, workspace_id=name) for name in ("ws1", "ws2")]
    try:
        job = make_job(1, "sleep 600")
        first = started(beds[0], job)
        second, _ = beds[1].host.prepare(beds[1].attempt(job), job, CAPTURED)
        assert isinstance(beds[1].host.launch(second), NameTaken)
        beds[1].host.close_sessions([(first.session, "ws1/1.1"), (first.session, "ws2/1.1")][1:])
        seen = beds[1].host.snapshot()
        assert isinstance(seen, Sessions)
        assert seen.by_name == {}
        assert seen.foreign_names == {first.session}
        assert beds[1].host.destroy(second) == ()
        held(beds[0], first)
    finally:
        for each in beds:
            each.close()


def test_an_earlier_session_that_died_makes_way_but_a_hand_made_dead_one_does_not(bed: Bed) -> None:
    job = make_job(1, "true")
    ended(bed, started(bed, job))
    bed.server.run("new-session", "-d", "-s", "mine", "true", ";", "set-option", "-w", "remain-on-exit", "on")
    attempt, _ = bed.host.prepare(bed.attempt(job, 2, session="mine"), job, CAPTURED)
    result = bed.host.launch(attempt)
    assert isinstance(result, NameTaken)
    assert "mine" in result.owner


# A server that does not answer ----------------------------------------------------------------------------------------


def test_a_stopped_server_is_unknown_once_and_quickly_and_comes_back(tmux_server: Server) -> None:
    sessions = tmux_server.sessions(deadline_s=0.5)
    opened(sessions, "exp")
    pid = tmux_server.pid()
    threads = threading.active_count()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert took(sessions.snapshot, Unknown) < 1.5
        spans = [took(sessions.snapshot, Unknown) for _ in range(30)]
        assert sum(spans) < 1.0, "later calls do not wait"
        assert threading.active_count() == threads
        assert len(own_tmux_clients(tmux_server)) <= 1
        assert took(lambda: sessions.new_session("exp2", "ws1/2.1", SLEEP, "/"), Unknown) < 0.2
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: names(sessions) == {"exp"})
    eventually(lambda: own_tmux_clients(tmux_server) == [])


def test_a_server_may_stop_again_and_again(tmux_server: Server) -> None:
    sessions = tmux_server.sessions(deadline_s=0.2)
    opened(sessions, "exp")
    pid = tmux_server.pid()
    threads = threading.active_count()
    for _ in range(3):
        os.kill(pid, signal.SIGSTOP)
        try:
            assert took(sessions.snapshot, Unknown) < 0.5
            assert took(sessions.snapshot, Unknown) < 0.1
        finally:
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: names(sessions) == {"exp"})
    assert threading.active_count() == threads


def test_a_stopped_server_that_is_killed_is_down(tmux_server: Server) -> None:
    sessions = tmux_server.sessions(deadline_s=0.2)
    opened(sessions, "exp")
    pid = tmux_server.pid()
    os.kill(pid, signal.SIGSTOP)
    assert isinstance(sessions.snapshot(), Unknown)
    kill_tree(pid)
    eventually(lambda: isinstance(sessions.snapshot(), ServerDown))


def test_giving_up_on_a_stuck_server_leaves_no_client_and_soon_no_thread(tmux_server: Server) -> None:
    tmux = tmux_server.tmux(deadline_s=0.2)
    sessions = TmuxSessions(tmux, "ws1")
    opened(sessions, "exp")
    pid = tmux_server.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert isinstance(sessions.snapshot(), Unknown)
        assert isinstance(sessions.snapshot(), Unknown)
        tmux.close()
        eventually(lambda: own_tmux_clients(tmux_server) == [])
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: not [thread for thread in threading.enumerate() if tmux_server.socket in thread.name])


def test_a_launch_that_tmux_did_not_answer_may_be_asked_again(tmux_server: Server, tmp_path: Path) -> None:
    patient = Bed(tmux_server, tmp_path / "ws", deadline_s=0.3)
    try:
        first = started(patient, make_job(1, "sleep 600"))
        held(patient, first)
        job = make_job(2, f"echo x >> {patient.paths.root}/starts; sleep 600")
        attempt, _ = patient.host.prepare(patient.attempt(job), job, CAPTURED)
        pid = tmux_server.pid()
        os.kill(pid, signal.SIGSTOP)
        assert isinstance(patient.host.launch(attempt), Unknown)
        os.kill(pid, signal.SIGCONT)
        eventually(lambda: isinstance(patient.host.launch(attempt), Launched))
        held(patient, attempt)
        eventually(lambda: Path(patient.paths.root, "starts").read_text() == "x\n")
    finally:
        patient.close()


def took(call: Callable[[], object], kind: type) -> float:
    begin = time.monotonic()
    result = call()
    assert isinstance(result, kind), result
    return time.monotonic() - begin


def own_tmux_clients(server: Server) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int(
                    (folder / "stat").read_text().rpartition(")")[2].split()[1]
                )  # a defunct one has no cmdline
                ours = parent == os.getpid() and f"-S{server.socket}".encode() in (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if ours:
                found.append(int(folder.name))
    return found


# A server that goes away ----------------------------------------------------------------------------------------------


def test_after_kill_9_the_jobs_live_and_the_next_launch_starts_a_new_server(bed: Bed) -> None:
    attempt = started(bed, make_job(1, "sleep 600"))
    before = held(bed, attempt)
    kill_tree(bed.server.pid())
    assert isinstance(bed.host.snapshot(), ServerDown)
    other = started(bed, make_job(2, "true"))
    assert ended(bed, other).outcome == Exited(code=0, succeeded=True)
    assert bed.host.observe(attempt) == before
    assert isinstance(bed.host.launch(attempt), Launched), "opened again; the claim keeps a second runner from the job"
    assert bed.host.observe(attempt) == before
    bed.host.stop(attempt, "user", "")
    ended(bed, attempt)


def test_right_after_kill_server_a_launch_works(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    for number in range(5):
        opened(sessions, "exp", f"ws1/{number}.1")
        tmux_server.run("kill-server")
    opened(sessions, "exp", "ws1/9.1")
    assert names(sessions) == {"exp"}


@pytest.mark.parametrize("known", [True, False])
def test_a_deleted_socket_comes_back_and_no_second_server_starts(tmux_server: Server, known: bool) -> None:
    sessions = tmux_server.sessions()
    opened(sessions, "exp", "ws1/1.1")
    pid = tmux_server.pid()
    os.unlink(tmux_server.socket)
    if not known:
        sessions = tmux_server.sessions()  # a scheduler that never saw this server
    opened(sessions, "exp2", "ws1/2.1")
    assert names(sessions) == {"exp", "exp2"}
    assert tmux_server.pid() == pid
    os.unlink(tmux_server.socket)
    assert names(sessions) == {"exp", "exp2"}


def test_a_stopped_server_without_a_socket_is_unknown_not_down(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    opened(sessions, "exp")
    pid = tmux_server.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        os.unlink(tmux_server.socket)
        assert isinstance(sessions.snapshot(), Unknown)
        assert isinstance(sessions.new_session("exp2", "ws1/2.1", SLEEP, "/"), Unknown)
        assert not Path(tmux_server.socket).exists(), "no second server"
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: names(sessions) == {"exp"})


# How the server was set up --------------------------------------------------------------------------------------------


def test_a_users_configuration_cannot_end_jobs(bed: Bed) -> None:
    bed.server.config.write_text(
        "set -g destroy-unattached on\nset -g remain-on-exit off\nset -g default-shell /usr/sbin/nologin\n"
        "set -g default-command /bin/false\nset -g base-index 1\nset -g pane-base-index 1\n"
        "set -g @rf_attempt other/1.1\n"
    )
    for number in range(1, 6):
        assert ended(bed, started(bed, make_job(number, "exit 0"))).outcome == Exited(code=0, succeeded=True)
    seen = eventually(lambda: s if isinstance(s := bed.host.snapshot(), Sessions) and all_dead(s) else None)
    assert len(seen.by_name) == 5


def test_a_server_that_leaves_when_nobody_looks_is_of_no_use(tmux_server: Server) -> None:
    tmux_server.config.write_text("set -g exit-unattached on\n")
    for _ in range(2):
        result = tmux_server.sessions().new_session("exp", "ws1/1.1", SLEEP, "/")
        assert isinstance(result, LaunchRefused)
        assert result.host
        assert "exit-unattached" in result.why


def all_dead(seen: Sessions) -> bool:
    return all(session.pane_dead for session in seen.by_name.values())


def test_a_new_server_inherits_nothing_of_ours(tmux_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RFSCHED_JOB", "LD_PRELOAD_X", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMUX_PANE"):
        monkeypatch.setenv(name, "/junk")
    opened(tmux_server.sessions(), "exp")
    pid = tmux_server.pid()
    names = [line.partition("=")[0] for line in tmux_server.run("show-environment", "-g")]
    assert not {"RFSCHED_JOB", "LD_PRELOAD_X", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMUX_PANE"} & set(names)
    assert "PATH" in names
    assert "HOME" in names
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    passed_on = tmux_server.run("show-environment", "-t", "=exp:")
    assert "LD_LIBRARY_PATH=/junk" in passed_on, "the runner's Python may need it"


def test_started_inside_another_tmux(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(bed.server.sessions("other"), "outer", "other/1.1")
    monkeypatch.setenv("TMUX", f"{bed.server.socket}x,{bed.server.pid()},0")
    monkeypatch.setenv("TMUX_PANE", "%0")
    job = make_job(1, 'test "$TMUX" != "" && tmux display-message -p "#{session_name}"')
    attempt = started(bed, job)
    assert ended(bed, attempt).outcome == Exited(code=0, succeeded=True)
    assert attempt.log is not None
    assert Path(attempt.log).read_text().split() == [attempt.session]


def test_a_full_server_gets_no_more_sessions(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    opened(sessions, "exp")
    pid = tmux_server.pid()
    used = len(os.listdir(f"/proc/{pid}/fd"))
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 20, hard))
    result = sessions.new_session("exp2", "ws1/2.1", SLEEP, "/")
    assert isinstance(result, LaunchRefused)
    assert result.host
    assert "descriptors" in result.why
    assert names(sessions) == {"exp"}


# What is passed on ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["a;", "a\\;", "#{pid}", "#(echo no)", "$HOME", "ü €", "'", '"', "a\nb", "-x"])
def test_words_arrive_as_they_are(tmux_server: Server, tmp_path: Path, word: str) -> None:
    target = tmp_path / "word"
    argv = ("/bin/sh", "-c", f'printf %s "$1" > {target}', "sh", word)
    opened(tmux_server.sessions(), "exp", argv=argv)
    assert eventually(lambda: target.exists() and target.read_text()) == word


def test_a_workspace_with_an_odd_path(tmux_server: Server, tmp_path: Path) -> None:
    odd = Bed(tmux_server, tmp_path / "it's #{pid} #(touch no) ü;")
    try:
        attempt = started(odd, make_job(1, "pwd", workdir=odd.paths.root))
        assert ended(odd, attempt).outcome == Exited(code=0, succeeded=True)
        assert attempt.log is not None
        assert Path(attempt.log).read_text().strip() == odd.paths.root
    finally:
        odd.close()


def test_a_command_that_tmux_cannot_take_is_the_jobs_fault(tmux_server: Server) -> None:
    result = tmux_server.sessions().new_session("exp", "ws1/1.1", ("echo", "x" * 17_000), "/")
    assert isinstance(result, LaunchRefused)
    assert not result.host
    assert "16000" in result.why


@pytest.mark.parametrize(
    ("name", "tag", "argv"), [("a:b", "ws1/1.1", SLEEP), ("a", "ws1/,", SLEEP), ("a", "ws1/1.1", ("x",))]
)
def test_what_tmux_would_misread_is_refused(tmux_server: Server, name: str, tag: str, argv: tuple[str, ...]) -> None:
    assert isinstance(tmux_server.sessions().new_session(name, tag, argv, "/"), LaunchRefused)
    assert isinstance(tmux_server.sessions().snapshot(), ServerDown)


def test_other_peoples_odd_sessions_do_not_disturb(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    opened(sessions, "exp")
    for name in ("my stuff", "ü", "a.b:c", "=x", "%3"):
        tmux_server.run("new-session", "-d", "-s", name, "sleep", "600")
    tmux_server.run("set-option", "-t", "=ü:", "@rf_attempt", "ws1/1.1\nexp:1:0:%9:1:0:ws1/7.7")
    tmux_server.run("split-window", "-d", "-t", "=exp:", "sleep", "600")
    seen = sessions.snapshot()
    assert isinstance(seen, Sessions)
    assert "exp" in seen.by_name
    assert {"my stuff", "a_b_c"} <= seen.foreign_names


def test_the_pane_of_the_runner_counts_not_one_beside_it(tmux_server: Server) -> None:
    sessions = tmux_server.sessions()
    pid = opened(sessions, "exp")
    tmux_server.run("split-window", "-b", "-t", "=exp:", "sleep", "600")
    seen = sessions.snapshot()
    assert isinstance(seen, Sessions)
    assert seen.by_name["exp"].pane_pid == pid
    assert isinstance(tmux_server.tmux().call("kill-server"), Output)
