"""A machine with GPUs for tests: the C stub of libnvidia-ml, compiled here and scripted by a file.

The real pynvml loads it through LD_LIBRARY_PATH, so every line of our NVML path runs but the driver itself:

    lib = build_stub(tmp_path)                       # skips the test where no gcc is
    write_state(state, gpus=[StubGpu(uuid="GPU-a")])
    env = stub_environ(lib, state)                   # for the process that shall see these GPUs
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "data" / "nvml_stub" / "nvml_stub.c"
GIB = 1024**3
FIRST_MIG = 1000
NOT_SUPPORTED = -1
"""A figure that this GPU does not offer."""
NOT_AVAILABLE = -2
"""A figure that the driver writes as ~0."""
DRIVER_NOT_LOADED = 9
GPU_IS_LOST = 15
LIB_RM_VERSION_MISMATCH = 18


@dataclass(frozen=True)
class StubProcess:
    """A process on a GPU; `kind` is "c" (compute) or "g" (graphics)."""

    pid: int
    used_bytes: int = GIB
    kind: str = "c"
    util_pct: int | None = None
    """None = the driver has no sample of it."""


@dataclass(frozen=True)
class StubGpu:
    """One GPU of the stub, in bytes, percent, degrees and milliwatts."""

    uuid: str
    name: str = "NVIDIA Stub 24G"
    total_bytes: int = 24 * GIB
    used_bytes: int = 0
    util_pct: int = 0
    temperature_c: int = 35
    power_mw: int = 25_000
    lost: bool = False
    xids: tuple[int, ...] = ()
    """Critical errors so far, the latest last."""
    processes: tuple[StubProcess, ...] = ()
    capability: tuple[int, int] | None = None
    """None = the driver does not say."""
    nvlinks: tuple[int | None, ...] = ()
    """Where each of its NVLinks leads: the index of a GPU, -1 = a switch; None = the link is down."""
    parts: tuple[StubGpu, ...] | None = None
    """Its MIG devices; empty = it is in MIG mode and has none."""


def build_stub(directory: Path, *, old_driver: bool = False) -> Path:
    """Compile the stub into `directory`; return the directory for LD_LIBRARY_PATH. Skips where there is no gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("the NVML tests need gcc (Debian: apt install gcc libc6-dev)")
    lib = directory / ("nvml_old" if old_driver else "nvml")
    lib.mkdir(parents=True, exist_ok=True)
    flags = ["-DOLD_DRIVER"] if old_driver else []
    command = [gcc, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", *flags]
    subprocess.run([*command, "-o", str(lib / "libnvidia-ml.so.1"), str(SOURCE)], check=True, timeout=60)
    return lib


def write_state(
    path: Path,
    gpus: Sequence[StubGpu] = (),
    *,
    init: int = 0,
    driver: str = "550.54.15",
    hang: Mapping[str, float] | None = None,
    fail: Mapping[str, int] | None = None,
    crash: Sequence[str] = (),
    ways: Mapping[tuple[int, int], int] | None = None,
    cut: Sequence[tuple[int, int]] = (),
) -> None:
    """Replace the state of the stub, atomically: the next NVML call of anybody sees it.

    Args:
        path: The file that RFSTUB_STATE names.
        gpus: The GPUs, in PCI order.
        init: What nvmlInitWithFlags returns.
        driver: The driver's version.
        hang: Seconds that a call (its name without `_v2`, `_v3`) sleeps.
        fail: The error code that a call returns.
        crash: Calls that end the process with SIGSEGV.
        ways: The driver's level of the common ancestor of two GPUs, by index.
        cut: Pairs of GPUs that do not reach each other over NVLink, switch or not.
    """
    lines = [f"init\t{init}", f"driver\t{driver}"]
    lines += [f"hang\t{call}\t{seconds}" for call, seconds in (hang or {}).items()]
    lines += [f"fail\t{call}\t{code}" for call, code in (fail or {}).items()]
    lines += [f"crash\t{call}" for call in crash]
    for index, gpu in enumerate(gpus):
        figures = (gpu.total_bytes, gpu.used_bytes, gpu.util_pct, gpu.temperature_c, gpu.power_mw, int(gpu.lost))
        lines.append("\t".join(["gpu", gpu.uuid, gpu.name, *map(str, figures)]))
        lines += _processes(index, gpu)
        loads = [(proc.pid, proc.util_pct) for proc in gpu.processes if proc.util_pct is not None]
        lines += [f"load\t{index}\t{pid}\t{util_pct}\t{time.monotonic_ns() // 1000}" for pid, util_pct in loads]
        lines += [f"xid\t{index}\t{number}\t{serial}" for serial, number in enumerate(gpu.xids, 1)]
        lines += _traits(index, gpu)
    lines += [f"way\t{one}\t{two}\t{level}" for (one, two), level in (ways or {}).items()]
    lines += [f"p2p\t{one}\t{two}\t5" for one, two in cut]
    parts = [(index, part) for index, gpu in enumerate(gpus) for part in gpu.parts or ()]
    lines += [f"split\t{index}" for index, gpu in enumerate(gpus) if gpu.parts is not None]
    for place, (index, part) in enumerate(parts):
        lines.append("\t".join(["mig", str(index), part.uuid, part.name, str(part.total_bytes), str(part.used_bytes)]))
        lines += _processes(FIRST_MIG + place, part)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write("\n".join(lines) + "\n")
    os.replace(temporary, path)


def _traits(index: int, gpu: StubGpu) -> list[str]:
    lines = [] if gpu.capability is None else [f"cap\t{index}\t{gpu.capability[0]}\t{gpu.capability[1]}"]
    ends = [(int(end is not None), -1 if end is None else end) for end in gpu.nvlinks]
    return lines + [f"nvlink\t{index}\t{link}\t{active}\t{end}" for link, (active, end) in enumerate(ends)]


def _processes(handle: int, gpu: StubGpu) -> list[str]:
    return [f"proc\t{handle}\t{proc.kind}\t{proc.pid}\t{proc.used_bytes}" for proc in gpu.processes]


def stub_environ(lib: Path, state: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """`base` (default: ours) with the stub's variables."""
    environ = dict(os.environ if base is None else base)
    return environ | {"LD_LIBRARY_PATH": str(lib), "RFSTUB_STATE": str(state)}
