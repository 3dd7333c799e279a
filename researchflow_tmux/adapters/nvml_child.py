"""The child that talks to the NVIDIA driver: one JSON line per request line, on pipes.

Run as a file (`python -I -S nvml_child.py DIR_OF_PYNVML`), so it imports nothing of the package. It exists because a
call into a broken driver may never return: the parent kills this process, not the scheduler.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

MIB = 1024 * 1024
UNKNOWN_U64 = 2**64 - 1
"""What the driver writes where it has no figure."""
PATHS = {0: "INT", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""What lies between two GPUs, by the driver's level of their common ancestor."""

MAX_EVENTS = 64
"""Events taken at a time: a GPU that reports errors without end must not keep us from answering."""
FIRST_SPAN_US = 10_000_000
"""The driver keeps samples of minutes; the first look is at no more than this."""


class Lost(Exception):  # noqa: N818 - it reads as the fact it states
    """This GPU does not answer any more; the others may."""


def main(pynvml_dir: str) -> int:
    """Answer until the parent closes our stdin."""
    # Ctrl-C in the parent's terminal is the parent's affair; its pipe tells us when it goes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path.append(pynvml_dir)
    session = Session()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # A parent that was killed while we hang in the driver cannot kill us: the kernel's alarm does.
        signal.setitimer(signal.ITIMER_REAL, float(request["deadline_s"]) + 1.0)
        answer = session.answer(survey=request.get("survey", False))
        signal.setitimer(signal.ITIMER_REAL, 0)
        answer["id"] = request["id"]
        try:
            os.write(1, json.dumps(answer).encode() + b"\n")
        except BrokenPipeError:
            break
        if "no_driver" in answer:
            break
    return 0


