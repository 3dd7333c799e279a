"""NVIDIA GPUs, read by a child process that may be killed: a driver that hangs must not take the scheduler along."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from researchflow_tmux.adapters.nvml_process import NvmlChild
from researchflow_tmux.domain.errors import ProbeError
from researchflow_tmux.domain.hardware import GpuTraits
from researchflow_tmux.domain.resources import GpuProcess, GpuReading

MAX_BACKOFF_S = 60.0
MIN_START_S = 2.0
"""No start of a child is given less, however fast the last one was: the machine may be busy."""


class NoDriver(ProbeError):  # noqa: N818 - it reads as the fact it states
    """There is no NVIDIA driver on this machine: a fact, not a trouble."""


class NvmlProbe:
    """A GpuProbe over nvidia-ml-py. `NoDriver` is remembered; other troubles are tried again, less and less often."""

    def __init__(
        self,
        *,
        deadline_s: float = 3.0,
        start_deadline_s: float = 10.0,
        environ: Mapping[str, str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet.

        Args:
            deadline_s: Time for one answer.
            start_deadline_s: Time for a child's first answer: opening a driver without persistence mode takes seconds.
            environ: Environment of the child; None = ours.
            monotonic: Source of the time between tries.
        """
        self.driver: str | None = None
        """Version of the driver, once it has been read."""
        self._deadline_s, self._start_deadline_s = deadline_s, max(deadline_s, start_deadline_s)
        self._environ = environ
        self._monotonic = monotonic
        self._child: NvmlChild | None = None
        self._no_driver: str | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last_error = ProbeError("the GPUs have not been read yet")
        self._known: dict[int, tuple[str, str]] = {}
        self._parts: dict[str, GpuReading] = {}
        """MIG devices as last read, by UUID."""
        self._one_at_a_time = threading.Lock()

    def read(self) -> list[GpuReading]:
        """One reading per GPU, by PCI bus index.

        Raises:
            NoDriver: There is none; never asks again.
            ProbeError: The driver did not answer, or not intelligibly.
        """
        with self._one_at_a_time:
            if self._no_driver is not None:
                raise NoDriver(self._no_driver)
            try:
                answer = self._ask()
            except ProbeError as error:
                self._note_failure(error)
                raise
            self._failures = 0
            self.driver = answer.get("driver")
            return self._readings(answer["gpus"])

    def survey(self) -> dict[str, GpuTraits]:
        """What does not change of the GPUs, by UUID. Raises as `read` does."""
        with self._one_at_a_time:
            if self._no_driver is not None:
                raise NoDriver(self._no_driver)
            try:
                answer = self._ask(survey=True)
            except ProbeError as error:
                self._note_failure(error)
                raise
        return msgspec.convert(answer["traits"], dict[str, GpuTraits])

    def close(self) -> None:
        """End the child. The next `read` would start another."""
        with self._one_at_a_time:
            if self._child is not None:
                self._child.kill()
                self._child = None

    # -- asking

    def _ask(self, *, survey: bool = False) -> dict[str, Any]:
        child, deadline_s = self._ready_child()
        asked = time.monotonic()
        try:
            answer = child.request(deadline_s, survey=survey)
        except ProbeError:
            child.kill()
            raise
        if deadline_s != self._deadline_s:  # now known: later starts need not be given the most
            usual_s = max(MIN_START_S, self._deadline_s, 3 * (time.monotonic() - asked))
            self._start_deadline_s = min(deadline_s, usual_s)
        if "no_driver" in answer:
            child.kill()
            self._child = None
            self._no_driver = f"no NVIDIA driver: {answer['no_driver']}"
            raise NoDriver(self._no_driver)
        if "error" in answer:
            child.kill()
            raise ProbeError(f"the NVIDIA driver reports: {answer['error']}", hint=_advice(answer["error"]))
        return answer

    def _ready_child(self) -> tuple[NvmlChild, float]:
        """The living child or a new one, with the time it has for its answer."""
        if self._child is not None and self._child.alive:
            if not self._child.killed:
                return self._child, self._deadline_s
            # Not even SIGKILL ended it: it sits in the kernel. Another one would only join it there.
            raise ProbeError(
                f"the NVIDIA driver holds process {self._child.pid} and does not let go of it",
                hint="`dmesg | grep -i xid` tells what the driver met; such a driver needs a restart of the machine",
            )
        if self._failures > 1 and self._monotonic() < self._not_before:
            raise ProbeError(self._last_error.message, hint=self._last_error.hint)
        if self._child is not None:
            self._child.kill()  # gone already: closes our ends of its pipes
        self._child = NvmlChild(self._environ)
        return self._child, self._start_deadline_s

    def _note_failure(self, error: ProbeError) -> None:
        if isinstance(error, NoDriver) or self._monotonic() < self._not_before:
            return
        self._failures += 1
        self._last_error = error
        # The first failure is tried again at once; a driver that keeps hanging must not cost every tick a deadline.
        wait_s = 0.0 if self._failures == 1 else min(MAX_BACKOFF_S, 2.0 ** (self._failures - 1))
        self._not_before = self._monotonic() + wait_s

    # -- understanding

    def _readings(self, gpus: list[dict[str, Any]]) -> list[GpuReading]:
        present = {gpu["uuid"] for gpu in gpus if gpu["uuid"]}
        for gpu in gpus:
            if gpu["uuid"] is None:  # lost before it could say who it is: it is who it was, unless another one is that
                uuid, name = self._known.get(gpu["index"], (f"index-{gpu['index']}", ""))
                gpu["uuid"] = f"index-{gpu['index']}" if uuid in present else uuid
                gpu["name"] = gpu["name"] or name
        readings = [_reading(gpu) for gpu in gpus]
        self._known |= {reading.index: (reading.uuid, reading.name) for reading in readings}
        return self._with_lost_parts(readings)

    def _with_lost_parts(self, readings: list[GpuReading]) -> list[GpuReading]:
        """The MIG devices of a lost GPU, which the driver does not list any more, are as lost as it is."""
        present = {reading.uuid for reading in readings}
        self._parts |= {reading.uuid: reading for reading in readings if reading.parent is not None}
        lost = {reading.uuid: reading for reading in readings if reading.lost}
        gone = [part for part in self._parts.values() if part.parent in lost and part.uuid not in present]
        return readings + [
            GpuReading(
                uuid=part.uuid,
                index=part.index,
                name=part.name,
                parent=part.parent,
                error=lost[part.parent or ""].error,
                lost=True,
            )
            for part in gone
        ]


def _reading(gpu: dict[str, Any]) -> GpuReading:
    name = gpu["name"] or "unknown GPU"
    if gpu["error"]:
        return GpuReading(
            uuid=gpu["uuid"],
            index=gpu["index"],
            name=name,
            error=gpu["error"],
            lost=gpu["lost"],
            xids=tuple(gpu["xids"]),
        )
    processes = gpu.pop("processes")
    return GpuReading(
        **{**gpu, "name": name, "xids": tuple(gpu["xids"])},
        processes=None
        if processes is None
        else tuple(GpuProcess(pid=pid, used_mib=used, util_pct=util) for pid, used, util in processes),
    )


def _advice(error: str) -> str | None:
    if "mismatch" in error.lower():
        return "the driver was upgraded under the running kernel module: restart the machine"
    return None
