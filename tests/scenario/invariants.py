"""What must hold after every step of every history, whatever went wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec.structs import replace

from researchflow_tmux.domain.attempt import Ended
from researchflow_tmux.domain.gpus import META_CONDITIONS, decode_conditions
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.engine.accounting import kept_accounts
from researchflow_tmux.engine.planning.index import Index, project_of
from researchflow_tmux.engine.workload import Workload, order_key
from researchflow_tmux.simulation.clock import EPOCH
from researchflow_tmux.testing.invariants import check_machine

if TYPE_CHECKING:
    from tests.scenario.world import World


def check_invariants(world: World) -> None:
    """Raise AssertionError, naming what is wrong."""
    workload = world.engine.workload
    check_workload(workload)
    if world.engine.choice.planner is not None:
        check_plan(workload, world.engine.choice.planner.index)
    check_machine(world)
    if not workload.changed and world.checked != (world.engine, world.store.commits):
        world.checked = (world.engine, world.store.commits)
        _store_is_memory(world, workload)


def check_workload(workload: Workload) -> None:
    """What one workload promises about itself."""
    _queue_is_right(workload)
    _active_is_live(workload)


def _queue_is_right(workload: Workload) -> None:
    queued = [job for job in workload.jobs.values() if job.state is JobState.QUEUED]
    assert list(workload.queued()) == sorted(queued, key=order_key), "the queue is the queued jobs in their order"
    assert workload.queue_length == len(queued)
    assert +workload.counts == Counter(job.state for job in workload.jobs.values())
    assert workload.queued_cpu_jobs == sum(job.spec.request.gpus == 0 for job in queued)
    assert workload._delayed == {job.id for job in queued if job.not_before is not None}
    edges: dict[int, set[int]] = defaultdict(set)
    for job in workload.jobs.values():
        for upstream in job.spec.after:
            edges[upstream].add(job.id)
    assert {up: down for up, down in workload.dependents.items() if down} == edges, "who waits for whom"
    slugs = Counter(job.slug for job in workload.jobs.values())
    assert not slugs or max(slugs.values()) == 1, f"two jobs share a name: {slugs.most_common(1)}"


def _active_is_live(workload: Workload) -> None:
    active = {(job.id, job.attempts) for job in workload.jobs.values() if job.state is JobState.ACTIVE}
    live = {key for key, attempt in workload.attempts.items() if not isinstance(attempt.phase, Ended)}
    assert active == live, f"active jobs without an attempt: {active - live}; attempts without: {live - active}"
    assert all(attempt.live for attempt in workload.attempts.values()), "only live attempts are kept"


def check_plan(workload: Workload, index: Index) -> None:
    """What a policy goes by is what the workload holds."""
    ready = {job.id for job in workload.jobs.values() if job.state is JobState.QUEUED and not workload.unmet(job.spec)}
    assert index.classes.entries.keys() == ready, "the jobs that could start"
    active = [job for job in workload.jobs.values() if job.state is JobState.ACTIVE]
    live = Counter(project_of(job) for job in active) + Counter(project_of(workload.jobs[number]) for number in ready)
    assert +index._live == live, "who waits or runs, by project"
    assert {job.id for job in active} == set(index.usage._open), "what runs is charged"
    due = {number for number, entry in index.classes.entries.items() if entry.deadline_s is not None}
    assert index.deadlines._entries.keys() == due


def _store_is_memory(world: World, workload: Workload) -> None:
    stored = world.store.load()
    assert {job.id: job for job in stored.jobs} == workload.jobs, "rows are not what is in memory"
    assert {attempt.key: attempt for attempt in stored.attempts} == workload.attempts
    assert {gpu.uuid: gpu for gpu in decode_conditions(stored.meta.get(META_CONDITIONS))} == workload.gpus
    accounting = world.engine.context.accounting
    assert kept_accounts(stored.meta) == accounting._settled, "what was used is saved with the ends"
    for job in stored.jobs:
        numbers = [attempt.number for attempt in world.store.attempts_of(job.id)]
        assert numbers == list(range(1, job.attempts + 1)), f"attempts of {job.name}: {numbers} of {job.attempts}"


def check_history(world: World) -> None:
    """The events, applied to nothing, give the rows: nothing changed without being told.

    Times aside: a result is told with the commit that saves it, a moment after it happened.
    """
    replayed = Workload()
    for event in world.store.events():
        replayed.apply(event.payload, event.at)
    rows = world.engine.workload
    assert {key: _timeless(job) for key, job in replayed.jobs.items()} == {
        key: _timeless(job) for key, job in rows.jobs.items()
    }
    assert replayed.attempts.keys() == rows.attempts.keys()
    assert replayed.gpus == rows.gpus


def _timeless(job: Job) -> Job:
    return replace(job, queued_at=EPOCH, ended_at=None)