class Session:
    """One opened NVML; opened again after trouble, because an old session does not see a GPU come back."""

    def __init__(self) -> None:
        self.nvml: Any = None
        self.fresh = False
        self.events: Any = None
        """The driver's event set; None = this driver has none."""
        self.handles: dict[int | None, int] = {}
        """GPU index by the address of its handle, as events name it."""
        self.seen_us: dict[str | None, int] = {}
        """By UUID, the time of the last sample of its processes' utilisation."""

    def answer(self, *, survey: bool) -> dict[str, Any]:
        """What goes back to the parent: `gpus` (with `traits` for a survey), `no_driver` or `error`."""
        try:
            import pynvml
        except ImportError as error:
            return {"no_driver": f"the package nvidia-ml-py cannot be loaded ({error})"}
        self.nvml = pynvml
        absent = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        try:
            self._open()
            gpus = self._gpus(pynvml.nvmlDeviceGetCount())
            self._add_xids(gpus)
            driver = self._figure(pynvml.nvmlSystemGetDriverVersion)
            traits = self._traits(gpus) if survey else {}
        except (pynvml.NVMLError, Lost) as error:
            self._close()
            if getattr(error, "value", None) in absent:
                return {"no_driver": str(error)}
            return {"error": str(error)}
        if any(gpu["error"] for gpu in gpus):
            self._close()
        return {"gpus": gpus, "driver": driver, "traits": traits}

    def _open(self) -> None:
        if not self.fresh:
            self.nvml.nvmlInit()
            self.fresh = True
            self._listen()

    def _close(self) -> None:
        if self.fresh:
            self.fresh = False
            self.events = None  # the driver drops it with the session
            try:
                self.nvml.nvmlShutdown()
            except self.nvml.NVMLError:
                return  # nothing is lost: the next request opens it again

    def _gpus(self, count: int) -> list[dict[str, Any]]:
        """The GPUs, and after them, numbered on, the MIG devices that some are divided into."""
        nvml = self.nvml
        found, parts = [], []
        for index in range(count):
            gpu = self._one(functools.partial(nvml.nvmlDeviceGetHandleByIndex, index))
            found.append(gpu)
            if gpu.get("split"):
                parts += self._parts(nvml.nvmlDeviceGetHandleByIndex(index), gpu)
        return [{"index": index} | gpu for index, gpu in enumerate(found + parts)]

    def _parts(self, handle: Any, parent: dict[str, Any]) -> list[dict[str, Any]]:
        """The MIG devices of a GPU; how warm one is, only the GPU knows."""
        nvml = self.nvml
        found = []
        for place in range(self._figure(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            part = self._figure(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
            if part is not None:
                gpu = self._one(functools.partial(_itself, part))
                shared = {"parent": parent["uuid"], "temperature_c": parent["temperature_c"]}
                found.append(gpu if gpu["error"] else gpu | shared)
        return found

    def _one(self, handle_of: Callable[[], Any]) -> dict[str, Any]:
        """One device as the reading's fields; trouble with it is its own `error`."""
        found: dict[str, Any] = {"uuid": None, "name": None, "error": None, "lost": False, "xids": []}
        nvml = self.nvml
        try:
            handle = handle_of()
            found["uuid"] = self._figure(nvml.nvmlDeviceGetUUID, handle)
            found["name"] = self._figure(nvml.nvmlDeviceGetName, handle)
            found.update(self._figures(handle, found["uuid"]))
        except (nvml.NVMLError, Lost) as error:
            cause = error.__cause__ if isinstance(error, Lost) else error
            found["error"] = str(error)
            found["lost"] = getattr(cause, "value", None) in (
                nvml.NVML_ERROR_GPU_IS_LOST,
                nvml.NVML_ERROR_RESET_REQUIRED,
            )
        return found

    def _split(self, handle: Any) -> bool:
        """Whether it is divided into MIG devices; drivers that know of none have no such call."""
        call = getattr(self.nvml, "nvmlDeviceGetMigMode", None)
        mode = None if call is None else self._figure(call, handle)
        return bool(mode and mode[0] == self.nvml.NVML_DEVICE_MIG_ENABLE)

    def _listen(self) -> None:
        """Have the driver tell critical errors (Xid) of each GPU. Where it cannot, they go unheard."""
        nvml = self.nvml
        self.events, self.handles = None, {}
        try:
            events = nvml.nvmlEventSetCreate()
        except nvml.NVMLError:
            return
        self.events = events
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
            except nvml.NVMLError:
                continue
            self.handles[address(handle)] = index

    def _add_xids(self, gpus: list[dict[str, Any]]) -> None:
        """Put into each GPU's facts the Xids since the last look, and those of a divided one into its parts'."""
        nvml = self.nvml
        for _ in range(MAX_EVENTS if self.events is not None else 0):
            try:
                event = nvml.nvmlEventSetWait_v2(self.events, 0)
            except nvml.NVMLError:  # most likely NVML_ERROR_TIMEOUT: there are no more
                break
            index = self.handles.get(address(event.device))
            if index is not None and index < len(gpus) and event.eventType == nvml.nvmlEventTypeXidCriticalError:
                gpus[index]["xids"].append(event.eventData)
        whole = {gpu["uuid"]: gpu["xids"] for gpu in gpus}
        for gpu in gpus:
            if gpu.get("parent") is not None:
                gpu["xids"] = whole.get(gpu["parent"], [])

    def _figures(self, handle: Any, uuid: str | None) -> dict[str, Any]:
        nvml = self.nvml
        total, used = self._memory(handle)
        rates = self._figure(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._figure(nvml.nvmlDeviceGetPowerUsage, handle)
        limit = self._figure(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        return {
            "total_mib": total,
            "used_mib": used,
            "util_pct": None if rates is None or rates.gpu > 100 else rates.gpu,
            "temperature_c": self._temperature(handle),
            "power_w": None if power is None else power / 1000,
            "max_power_w": None if limit is None else limit / 1000,
            "split": self._split(handle),
            "processes": self._with_load(self._processes(handle, total), handle, uuid),
        }

    def _figure(self, call: Callable[..., Any], *args: Any) -> Any:
        """The call's value; None if this driver or GPU does not offer it. Raises Lost if the GPU is gone."""
        nvml = self.nvml
        gone = (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED, nvml.NVML_ERROR_UNINITIALIZED)
        try:
            return call(*args)
        except nvml.NVMLError as error:
            if error.value in gone:
                raise Lost(str(error)) from error
            return None

    # -- what does not change

    def _traits(self, gpus: list[dict[str, Any]]) -> dict[str, Any]:
        """By UUID: compute capability, and [UUID of another GPU, way, NVLinks] of each way that the driver knows."""
        nvml = self.nvml
        whole = {
            gpu["uuid"]: nvml.nvmlDeviceGetHandleByIndex(gpu["index"])
            for gpu in gpus
            if not gpu["error"] and gpu["uuid"] and not gpu.get("parent")
        }
        found: dict[str, Any] = {
            uuid: {"capability": self._figure(nvml.nvmlDeviceGetCudaComputeCapability, handle), "links": []}
            for uuid, handle in whole.items()
        }
        wires = self._wires(whole)
        for one, handle in whole.items():
            for two, other in whole.items():
                if one != two:
                    level = self._figure(nvml.nvmlDeviceGetTopologyCommonAncestor, handle, other)
                    nvlinks = self._nvlinks(wires[one], wires[two], two, handle, other)
                    if level is not None or nvlinks:
                        found[one]["links"].append([two, PATHS.get(level, "SYS"), nvlinks])
        parts = [gpu for gpu in gpus if gpu.get("parent") in found and gpu["uuid"]]
        return found | {gpu["uuid"]: {"capability": found[gpu["parent"]]["capability"], "links": []} for gpu in parts}

    def _wires(self, whole: dict[str, Any]) -> dict[str, dict[str | None, int]]:
        """Of each GPU, how many of its NVLinks lead to each other GPU, and (under None) to a switch."""
        nvml = self.nvml
        by_bus = {self._bus(nvml.nvmlDeviceGetPciInfo, handle): uuid for uuid, handle in whole.items()}
        found: dict[str, dict[str | None, int]] = {}
        for uuid, handle in whole.items():
            ends = found[uuid] = {}
            for link in range(getattr(nvml, "NVML_NVLINK_MAX_LINKS", 18)):
                state = self._figure(nvml.nvmlDeviceGetNvLinkState, handle, link)
                if state is None:  # it has no more
                    break
                if state:
                    end = by_bus.get(self._bus(nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link) or "")
                    ends[end] = ends.get(end, 0) + 1
        return found

    def _bus(self, call: Callable[..., Any], *args: Any) -> str | None:
        info = self._figure(call, *args)
        if info is None:
            return None
        bus = info.busId
        return (bus.decode("ascii", "replace") if isinstance(bus, bytes) else str(bus)).lower()

    def _nvlinks(
        self, ours: dict[str | None, int], theirs: dict[str | None, int], two: str, handle: Any, other: Any
    ) -> int:
        """NVLinks between two GPUs: direct ones, else those through switches if the two reach each other so."""
        if ours.get(two):
            return ours[two]
        through = min(ours.get(None, 0), theirs.get(None, 0))
        if not through:
            return 0
        nvml = self.nvml
        status = self._figure(nvml.nvmlDeviceGetP2PStatus, handle, other, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
        return through if status == nvml.NVML_P2P_STATUS_OK else 0

    def _memory(self, handle: Any) -> tuple[int | None, int | None]:
        """Total and used MiB. The second version does not count what the driver keeps for itself as used."""
        nvml = self.nvml
        memory = self._figure(nvml.nvmlDeviceGetMemoryInfo, handle, getattr(nvml, "nvmlMemory_v2", None))
        if memory is None:
            memory = self._figure(nvml.nvmlDeviceGetMemoryInfo, handle)
        if memory is None or memory.total in (0, UNKNOWN_U64):
            return None, None
        used = None if memory.used > memory.total else -(-memory.used // MIB)
        return memory.total // MIB, used

    def _temperature(self, handle: Any) -> int | None:
        nvml = self.nvml
        value: int | None = self._figure(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
        newer = getattr(nvml, "nvmlDeviceGetTemperatureV", None)
        if value is None and newer is not None:
            value = self._figure(newer, handle, nvml.NVML_TEMPERATURE_GPU)
        return value

    def _processes(self, handle: Any, total_mib: int | None) -> list[list[int | None]] | None:
        """[pid, used MiB or None] of compute and graphics processes, one per pid; None = the driver does not say."""
        lists = [self._process_list(handle, kind) for kind in ("Compute", "Graphics")]
        if all(found is None for found in lists):
            return None
        merged: dict[int, int | None] = {}
        for pid, used in (entry for found in lists for entry in found or ()):
            if used is None or used == UNKNOWN_U64 or (total_mib is not None and used > total_mib * MIB):
                merged.setdefault(pid, None)
            else:
                # A process in both lists is reported with the same memory twice, not with two halves.
                merged[pid] = max(-(-used // MIB), merged.get(pid) or 0)
        return [[pid, merged[pid]] for pid in sorted(merged)]

    def _with_load(
        self, processes: list[list[int | None]] | None, handle: Any, uuid: str | None
    ) -> list[list[int | None]] | None:
        """The same with the utilisation of each process added; None = the driver does not say."""
        if not processes:
            return processes
        seen_us = self.seen_us.get(uuid, 0)
        samples = self._figure(self.nvml.nvmlDeviceGetProcessUtilization, handle, seen_us)
        if not samples:
            return [[pid, used, None] for pid, used in processes]
        last_us = max(sample.timeStamp for sample in samples)
        self.seen_us[uuid] = last_us
        busy: dict[int | None, list[int]] = {}
        for sample in samples:
            if sample.timeStamp > max(seen_us, last_us - FIRST_SPAN_US) and sample.smUtil <= 100:
                busy.setdefault(sample.pid, []).append(sample.smUtil)
        # The driver has samples only of what kept the GPU busy: the others' utilisation is 0.
        return [[pid, used, round(sum(got) / len(got)) if (got := busy.get(pid)) else 0] for pid, used in processes]

    def _process_list(self, handle: Any, kind: str) -> list[tuple[int, int | None]] | None:
        name = f"nvmlDeviceGet{kind}RunningProcesses"
        for version in ("_v3", "_v2"):
            call = getattr(self.nvml, name + version, None)
            found = None if call is None else self._figure(call, handle)
            if found is not None:
                return [(entry.pid, entry.usedGpuMemory) for entry in found]
        return self._figure(self._oldest_process_list, handle, name)  # type: ignore[no-any-return]

    def _oldest_process_list(self, handle: Any, name: str) -> list[tuple[int, int | None]]:
        """Drivers before 450 have only the unversioned call; the binding has no wrapper with its layout."""
        nvml = self.nvml
        call = getattr(nvml.nvmlLib, name, None)
        if call is None:
            raise nvml.NVMLError(nvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        count = ctypes.c_uint(64)
        for _ in range(3):  # a process may start between two calls
            table = (OldProcess * count.value)()
            status = call(handle, ctypes.byref(count), table)
            if status == nvml.NVML_SUCCESS:
                return [(table[i].pid, table[i].used) for i in range(count.value)]
            if status != nvml.NVML_ERROR_INSUFFICIENT_SIZE:
                break
            count.value = count.value * 2 + 5
        raise nvml.NVMLError(status)


def _itself(handle: Any) -> Any:
    return handle


def address(handle: Any) -> int | None:
    """What tells one handle from another."""
    return ctypes.cast(handle, ctypes.c_void_p).value


class OldProcess(ctypes.Structure):
    """nvmlProcessInfo_v1_t."""

    _fields_ = (("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong))


if __name__ == "__main__":
    # No teardown: the driver's library may hang in its own.
    os._exit(main(sys.argv[1]))
