"""Each check finds what it looks for; no check hides another."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from researchflow_tmux.adapters.doctor import Check, Context, gpus, limits, machine, run_checks, tmux_server, workspace
from researchflow_tmux.adapters.doctor.run import CHECKS, run_each
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from tests.nvml_stub import StubGpu, build_stub, stub_environ, write_state
from tests.support import eventually


def context(
    root: Path | str = "/",
    *,
    work: Path | None = None,
    settings: Settings | None = None,
    socket: Path | None = None,
    environ: dict[str, str] | None = None,
    **more: str,
) -> Context:
    return Context(
        environ=os.environ | (environ or {}) | more,
        paths=None if work is None else WorkspacePaths(root=str(work), config=str(work / "c.yml")),
        settings=settings,
        socket=None if socket is None else str(socket),
        root=str(root),
    )


def write(root: Path, path: str, text: str) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def only(checks: list[Check]) -> Check:
    assert len(checks) == 1, checks
    assert (checks[0].status == "ok") == (not checks[0].advice)
    return checks[0]


# -- all together


def test_all_checks_of_this_machine_answer(tmp_path: Path) -> None:
    paths = WorkspacePaths(root=str(tmp_path), config=str(tmp_path / "c.yml"))
    found = run_checks(paths, Settings(task_name="t"), environ=os.environ)
    assert len(found) >= len(CHECKS)
    assert all(check.name and check.fact for check in found)
    assert all(bool(check.advice) == (check.status != "ok") for check in found)
    assert not [check for check in found if "could not be checked" in check.fact]


def test_without_a_workspace_the_machine_is_looked_at() -> None:
    names = {check.name for check in run_checks(None, None)}
    assert {"tmux", "NVIDIA driver", "GPU leases", "clock"} <= names
    assert "state" not in names


def test_no_check_hides_or_delays_the_others() -> None:
    never = threading.Event()

    def breaks(_: Context) -> list[Check]:
        raise KeyError("x")

    def hangs_for_ever(_: Context) -> list[Check]:
        never.wait()
        return []

    def well(_: Context) -> list[Check]:
        return [Check(name="well", status="ok", fact="all is well")]

    began = time.monotonic()
    broken, hung, fine = run_each([breaks, hangs_for_ever, well], context(), timeout_s=0.2)
    assert time.monotonic() - began < 2
    never.set()
    assert (broken.name, broken.status) == ("breaks", "warn")
    assert "KeyError" in broken.fact
    assert (hung.name, hung.fact) == ("hangs for ever", "no answer within 0.2 s")
    assert fine.status == "ok"


# -- tmux


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("tmux 3.3a", (3, 3)),
        ("tmux 2.9", (2, 9)),
        ("tmux next-3.5", (3, 5)),
        ("tmux master", None),
        ("", None),
    ],
)
def test_version_of_tmux(text: str, version: tuple[int, int] | None) -> None:
    assert tmux_server.parse_version(text) == version


def test_tmux_missing_or_too_old(tmp_path: Path) -> None:
    assert only(tmux_server.program(context(PATH=str(tmp_path)))).status == "fail"
    write(tmp_path, "tmux", "#!/bin/sh\necho tmux 2.9a\n")
    (tmp_path / "tmux").chmod(0o755)
    assert "tmux 2.9a" in only(tmux_server.program(context(PATH=str(tmp_path)))).fact


@pytest.fixture
def tmux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Socket of a server without sessions, whose tmux.conf ends sessions nobody looks at."""
    place = tmp_path_factory.mktemp("s")
    (place / "conf").write_text("set -s exit-empty off\nset -g destroy-unattached on\n")
    socket = place / "s"
    subprocess.run(["tmux", "-S", str(socket), "-f", str(place / "conf"), "start-server"], check=True, timeout=10)
    pid = tmux_pid(socket)
    yield socket
    os.kill(pid, signal.SIGCONT)
    subprocess.run(["tmux", "-S", str(socket), "kill-server"], check=False, timeout=10)
    eventually(lambda: not os.path.exists(f"/proc/{pid}") or "Z" in Path(f"/proc/{pid}/stat").read_text())


def tmux_pid(socket: Path) -> int:
    command = ["tmux", "-S", str(socket), "display-message", "-p", "#{pid}"]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=10).stdout)


@pytest.mark.tmux
def test_a_server_that_answers_and_one_that_is_stopped(tmux: Path) -> None:
    there, room = tmux_server.server(context(socket=tmux))
    assert f"pid {tmux_pid(tmux)}" in there.fact
    assert (there.status, room.status) == ("ok", "ok")
    assert "destroy-unattached" in only(tmux_server.configuration(context(socket=tmux))).fact
    pid = tmux_pid(tmux)
    os.kill(pid, signal.SIGSTOP)
    silent = only(tmux_server.server(context(socket=tmux)))
    assert silent.status == "fail"
    assert f"kill -CONT {pid}" in silent.advice


