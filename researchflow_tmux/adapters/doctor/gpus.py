"""GPUs: the driver, what the workspace may use of them, and the machine-wide leases."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile

from researchflow_tmux.adapters import gpu_inventory, machine_projects
from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.adapters.doctor.check import Check, Context, fail, ok, warn
from researchflow_tmux.adapters.leases import FileLeases
from researchflow_tmux.adapters.nvml import NoDriver, NvmlProbe
from researchflow_tmux.adapters.register import FileRegister
from researchflow_tmux.domain.errors import ConfigError, ProbeError
from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.mounts import is_network_fs

DRIVER_S = 2.5


def driver(context: Context) -> list[Check]:
    """The NVIDIA driver answers; `gpu_count` can be had."""
    probe = NvmlProbe(environ=context.environ, deadline_s=DRIVER_S, start_deadline_s=DRIVER_S)
    try:
        return [_driver(context, probe), *_inventory(context, probe)]
    except ProbeError as error:
        return [fail("NVIDIA driver", error.message, error.hint or "see whether `nvidia-smi` answers")]
    finally:
        probe.close()


def _driver(context: Context, probe: NvmlProbe) -> Check:
    try:
        readings = probe.read()
    except NoDriver as error:
        return _no_driver(context, error)
    return _readings(readings, probe.driver)


def _readings(readings: list[GpuReading], version: str | None) -> Check:
    names = ", ".join(f"{reading.index} {reading.name}" for reading in readings) or "no GPU"
    lost = [f"GPU {reading.index}: {reading.error}" for reading in readings if reading.error]
    if lost:
        return warn("NVIDIA driver", "; ".join(lost), "`dmesg | grep -i xid` tells why; it needs a reset or a restart")
    return ok("NVIDIA driver", f"{version or 'unknown version'}: {names}")


def _no_driver(context: Context, error: NoDriver) -> Check:
    if gpu_inventory.nvidia_nodes(context.root):
        return warn(
            "NVIDIA driver", f"there are GPU device nodes, but {error.message}", "install the driver's libraries"
        )
    return ok("NVIDIA driver", error.message)


def _inventory(context: Context, probe: NvmlProbe) -> list[Check]:
    if context.settings is None:
        return []
    try:
        found = gpu_inventory.inventory(context.settings, probe, context.environ, root=context.root)
    except ConfigError as error:
        advice = "; ".join(problem.hint for problem in error.problems if problem.hint)
        message = "; ".join(problem.message for problem in error.problems)
        return [fail("GPUs of the workspace", message, advice or "change gpu_count in the configuration")]
    if found.warnings or not found.devices:
        advice = "see gpu_count in the configuration and CUDA_VISIBLE_DEVICES in the environment"
        return [warn("GPUs of the workspace", "; ".join([found.note, *found.warnings]), advice)]
    return [ok("GPUs of the workspace", found.note)]


def leases(context: Context) -> list[Check]:
    """The directory of the machine-wide leases can be used, by everybody."""
    name = "GPU leases"
    directory = FileLeases(context.environ.get("RFSCHED_LEASE_DIR") or None).directory
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mode = stat.S_IMODE(os.stat(directory).st_mode)
    except OSError as error:
        advice = (
            f"without it no GPU job starts: `sudo install -d -m 1777 {directory}`, or name another: RFSCHED_LEASE_DIR"
        )
        return [fail(name, f"{directory} cannot be used: {error.strerror}", advice)]
    network = is_network_fs(directory)
    if network:
        advice = "leases are of one machine: set RFSCHED_LEASE_DIR to a local directory"
        return [warn(name, f"{directory} is on a network ({network})", advice)]
    if mode & 0o1777 != 0o1777:
        advice = f"if others use this machine's GPUs: `chmod 1777 {directory}`"
        return [warn(name, f"{directory} (mode {mode:o}) is not open to other users", advice)]
    return [ok(name, f"{directory} can be used by everybody")]


def projects(context: Context) -> list[Check]:
    """The projects and users that the machine's workspaces share can be read, and so can the others' pages."""
    name = "projects of the machine"
    try:
        machine = machine_projects.load(context.environ)
    except ConfigError as error:
        return [fail(name, str(error), "no scheduler starts with it: correct it")]
    if machine is None:
        return [ok(name, "none are described: each workspace is on its own")]
    lease_dir = FileLeases(context.environ.get("RFSCHED_LEASE_DIR") or None).directory
    clock = SystemClock()
    try:
        seen = FileRegister(lease_dir, clock.boot_id).read(clock.now())
    except OSError as error:
        message = f"the register in {lease_dir} cannot be read: {error.strerror}"
        return [fail(name, message, "until it can be, jobs of shared projects with a limit wait")]
    bad = [f"{each.name}: {each.problem}" for each in seen if each.problem is not None]
    if bad:
        advice = f"jobs of shared projects with a limit wait: have their owners remove them from {lease_dir}/register"
        return [warn(name, "pages of other workspaces cannot be read: " + "; ".join(bad), advice)]
    shared = ", ".join(sorted([*machine.projects, *(f"user {user}" for user in machine.users)])) or "nobody"
    return [ok(name, f"{machine.path}: {shared}")]
