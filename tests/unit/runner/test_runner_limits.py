"""Limits of memory and CPUs: held by the kernel where the user's systemd is there, else by looking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from researchflow_tmux.runner import scope
from researchflow_tmux.runner.spec import Limits
from tests.unit.runner.runner_harness import PYTHON, Attempts, alive

MIB = 1 << 20


def test_a_job_above_its_memory_is_stopped_with_all_its_processes(attempts: Attempts) -> None:
    code = f"""
import os, time
child = os.fork()
if child == 0:
    data = bytearray({150 * MIB}); data[:] = b"x" * len(data)
    time.sleep(300)
open("child", "w").write(str(child))
time.sleep(300)
"""
    record = attempts.python(code, limits={"memory_mib": 100, "look_s": 0.05}).run()
    assert (record["outcome"], record["signal"], record["succeeded"]) == ("out_of_memory", 9, False)
    assert (record["oom"]["where"], record["oom"]["evidence"]) == ("ram", "limit")
    assert record["oom"]["line"].endswith("its limit is 100 MiB")
    assert not alive(int((attempts.root / "child").read_text()))


def test_memory_that_processes_share_counts_once_and_no_success_rule_makes_good_of_it(attempts: Attempts) -> None:
    code = f"""
import os, time
data = bytearray(b"x") * {60 * MIB}
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        time.sleep(0.5); os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
"""
    assert attempts.python(code, limits={"memory_mib": 120, "look_s": 0.05}).run()["succeeded"]
    completion = {"rule": "exit_code", "success": "always"}
    record = attempts.python(code, limits={"memory_mib": 40, "look_s": 0.05}, completion=completion).run()
    assert (record["outcome"], record["succeeded"]) == ("out_of_memory", False)


BUSCTL = f"""#!{PYTHON}
import os, sys
open(os.environ["XDG_RUNTIME_DIR"] + "/asked", "w").write("\\n".join(sys.argv[1:]))
{{body}}
"""


def busctl(root: Path, body: str) -> Path:
    path = root / "bin" / "busctl"
    path.parent.mkdir()
    path.write_text(BUSCTL.replace("{body}", body))
    path.chmod(0o755)
    return path.parent


def test_where_systemd_refuses_it_is_said_and_the_runner_looks_itself(attempts: Attempts) -> None:
    folder = busctl(attempts.root, 'sys.stderr.write("Call failed: Access denied\\n"); sys.exit(1)')
    attempt = attempts.sh("echo runs; echo $RFSCHED_ATTEMPT", limits={"memory_mib": 2048, "cpus": 2, "scope": True})
    environ = {"PATH": f"{folder}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(attempts.root)}
    record = attempt.run(env=environ)
    assert record["succeeded"]
    said = "rfsched: its limits are not held by systemd (Call failed: Access denied); the runner looks at its memory"
    assert said in attempt.output()
    assert attempt.tag in attempt.output(), "the process became the job all the same"
    asked = (attempts.root / "asked").read_text().split("\n")
    assert asked[:2] == ["--user", "--timeout=3"]
    assert asked[asked.index("PIDs") + 3].isdecimal()
    assert asked[asked.index("MemoryMax") + 2] == str(2048 * MIB)
    assert asked[asked.index("CPUQuotaPerSecUSec") + 2] == "2000000"


def test_no_busctl_at_all(attempts: Attempts) -> None:
    attempt = attempts.sh("echo runs", limits={"memory_mib": 2048, "scope": True})
    assert attempt.run(env={"PATH": "/nowhere"})["succeeded"]
    assert "not held by systemd (busctl: No such file or directory)" in attempt.output()


class Kernel:
    """What the kernel would show of process 77 after systemd moved it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, memory_max: str | None, move: bool = True) -> None:
        self.root = root
        group = root / "groups" / "user.slice" / "a.scope"
        group.mkdir(parents=True)
        if memory_max is not None:
            (group / "memory.max").write_text(memory_max)
        (root / "77").mkdir()
        (root / "77" / "cgroup").write_text("0::/user.slice/tmux.scope\n")
        moved = f'open({str(root / "77" / "cgroup")!r}, "w").write("0::/user.slice/a.scope\\n")' if move else ""
        monkeypatch.setenv("PATH", f"{busctl(root, moved)}:{os.environ['PATH']}")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(root))

    def enter(self) -> str:
        limits = Limits({"memory_mib": 100, "cpus": 1})
        return scope.enter(77, "a.scope", limits, {}, proc=str(self.root), groups=str(self.root / "groups"))


def test_a_process_that_was_moved_is_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch, f"{100 * MIB}\n")
    assert kernel.enter() == str(tmp_path / "groups/user.slice/a.scope")


@pytest.mark.parametrize(
    ("memory_max", "words"), [(None, "the controller is not delegated"), ("max\n", "the limit did not take")]
)
def test_a_limit_that_the_kernel_does_not_show_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_max: str | None, words: str
) -> None:
    with pytest.raises(scope.ScopeError, match=words):
        Kernel(tmp_path, monkeypatch, memory_max).enter()


def test_a_process_that_does_not_move_is_not_waited_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "_TIMEOUT_S", 0.3)
    with pytest.raises(scope.ScopeError, match="did not get into"):
        Kernel(tmp_path, monkeypatch, None, move=False).enter()