def test_no_server_yet(tmp_path: Path) -> None:
    found = only(tmux_server.server(context(socket=tmp_path / "none")))
    assert found.status == "ok"
    assert "the first job starts it" in found.fact


def test_a_server_short_of_descriptors(tmp_path: Path) -> None:
    write(
        tmp_path,
        "proc/5/limits",
        "Limit     Soft Limit   Hard Limit   Units\nMax open files            70     4096     files\n",
    )
    for number in range(10):
        write(tmp_path, f"proc/5/fd/{number}", "")
    found = tmux_server.descriptors(context(tmp_path), 5)
    assert found.status == "warn"
    assert "10 of 70" in found.fact


def test_traps_of_tmux_conf_without_a_server(tmp_path: Path) -> None:
    write(tmp_path, "home/.tmux.conf", "# set -g destroy-unattached on\nset-option -s exit-unattached on\n")
    here = context(tmp_path, socket=tmp_path / "none", HOME="/home", SHELL="/usr/sbin/nologin")
    trap, shell = tmux_server.configuration(here)
    assert trap.status == "fail"
    assert "exit-unattached" in trap.fact
    assert "/usr/sbin/nologin" in shell.fact
    write(tmp_path, "home/.tmux.conf", "set -g mouse on\n")
    plain = context(tmp_path, socket=tmp_path / "none", HOME="/home", SHELL="/bin/bash")
    assert only(tmux_server.configuration(plain)).status == "ok"


# -- GPUs


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


