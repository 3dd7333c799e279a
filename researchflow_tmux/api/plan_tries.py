"""How far a plan is uncertain: the same jobs with other durations, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from researchflow_tmux.api.durations import Length, began
from researchflow_tmux.api.scene import Scene
from researchflow_tmux.domain.attempt import Attempt, AttemptKey
from researchflow_tmux.domain.job import Job
from researchflow_tmux.domain.resources import SHARE_TOLERANCE
from researchflow_tmux.policies.prediction.forward import Span, Task, lay_out
from researchflow_tmux.simulation.replay.chance import Chance


class Lengths(dict[int, Length]):
    """What each job takes, found out when somebody asks: of a hundred thousand jobs few are looked at."""

    def __init__(self, of: Callable[[int], Length]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, job_id: int) -> Length:
        self[job_id] = found = self._of(job_id)
        return found


Drawn = Mapping[int, float]
"""Seconds from the start of each job to its end."""


class Tries:
    """Draws durations and lets the jobs run: `decided` by the real decisions, or `laid_out` in a given order."""

    def __init__(self, scene: Scene, live: Mapping[int, Attempt], lengths: Mapping[int, Length]) -> None:
        self._scene, self._live, self._lengths = scene, live, lengths
        self._had = {job_id: max((scene.now - began(attempt)).total_seconds(), 0.0) for job_id, attempt in live.items()}
        self._gpu_places, self._cpu_places = _places(scene)

    def ends_of_running(self) -> dict[AttemptKey, datetime]:
        """When what runs should end."""
        return {
            attempt.key: began(attempt) + timedelta(seconds=self._lengths[job_id].middle_s)
            for job_id, attempt in self._live.items()
        }

    def middle(self) -> dict[int, float]:
        """Every job takes what is expected of it."""
        return {job_id: length.middle_s for job_id, length in self._lengths.items()}

    def drawn(self, number: int) -> dict[int, float]:
        """One that could be: the same number draws the same."""
        chance = Chance(number, "plan")
        return {
            job_id: length.drawn(chance.uniform(), self._had.get(job_id, 0.0))
            for job_id, length in self._lengths.items()
        }

    def decided(self, drawn: Drawn) -> dict[int, Span]:
        """By the real decisions."""
        found, _ = self._scene.foresee(
            lambda job: drawn[job.id] if job.id in drawn else self._lengths[job.id].middle_s, self.ends(drawn)
        )
        now = self._scene.now
        return {
            job_id: Span((stay.start_at - now).total_seconds(), (stay.end_at - now).total_seconds())
            for job_id, stay in found.stays.items()
        }

    def ends(self, drawn: Drawn) -> dict[AttemptKey, datetime]:
        """When what runs would have ended."""
        return {
            attempt.key: began(attempt) + timedelta(seconds=drawn[job_id]) for job_id, attempt in self._live.items()
        }

    def laid_out(self, order: Sequence[Task], drawn: Drawn) -> dict[int, Span]:
        """In this order, what runs first."""
        left = {job_id: max(took_s - self._had.get(job_id, 0.0), 0.0) for job_id, took_s in drawn.items()}
        return lay_out(order, left, gpu_places=self._gpu_places, cpu_places=self._cpu_places)

    def task(self, job: Job) -> Task:
        """A job as the order knows it."""
        request = job.needs
        share = self._scene.machine.share
        of_each = 1 if request.share is None or share <= 0 else max(round(request.share / share), 1)
        now = self._scene.now
        ready_s = 0.0 if job.not_before is None else max((job.not_before - now).total_seconds(), 0.0)
        return Task(job.id, request.gpus * of_each, job.spec.after, ready_s)


def in_order(jobs: Iterable[Job], all_jobs: Callable[[int], Job | None]) -> list[Job]:
    """The same jobs, each behind those of them that it needs."""
    jobs = list(jobs)
    among = {job.id for job in jobs}
    found: dict[int, Job] = {}
    for job in jobs:
        ahead = [job]
        while ahead:
            top = ahead[-1]
            needs = [all_jobs(need) for need in top.spec.after if need in among and need not in found]
            missing = [need for need in needs if need is not None and need not in ahead]
            if missing:
                ahead += missing
            else:
                found.setdefault(ahead.pop().id, top)
    return list(found.values())


def _places(scene: Scene) -> tuple[list[float], list[float]]:
    """Slots on GPUs that can be used, and places for CPU jobs, all free at once: what runs takes its own first."""
    machine = scene.machine
    blocked = {gpu.uuid for gpu in scene.conditions if not gpu.usable}
    usable = sum(device.uuid not in blocked for device in machine.devices)
    slots = len(scene.jobs) if machine.share <= 0 else int(1 / machine.share + SHARE_TOLERANCE)
    return [0.0] * (usable * slots), [0.0] * machine.cpu_places
