"""What a job sees, and what its end is called."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from researchflow_tmux.runner import reap, stopping, tickets
from tests.support import eventually
from tests.unit.runner.runner_harness import PYTHON, Attempts, alive, lease


def test_a_job_that_exits_0_succeeds_and_gets_its_marker(attempts: Attempts) -> None:
    attempt = attempts.sh("echo hello; exit 0")
    record = attempt.run()
    assert (record["outcome"], record["succeeded"], record["exit_code"], record["signal"]) == ("exited", True, 0, None)
    assert record["marker"] is True
    assert "exp1 completed" in Path(attempt.marker).read_text()
    assert attempt.output() == "hello\r\n"
    assert record["duration_s"] > 0
    assert record["ended_at"] >= record["started_at"]


def test_a_job_that_exits_3_fails_and_gets_no_marker(attempts: Attempts) -> None:
    attempt = attempts.sh("exit 3")
    record = attempt.run()
    assert (record["outcome"], record["succeeded"], record["exit_code"]) == ("exited", False, 3)
    assert not os.path.exists(attempt.marker)


@pytest.mark.parametrize("number", [9, 11, 15])
def test_a_job_ended_by_a_signal_of_its_own_is_killed_by_signal(attempts: Attempts, number: int) -> None:
    record = attempts.sh(f"kill -{number} $$").run()
    assert (record["outcome"], record["by"], record["signal"], record["succeeded"]) == (
        "killed",
        "signal",
        number,
        False,
    )


def test_the_job_has_a_real_terminal_and_exactly_its_environment(attempts: Attempts) -> None:
    code = (
        "import os; print([os.isatty(n) for n in (0, 1, 2)], os.get_terminal_size(), sorted(os.environ))\n"
        "print(os.getsid(0) == os.getpid())"
    )
    attempt = attempts.python(code, env={"PATH": "/bin", "ONLY": "1"})
    attempt.run()
    assert "[True, True, True]" in attempt.output()
    assert "columns=80, lines=24" in attempt.output()
    names = re.search(r"\[('.*?)\]", attempt.output())
    assert names is not None
    assert set(eval(f"[{names[1]}]")) - {"LC_CTYPE", "TERM", "COLORTERM"} == {"ONLY", "PATH"}
    assert attempt.output().strip().endswith("True")


def test_limits_umask_nice_and_affinity_are_the_specs(attempts: Attempts) -> None:
    wanted = "-e Cpus_allowed_list -e SigIgn -e SigBlk"
    script = f"umask; ulimit -Sn; ulimit -Hn; nice; grep {wanted} /proc/self/status | sort"
    attempt = attempts.sh(script, umask=0o027, nice=5, affinity=[0], rlimits={"NOFILE": [100, 200], "CORE": [0, -1]})
    attempt.run()
    lines = attempt.output().replace("\r", "").splitlines()
    assert lines[:4] == ["0027", "100", "200", "5"]
    assert lines[4].split() == ["Cpus_allowed_list:", "0"]
    assert all(int(line.split()[1], 16) == 0 for line in lines[5:7])


def test_a_limit_that_cannot_be_had_is_said_and_does_not_stop_the_job(attempts: Attempts) -> None:
    attempt = attempts.sh("ulimit -n", rlimits={"NOFILE": [1 << 40, 1 << 40], "NONSENSE": [1, 1]})
    assert attempt.run()["succeeded"]
    assert "rfsched: limit NOFILE=" in attempt.output()
    assert "limit NONSENSE is unknown" in attempt.output()


def test_the_job_inherits_no_descriptor_of_the_runner(attempts: Attempts) -> None:
    attempt = attempts.python("import os; print(sorted(os.listdir('/proc/self/fd')))")
    attempt.run()
    assert "['0', '1', '2', '3']" in attempt.output()  # 3 is the listing itself


@pytest.mark.parametrize(
    ("name", "content", "mode", "expected"),
    [
        ("train.sh", "#!/bin/sh\n", 0o644, r"train.sh is not executable: chmod \+x /"),
        ("train.sh", "#!/no/such/python\n", 0o755, "bad interpreter: #!/no/such/python does not exist"),
        ("train.sh", "echo\n", 0o755, "has no #! line"),
        ("train.sh", None, 0, "train.sh: no such file"),
    ],
)
def test_what_cannot_be_run_says_what_to_do(
    attempts: Attempts, tmp_path: Path, name: str, content: str | None, mode: int, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(mode)
    record = attempts(f"./{name}").run()
    assert record["outcome"] == "launch_failed"
    assert re.search(expected, record["reason"]), record["reason"]
    assert record["exit_code"] is None


def test_a_program_that_is_not_on_the_path_names_the_path(attempts: Attempts) -> None:
    record = attempts("python3.999", "x.py").run()
    assert record["outcome"] == "launch_failed"
    assert "python3.999: no such program (PATH=/usr/local/bin:/usr/bin:/bin)" in record["reason"]


def test_a_missing_work_dir_fails_loudly(attempts: Attempts) -> None:
    record = attempts("true", cwd="/no/such/dir").run()
    assert record["outcome"] == "launch_failed"
    assert record["reason"].startswith("work_dir /no/such/dir does not exist")
    assert (record["started_at"], record["duration_s"]) == (None, None)


def test_a_useless_spec_is_recorded(attempts: Attempts) -> None:
    attempt = attempts("true")
    Path(attempt.spec_path).write_text('{"version": 1, "tag": "x"')
    record = attempt.run()
    assert record["outcome"] == "launch_failed"
    assert "is not a JSON object" in record["reason"]


def test_usage_and_unclaimable_attempts_exit_with_their_own_codes(attempts: Attempts) -> None:
    attempt = attempts("true")
    attempt.run()
    second = subprocess.run(attempt.command, capture_output=True, text=True, check=False)
    assert (second.returncode, second.stderr) == (3, "")
    assert "was already taken; nothing was started" in second.stdout
    assert subprocess.run(attempt.command[:-1], capture_output=True, check=False).returncode == 2


def test_sigterm_with_a_stop_file_names_who_asked(attempts: Attempts) -> None:
    attempt = attempts.sh("echo up; sleep 60")
    process = attempt.start()
    attempt.says("up")
    stopping.write_stop(attempt.dir, "user", "no longer needed")
    process.terminate()
    record = attempt.record()
    assert (record["outcome"], record["by"], record["reason"]) == ("killed", "user", "no longer needed")
    assert record["signal"] == 15
    assert record["succeeded"] is False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_without_a_stop_file_is_by_signal(attempts: Attempts, number: signal.Signals) -> None:
    attempt = attempts.sh("echo up; sleep 60")
    process = attempt.start()
    attempt.says("up")
    process.send_signal(number)
    record = attempt.record()
    assert (record["outcome"], record["by"], record["reason"]) == ("killed", "signal", f"the runner got {number.name}")


def test_a_stop_that_came_before_the_job_keeps_it_from_running(attempts: Attempts, tmp_path: Path) -> None:
    attempt = attempts.sh(f"touch {tmp_path}/ran")
    stopping.write_stop(attempt.dir, "user", "too late")
    record = attempt.run()
    assert (record["outcome"], record["by"], record["started_at"]) == ("killed", "user", None)
    assert not (tmp_path / "ran").exists()


def test_a_job_that_answers_sigterm_with_exit_0_was_killed_all_the_same(attempts: Attempts) -> None:
    attempt = attempts.sh("trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    process = attempt.start()
    attempt.says("up")
    process.terminate()
    record = attempt.record()
    assert (record["outcome"], record["exit_code"], record["succeeded"]) == ("killed", 0, False)
    assert "saved" in attempt.output()


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(attempts: Attempts) -> None:
    attempt = attempts.sh("trap '' TERM; echo up; while :; do sleep 0.05; done")
    process = attempt.start()
    attempt.says("up")
    began = time.monotonic()
    process.terminate()
    record = attempt.record()
    assert 0.35 <= time.monotonic() - began < 5
    assert (record["outcome"], record["signal"], record["unreaped"]) == ("killed", 9, [])


def test_a_second_sigterm_skips_the_grace(attempts: Attempts) -> None:
    attempt = attempts.sh("trap 'echo deaf' TERM; echo up; while :; do sleep 0.05; done", stop_grace_s=60.0)
    process = attempt.start()
    attempt.says("up")
    process.terminate()
    attempt.says("deaf")
    process.terminate()
    assert attempt.record(timeout_s=5)["signal"] == 9


def test_a_stopped_job_is_woken_so_that_it_can_end(attempts: Attempts) -> None:
    attempt = attempts.sh("echo up; kill -STOP $$; sleep 60", stop_grace_s=60.0)
    process = attempt.start()
    attempt.says("up")
    process.terminate()
    assert attempt.record(timeout_s=5)["signal"] == 15


def test_the_time_limit_ends_the_job(attempts: Attempts) -> None:
    record = attempts.sh("sleep 60", time_limit_s=0.2).run()
    assert (record["outcome"], record["by"], record["succeeded"]) == ("timed_out", "time_limit", False)
    assert "0.2 s" in record["reason"]


def test_what_the_job_leaves_behind_gets_a_grace_and_is_then_ended(attempts: Attempts, tmp_path: Path) -> None:
    daemon = (
        "import os, time\n"
        "if os.fork() == 0:\n os.setsid()\n"
        " if os.fork() == 0:\n"
        f"  open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)\n"
        " os._exit(0)\n"
        f"os.wait()\nwhile not os.path.exists('{tmp_path}/pid'): time.sleep(0.01)"
    )
    record = attempts.python(daemon).run()
    pid = int((tmp_path / "pid").read_text())
    assert not alive(pid)
    assert (record["outcome"], record["succeeded"], record["leftovers"]) == ("exited", True, 1)
    assert "1 processes it left behind were ended" in record["reason"]


def test_a_helper_that_ends_within_the_grace_is_left_alone(attempts: Attempts, tmp_path: Path) -> None:
    # The end of a session's leader hangs its terminal up: a helper that wants to go on has to ignore that.
    attempt = attempts.sh(f"trap '' HUP; (sleep 0.3; echo done > {tmp_path}/helper) & exit 0", leftover_grace_s=5.0)
    record = attempt.run()
    assert record["leftovers"] == 0
    assert (tmp_path / "helper").read_text() == "done\n"


def test_a_deaf_daemon_is_killed(attempts: Attempts) -> None:
    record = attempts.sh("trap '' TERM HUP; setsid sh -c 'while :; do sleep 0.05; done' & exit 0").run()
    assert record["succeeded"]
    assert record["leftovers"] >= 1
    assert record["unreaped"] == []


def test_a_marker_of_an_earlier_run_does_not_count(attempts: Attempts, tmp_path: Path) -> None:
    attempt = attempts.sh("exit 0", completion={"rule": "marker", "marker": str(tmp_path / "m"), "grace_s": 0.2})
    (tmp_path / "m").write_text("old")
    record = attempt.run()
    assert (record["succeeded"], record["marker"]) == (False, False)
    assert "no new marker" in record["reason"]


@pytest.mark.parametrize(
    ("rule", "script", "succeeded", "code", "by"),
    [
        ("exit_code", "touch M; exec sleep 60", True, None, "marker"),
        ("exit_code", "touch M; exit 4", False, 4, None),
        ("marker", "touch M; exec sleep 60", True, None, "marker"),
        ("marker", "touch M; exit 4", True, 4, None),
        ("marker", "exit 0", False, 0, None),
        ("marker_and_exit", "touch M; exit 0", True, 0, None),
        ("marker_and_exit", "touch M; exit 4", False, 4, None),
        ("marker_and_exit", "exit 0", False, 0, None),
        ("marker_and_exit", "touch M; exec sleep 60", False, None, "marker"),
        ("marker_and_exit", "trap 'exit 0' TERM; touch M; while :; do sleep 0.05; done", True, 0, "marker"),
    ],
)
def test_the_completion_rules(
    attempts: Attempts, tmp_path: Path, rule: str, script: str, succeeded: bool, code: int | None, by: str | None
) -> None:
    attempt = attempts.sh(script, completion={"rule": rule, "marker": str(tmp_path / "M"), "grace_s": 0.2})
    record = attempt.run()
    got = (record["outcome"], record["succeeded"], record["exit_code"], record["by"])
    assert got == ("exited", succeeded, code, by)


def test_a_marker_that_cannot_be_written_is_a_remark_not_a_failure(attempts: Attempts) -> None:
    record = attempts("true", completion={"rule": "exit_code", "marker": "/proc/no/m.txt", "grace_s": 1}).run()
    assert record["succeeded"]
    assert "/proc/no/m.txt could not be written" in record["reason"]


def test_the_scheduler_is_woken_after_the_claim_and_after_the_record(attempts: Attempts, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "wake")
    reader = os.open(tmp_path / "wake", os.O_RDONLY | os.O_NONBLOCK)
    try:
        attempt = attempts("true", wake=str(tmp_path / "wake"))
        attempt.run()
        assert os.read(reader, 500).decode().splitlines() == [attempt.tag, attempt.tag]
    finally:
        os.close(reader)


def test_nothing_but_a_fifo_is_written_to_as_wake(attempts: Attempts, tmp_path: Path) -> None:
    (tmp_path / "wake").write_text("precious")
    assert attempts("true", wake=str(tmp_path / "wake")).run()["succeeded"]
    assert (tmp_path / "wake").read_text() == "precious"


def test_the_runner_is_small_and_imports_no_more_than_it_must(attempts: Attempts) -> None:
    attempt = attempts.sh("echo up; sleep 60")
    process = attempt.start()
    attempt.says("up")
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) <= 12 * 1024  # type: ignore[index]
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    libraries = set(re.findall(r"lib-dynload/(\w+)\.", mapped))
    assert libraries <= {"_json", "_ctypes", "fcntl", "select", "termios", "resource", "binascii"}


def test_the_runner_imports_only_what_is_on_the_list() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); import researchflow_tmux.runner.main\n"
        "from researchflow_tmux.runner import jsontext, kernel, record; jsontext.loads(jsontext.dumps({}))\n"
        "kernel.subreaper(); print(*sys.modules)"
    )
    root = str(Path(__file__).parents[3])
    modules = subprocess.run([PYTHON, "-I", "-S", "-c", code, root], capture_output=True, text=True, check=True).stdout
    bare = subprocess.run(
        [PYTHON, "-I", "-S", "-c", "import os, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    new = set(modules.split()) - set(bare.stdout.split())
    ours = {name for name in new if name.split(".")[0] == "researchflow_tmux"}
    assert all(name == "researchflow_tmux" or name.startswith("researchflow_tmux.runner") for name in ours)
    allowed = {"__future__", "_ctypes", "_json", "errno", "fcntl", "select", "termios", "_struct", "struct"}
    assert new - ours <= allowed


def test_a_fault_of_the_runner_ends_the_job_and_is_recorded(attempts: Attempts) -> None:
    attempt = attempts.sh("trap '' TERM HUP; setsid sleep 60 & sleep 60", affinity=None)
    code = (
        "import sys; sys.path.append(sys.argv[1]); from researchflow_tmux.runner import main, supervise\n"
        "def fail(*_): raise KeyError('broken')\n"
        "supervise.Supervisor._signals = fail; main.main(['runner', sys.argv[2]])"
    )
    root = str(Path(__file__).parents[3])
    subprocess.run([PYTHON, "-I", "-S", "-c", code, root, attempt.spec_path], capture_output=True, check=False)
    record = attempt.record()
    assert (record["outcome"], record["by"], record["unreaped"]) == ("killed", "runner", [])
    assert "KeyError: 'broken'" in record["reason"]
    assert reap.find_by_cookie(attempt.tag) == []


def test_what_cannot_be_killed_is_named_and_keeps_its_slot(attempts: Attempts, tmp_path: Path) -> None:
    script = "setsid sh -c 'echo up; exec sleep 60' & exec sleep 60"
    attempt = attempts.sh(script, leases=lease(tmp_path / "leases", "GPU-a"))
    code = (
        "import sys; sys.path.append(sys.argv[1]); from researchflow_tmux.runner import main, reap, supervise\n"
        "reap.kill = lambda *_: None; supervise._KILL_PATIENCE_S = 0.3\n"  # as if it hung in the kernel
        "main.main(['runner', sys.argv[2]])"
    )
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen([PYTHON, "-I", "-S", "-c", code, root, attempt.spec_path], stdout=subprocess.DEVNULL)
    attempt.started.append(process)
    attempt.says("up")
    process.terminate()
    record = attempt.record()
    process.wait(10)
    assert (record["outcome"], record["signal"]) == ("killed", 15)
    assert record["unreaped"] == reap.find_by_cookie(attempt.tag) != []
    assert tickets.live(str(tmp_path / "leases"), "GPU-a")[0]["tag"] == attempt.tag


def test_everything_of_an_ended_attempt_is_gone(attempts: Attempts) -> None:
    attempt = attempts.sh("sleep 60 & sleep 60 & setsid sleep 60 & echo up; wait")
    process = attempt.start()
    attempt.says("up")
    process.terminate()
    attempt.record()
    process.wait(5)
    assert eventually(lambda: not reap.find_by_cookie(attempt.tag), 2)