def test_a_driver_and_a_gpu_count_that_cannot_be_had(lib: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    write_state(state, [StubGpu("GPU-a"), StubGpu("GPU-b")], driver="535.1")
    environ = stub_environ(lib, state, {})
    well = gpus.driver(context(settings=Settings(task_name="t"), environ=environ))
    assert [check.status for check in well] == ["ok", "ok"]
    assert "535.1: 0 NVIDIA Stub 24G, 1 NVIDIA" in well[0].fact
    _, refused = gpus.driver(context(settings=Settings(task_name="t", gpu_count=3), environ=environ))
    assert (refused.status, refused.fact) == ("fail", "gpu_count asks for 3 GPUs, but there are 2")


def test_a_lost_gpu_and_a_driver_that_hangs(lib: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    environ = stub_environ(lib, state, {})
    write_state(state, [StubGpu("GPU-a", lost=True)])
    assert "GPU is lost" in only(gpus.driver(context(environ=environ))).fact
    monkeypatch.setattr(gpus, "DRIVER_S", 0.5)
    write_state(state, [StubGpu("GPU-a")], hang={"nvmlDeviceGetCount": 600})
    hung = only(gpus.driver(context(environ=environ)))
    assert hung.status == "fail"
    assert "nvidia-smi" in hung.advice


def test_nodes_without_a_driver(tmp_path: Path) -> None:
    write(tmp_path, "dev/nvidia0", "")
    found = only(gpus.driver(context(tmp_path, LD_LIBRARY_PATH=str(tmp_path))))
    if "no NVIDIA driver" in found.fact:  # a machine without one
        assert found.status == "warn"


def test_lease_directories(tmp_path: Path) -> None:
    write(tmp_path, "file", "")
    blocked = only(gpus.leases(context(RFSCHED_LEASE_DIR=str(tmp_path / "file"))))
    assert blocked.status == "fail"
    (tmp_path / "mine").mkdir(mode=0o700)
    assert "mode 700" in only(gpus.leases(context(RFSCHED_LEASE_DIR=str(tmp_path / "mine")))).fact
    (tmp_path / "mine").chmod(0o1777)
    assert only(gpus.leases(context(RFSCHED_LEASE_DIR=str(tmp_path / "mine")))).status == "ok"
    assert list((tmp_path / "mine").iterdir()) == []


# -- the workspace


def test_a_state_that_others_can_read(tmp_path: Path) -> None:
    here = context(work=tmp_path)
    assert "is made when" in only(workspace.state(here)).fact
    (tmp_path / ".rfsched").mkdir(mode=0o755)
    assert "chmod 700" in only(workspace.state(here)).advice
    (tmp_path / ".rfsched").chmod(0o700)
    assert only(workspace.state(here)).status == "ok"


def test_logs_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    write(tmp_path, "blocked", "")
    settings = Settings(task_name="t", log_dir="blocked/logs")
    assert only(workspace.logs(context(work=tmp_path, settings=settings))).status == "fail"
    assert only(workspace.logs(context(work=tmp_path, settings=Settings(task_name="t")))).status == "ok"
    off = Settings(task_name="t", log_dir="blocked", enable_logging=False)
    assert workspace.logs(context(work=tmp_path, settings=off)) == []


def test_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(workspace.space(context(work=tmp_path))).status == "ok"
    monkeypatch.setattr(workspace, "LITTLE_BYTES", 1 << 62)
    assert only(workspace.space(context(work=tmp_path))).status == "warn"
    monkeypatch.setattr(workspace, "TOO_LITTLE_BYTES", 1 << 62)
    assert only(workspace.space(context(work=tmp_path))).status == "fail"


# -- limits


def test_the_tightest_control_group_counts(tmp_path: Path) -> None:
    group = "sys/fs/cgroup"
    write(tmp_path, "proc/self/cgroup", "0::/user.slice/me\n")
    assert "not looked at" in only(limits.container(context(tmp_path))).fact
    write(tmp_path, f"{group}/cgroup.controllers", "pids memory")
    assert "no limit of tasks" in only(limits.container(context(tmp_path))).fact
    write(tmp_path, f"{group}/user.slice/me/pids.max", "max\n")
    write(tmp_path, f"{group}/user.slice/pids.max", "1000\n")
    write(tmp_path, f"{group}/user.slice/pids.current", "900\n")
    write(tmp_path, f"{group}/user.slice/memory.max", str(1 << 30))
    tasks, memory = limits.container(context(tmp_path))
    assert "900 of 1000 tasks" in tasks.fact
    assert "1.0 GiB" in memory.fact


# -- the machine


def test_a_shim_is_named_with_the_real_program(tmp_path: Path) -> None:
    write(tmp_path, "shims/python", '#!/bin/sh\nexec python3 "$@"\n')
    (tmp_path / "shims/python").chmod(0o755)
    found = only(machine.python(context(PATH=f"{tmp_path}/shims:{os.environ['PATH']}")))
    assert found.status == "warn"
    real = found.advice.rpartition(": ")[2]
    assert os.access(real, os.X_OK)
    assert not machine.is_shim(real)


def test_logging_out(tmp_path: Path) -> None:
    assert "no systemd" in only(machine.logout(context(tmp_path))).fact
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert only(machine.logout(context(tmp_path))).status == "ok"
    write(tmp_path, "etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\nKillExcludeUsers=nobody\n")
    write(tmp_path, "etc/systemd/logind.conf.d/b.conf", "[Login]\nKillUserProcesses = yes\n")
    write(tmp_path, "etc/systemd/logind.conf.d/ignored", "KillUserProcesses=no\n")
    write(tmp_path, "bin/loginctl", "#!/bin/sh\necho $LINGER\n")
    (tmp_path / "bin/loginctl").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    killed = only(machine.logout(context(tmp_path, PATH=path, LINGER="no")))
    assert "loginctl enable-linger" in killed.advice
    assert only(machine.logout(context(tmp_path, PATH=path, LINGER="yes"))).status == "ok"


def test_after_a_reboot(tmp_path: Path) -> None:
    write(tmp_path, "bin/crontab", f"#!/bin/sh\ncat {tmp_path}/table\n")
    (tmp_path / "bin/crontab").chmod(0o755)
    write(tmp_path, "table", f"@reboot start # rfsched autostart: {tmp_path}\n")
    (tmp_path / "proc/7").mkdir(parents=True)
    here = context(tmp_path, work=tmp_path, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert "no cron runs" in only(machine.reboot(here)).fact
    write(tmp_path, "proc/7/comm", "cron\n")
    assert only(machine.reboot(here)).fact == "cron starts the scheduler: start"
    write(tmp_path, "table", "")
    assert "not started again" in only(machine.reboot(here)).fact


def test_the_boot_id(tmp_path: Path) -> None:
    assert only(machine.clock(context())).status == "ok"
    assert only(machine.clock(context(tmp_path))).status == "fail"


def test_the_projects_of_the_machine(tmp_path: Path) -> None:
    file = tmp_path / "machine.yml"
    here = context(RFSCHED_LEASE_DIR=str(tmp_path), RFSCHED_PROJECTS=str(file))
    assert "none are described" in only(gpus.projects(context(RFSCHED_LEASE_DIR=str(tmp_path)))).fact
    assert only(gpus.projects(here)).status == "fail"
    file.write_text("projects: {vision: {}}\nusers: {ann: {}}\n")
    good = only(gpus.projects(here))
    assert (good.status, good.fact) == ("ok", f"{file}: user ann, vision")
    (tmp_path / "register").mkdir()
    (tmp_path / "register" / f"{os.geteuid()}.x.json").write_text("garbage")
    assert "cannot be understood" in only(gpus.projects(here)).fact
    (tmp_path / "register" / f"{os.geteuid()}.x.json").unlink()
    (tmp_path / "register").rmdir()
    (tmp_path / "register").write_text("a file")
    assert "cannot be read" in only(gpus.projects(here)).fact
