"""Jobs that do their worst, names that fit nothing, configs that are wrong: through the installed programs."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support import eventually
from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]  # fixtures
pytestmark = pytest.mark.tmux

RAN = 'echo "$RFSCHED_ATTEMPT" >> "$RFSCHED_WORKSPACE/ran/$RFSCHED_JOB"\n'


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def runs(ws: RealWorkspace, name: str, body: str, **section: object) -> None:
    """A config whose job is a script of this body."""
    ws.config(name, command=ws.script(f"{name}.sh", RAN + body), text="", **section)


def test_hostile_jobs_end_as_they_should(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(gpu_count="simulated:8", marker_grace=0.3, retry_delay=0.2)
    daemon = "(setsid sh -c 'trap \"\" HUP; echo $$ > daemon.pid; while :; do sleep 0.1; done' &)\nsleep 0.3"
    runs(ws, "daemon", daemon)
    runs(ws, "deaf", "trap '' TERM INT HUP; touch deaf; while :; do sleep 0.1; done")
    noise = "import sys; [sys.stdout.write(f'{n:09}\\\\r') for n in range(2_000_000)]; print('the end')"
    runs(ws, "noisy", f'exec {sys.executable} -c "{noise}"')
    runs(ws, "silent", "exec <&- >&- 2>&-; sleep 0.3")
    runs(ws, "instant", "")
    runs(ws, "hangs", 'echo done > "$RFSCHED_OUTPUT_DIR/hangs_completed.txt"; sleep 600')
    runs(ws, "forgets", "", completion="marker")
    runs(ws, "again", "exit 3", retries=2)
    runs(ws, "slow", "sleep 600", time_limit=1)
    runs(ws, "was_done", "")
    (ws.root / "out").mkdir()
    (ws.root / "out" / "was_done_completed.txt").write_text("before")
    plain = ws.root / "plain.txt"
    plain.write_text("no program")
    ws.config("no_program", command=str(plain), retries=0)
    homeless = ws.root / "homeless"
    homeless.write_text("#!/no/such/interpreter\n")
    homeless.chmod(0o755)
    ws.config("homeless", command=str(homeless), retries=5)
    ws.ok("start")
    eventually((ws.root / "deaf").exists)
    ws.ok("cancel", "deaf")
    states = ws.settled(40.0)
    ended = {name: (state, ws.job(name)["reason_code"]) for name, state in states.items()}
    assert ended == {
        "daemon": ("succeeded", "succeeded"),
        "deaf": ("cancelled", "cancelled"),
        "noisy": ("succeeded", "succeeded"),
        "silent": ("succeeded", "succeeded"),
        "instant": ("succeeded", "succeeded"),
        "hangs": ("succeeded", "succeeded"),
        "forgets": ("failed", "no_marker"),
        "again": ("failed", "exit_code"),
        "slow": ("failed", "time_limit"),
        "was_done": ("succeeded", "done_before"),
        "no_program": ("failed", "launch_failed"),
        "homeless": ("failed", "launch_failed"),
    }
    assert not alive(int((ws.root / "daemon.pid").read_text())), "a daemon outlived its job"
    assert len(ws.log("noisy")) > 20_000_000
    assert "the end" in ws.log("noisy")[-200:]
    assert "plain.txt" in ws.reason("no_program")
    assert "/no/such/interpreter" in ws.reason("homeless")
    assert ws.job("homeless")["attempt"] == 1, "what cannot start is not tried again"
    assert ws.runs()["again"] == 3 == ws.job("again")["attempt"]
    assert "was_done" not in ws.runs()
    assert growing_pauses(ws, "again")


def growing_pauses(ws: RealWorkspace, name: str) -> bool:
    """Whether the tries of a job were 0.2 s and 0.4 s apart, at least."""
    with ws.api.reader() as reader:
        attempts = reader.attempts_of(ws.api.job(name).id)
    pauses = [
        (later.planned_at - earlier.phase.ended_at).total_seconds()  # type: ignore[union-attr]
        for earlier, later in pairwise(attempts)
    ]
    return len(pauses) == 2 and pauses[0] >= 0.2 and pauses[1] >= 0.4


def test_names_that_fit_nothing(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(gpu_count="simulated:8")
    names = ["a.b", "a_b", "a:b", "a=b", "has space", "ünï→cødé", "-dash", "$(touch owned)", "q'\""]
    names += ["x" * 200, "x" * 199 + "y"]
    for name in names:
        ws.config(name)
    ws.ok("start")
    states = ws.settled()
    assert states == dict.fromkeys(names, "succeeded"), {k: ws.reason(k) for k, v in states.items() if v != "succeeded"}
    sessions = {ws.job(name)["session"] for name in names}
    assert len(sessions) == len(names)
    assert sessions <= ws.sessions()
    assert not (ws.root / "owned").exists()
    assert set(ws.runs().values()) == {1}
    assert len({ws.job(name)["log"] for name in names}) == len(names)


def test_bad_configs_are_told_all_at_once_and_nothing_is_queued(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.config("good")
    ws.config("unknown", gpuss=1)
    ws.config("wrong", gpus="many")
    (ws.root / "configs" / "broken.yml").write_text("a: [1, 2\nb: }\n")
    result = ws.call("start")
    assert result.returncode == 3
    for place in ("unknown.yml:1:", "wrong.yml:1:", "broken.yml:2:"):
        assert place in result.stderr, result.stderr
    assert "gpus" in result.stderr
    twice = ws.call("start", "good.yml,good.yml")
    assert (twice.returncode, "good" in twice.stderr) in {(3, True), (0, False)}, twice.stderr
    assert twice.returncode == 3 or ws.settled() == {"good": "succeeded"}
    missing = ws.call("start", "nope.yml")
    assert missing.returncode == 3
    assert "nope.yml" in missing.stderr


def test_files_that_change_while_the_job_waits(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(gpu_count="simulated:1", max_jobs_per_gpu=1, cleanup_on_complete=False)
    runs(ws, "a_first", "while [ ! -e go ]; do sleep 0.05; done")
    runs(ws, "b_changed", "")
    ws.config("c_gone")
    (ws.root / "configs" / "d_empty.yml").write_text("")
    ws.ok("start")
    ws.runner("a_first")
    ws.config("b_changed", command=str(ws.root / "b_changed.sh"), priority=0)
    (ws.root / "configs" / "c_gone.yml").unlink()
    (ws.root / "go").touch()
    states = ws.settled()
    assert states == {"a_first": "succeeded", "b_changed": "succeeded", "c_gone": "failed", "d_empty": "succeeded"}
    assert "c_gone.yml is gone" in ws.reason("c_gone")
    assert "b_changed.yml changed since it was queued" in ws.history()


def test_a_job_sees_the_shell_of_start_and_no_secret_leaks(workspace: RealWorkspace) -> None:
    ws = workspace
    secret = "s3cr3t-0f-the-test"
    body = 'umask\necho "mine=$MINE path=$PATH dir=$PWD"\nenv | grep ^RFSCHED_\nenv | grep ^CUDA\n[ -n "$MY_TOKEN" ]\n'
    runs(ws, "a", body + "while [ ! -e go ]; do sleep 0.05; done")
    before = os.umask(0o027)
    try:
        ws.ok("start", MINE="yes", MY_TOKEN=secret, PATH=f"/opt/of-the-test:{os.environ['PATH']}")
    finally:
        os.umask(before)
    ws.runner("a")
    eventually(lambda: "CUDA_VISIBLE_DEVICES=0" in ws.log("a"))
    said = ws.log("a").replace("\r", "")
    ours = {"ATTEMPT": ws.tag("a"), "JOB": "a", "WORKSPACE": ws.root, "OUTPUT_DIR": ws.root / "out"}
    expected = ["0027\n", "mine=yes path=/opt/of-the-test:", "CUDA_DEVICE_ORDER=PCI_BUS_ID\n"]
    for line in expected + [f"RFSCHED_{name}={value}\n" for name, value in ours.items()]:
        assert line in said, said
    arguments = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.is_dir()]
    assert not [each for each in arguments if secret.encode() in each]
    (ws.root / "go").touch()
    ws.wait_for("a", "succeeded")
    for folder, _, files in os.walk(ws.root / ".rfsched"):
        assert Path(folder).stat().st_mode & 0o077 == 0, folder
        for name in files:
            assert (Path(folder) / name).stat().st_mode & 0o077 == 0, f"{folder}/{name}"
    for log in (ws.root / "logs").rglob("*.log"):
        assert secret not in log.read_text(errors="replace")
        assert log.stat().st_mode & 0o077 == 0, log


def test_a_job_is_at_a_terminal(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(gpu_count="simulated:3")
    script = ws.root / "debug_me.py"
    script.write_text("x = 6\nprint('at the end', x)\n")
    runs(ws, "asks", 'tty; printf "name? "; read name; echo "hello $name"')
    runs(ws, "waits", "echo waiting; sleep 600")
    ws.config("debugs", command=f"{sys.executable} -m pdb {script}")
    ws.ok("start")

    def type_to(name: str, after: str, *keys: str) -> None:
        eventually(lambda: after in ws.log(name), what=f"{name} says {after!r}")
        ws.server.run("send-keys", "-t", f"={ws.job(name)['session']}:", *keys)

    type_to("asks", "name?", "ann", "Enter")
    ws.wait_for("asks", "succeeded")
    assert "hello ann" in ws.log("asks")
    assert "/dev/pts/" in ws.log("asks")
    type_to("waits", "waiting", "C-c")
    assert ws.wait_for("waits", "failed")["reason_code"] in ("signalled", "exit_code")
    type_to("debugs", "(Pdb)", "p 6 * 7 * 100", "Enter")
    type_to("debugs", "4200", "c", "Enter")
    type_to("debugs", "at the end", "q", "Enter")
    assert ws.settled()["debugs"] in ("succeeded", "failed")


def test_sessions_of_the_ended_stay_within_bounds(workspace: RealWorkspace) -> None:
    ws = workspace
    ws.configure(cleanup_on_complete=True, keep_sessions=3, gpu_count="simulated:1", max_jobs_per_gpu=1)
    runs(ws, "a_bad", "echo a last word; exit 1")
    runs(ws, "b_good", "")
    ws.ok("start")
    ws.settled()
    eventually(lambda: ws.job("b_good")["session"] not in ws.sessions(), what="the good one's session is closed")
    name = ws.job("a_bad")["session"]
    # From the history on: tmux moves a dead pane's screen up by one line.
    assert "a last word" in ws.server.run("capture-pane", "-p", "-S", "-", "-t", f"={name}:")
    runs(ws, "a_bad", "while [ ! -e go ]; do sleep 0.05; done")
    ws.ok("requeue", "a_bad")
    ws.runner("a_bad")
    assert ws.job("a_bad")["session"] == name
    assert {name, f"{name}_a1"} <= ws.sessions()
    (ws.root / "go").touch()
    for number in range(12):
        runs(ws, f"bad{number}", "exit 1")
    ws.ok("start")
    ws.settled()
    eventually(lambda: len(ws.sessions()) <= 1 + 2 * 3, what="the oldest sessions are closed")


def test_a_process_that_cannot_be_reached_by_term_keeps_no_other_job_waiting(workspace: RealWorkspace) -> None:
    """A stopped job is woken and ended all the same."""
    ws = workspace
    runs(ws, "frozen", "kill -STOP $$")
    ws.ok("start")
    ws.runner("frozen")
    eventually(lambda: ws.job_pids("frozen"))
    pid = ws.job_pids("frozen")[0]
    eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    ws.ok("cancel", "frozen")
    ws.wait_for("frozen", "cancelled", 10.0)
    assert not alive(pid)
