"""Everything the scheduler process does about GPUs beside deciding: measuring, health, the file that lists them."""

from __future__ import annotations

from collections.abc import Callable

from researchflow_tmux.domain.resources import GpuReading
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.ports import Wakeup
from researchflow_tmux.watching.available import AvailableGpus
from researchflow_tmux.watching.sampler import Sampler
from researchflow_tmux.wiring import Parts


class GpuWatching:
    """Belongs to one scheduler; all methods are called by its loop and none of them waits."""

    def __init__(self, parts: Parts, engine: Engine, tell: Callable[[str], None], nudge: Callable[[], None]) -> None:
        """`tell(text)` and `nudge()` (make the loop turn once more) may be called from other threads."""
        self._parts, self._engine = parts, engine
        self._sampler = Sampler(parts.paths, parts.clock, tell)
        self._available = AvailableGpus(parts, engine)
        engine.context.usage = self._sampler.usage
        parts.on_gpu_news = nudge
        self.retune()

    def retune(self) -> None:
        """Go on with changed settings or GPUs."""
        room = self._engine.room
        # Simulated GPUs follow the loop's own jobs, so only the loop may read them.
        probe = room.probe if room.probe is self._parts.prompt else _LastReadings(self._engine)
        self._sampler.tune(self._parts.settings.sample_interval, room.devices, probe)
        self._available.begin()

    def take_in(self) -> None:
        """What readings since the last tick say: which GPUs are lost, and which are back."""
        prompt = self._parts.prompt
        if prompt is None:
            return
        taken = prompt.take()
        for at_s, readings in taken:
            self._engine.gpus.see(readings, at_s, self._engine.room.devices)
        self._engine.room.note(taken, self._engine.workload)
        prompt.alert = self._engine.gpus.any_lost

    def look(self, wakeup: Wakeup) -> None:
        """What the wait brought."""
        self._available.look(wakeup)

    def sweep(self) -> None:
        """What no notice may have told."""
        self._available.sweep()

    def follow(self) -> None:
        """Measure what runs now."""
        workload = self._engine.workload
        self._sampler.follow(workload.attempts.values(), waiting=workload.queue_length > 0)

    def wait_s(self) -> float:
        """Seconds until something is due by time."""
        return self._available.wait_s()

    def close(self) -> None:
        """End the thread."""
        self._sampler.close()


class _LastReadings:
    """A GpuProbe for other threads: what the loop read last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self) -> list[GpuReading]:
        """The same list until the loop reads again."""
        return self._engine.room.readings
