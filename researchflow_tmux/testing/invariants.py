"""What holds after every tick of a machine, whatever a policy wants and whatever goes wrong."""

from __future__ import annotations

from collections import Counter, defaultdict

from researchflow_tmux.domain.resources import SHARE_TOLERANCE
from researchflow_tmux.policies.hardware import fits
from researchflow_tmux.policies.topology import Links, closest
from researchflow_tmux.simulation.gpus import TOTAL_MIB
from researchflow_tmux.testing.machine import Machine


def check_machine(machine: Machine) -> None:
    """Raise AssertionError, naming what is wrong."""
    no_slot_overbooked(machine)
    no_memory_promised_twice(machine)
    on_gpus_of_its_kind(machine)
    started_at_most_once(machine)
    nothing_runs_unknown(machine)


def no_slot_overbooked(machine: Machine) -> None:
    """Neither booked nor really running jobs have more of a GPU than there is."""
    booked: dict[str, float] = defaultdict(float)
    running: dict[str, float] = defaultdict(float)
    truly = set(machine.host.runners())
    for attempt in machine.engine.workload.attempts.values():
        for gpu in attempt.allocation.gpus:
            booked[gpu.uuid] += gpu.share
            running[gpu.uuid] += gpu.share * (attempt.key in truly)
    for uuid, share in [*booked.items(), *running.items()]:
        assert share <= 1 + SHARE_TOLERANCE, f"{uuid} is booked {share} times"


def no_memory_promised_twice(machine: Machine) -> None:
    """What is declared of a GPU's memory is no more than it has."""
    promised: dict[str, int] = defaultdict(int)
    for attempt in machine.engine.workload.attempts.values():
        for gpu in attempt.allocation.gpus:
            promised[gpu.uuid] += gpu.memory_mib
    for uuid, memory_mib in promised.items():
        size = next(device.total_mib for device in machine.devices if device.uuid == uuid) or TOTAL_MIB
        assert memory_mib <= size, f"{memory_mib} MiB of {uuid} are promised, it has {size}"


def on_gpus_of_its_kind(machine: Machine) -> None:
    """No job has a GPU that is not of the kind which it asks for, nor GPUs that are farther apart than it allows."""
    devices = {device.uuid: device for device in machine.devices}
    links = Links(machine.devices)
    for attempt in machine.engine.workload.attempts.values():
        asked = machine.engine.workload.jobs[attempt.job_id].spec.request.hardware
        uuids = [gpu.uuid for gpu in attempt.allocation.gpus]
        wrong = [uuid for uuid in uuids if not fits(devices[uuid], asked)]
        assert not wrong, f"job {attempt.job_id} needs {asked} and has {wrong}"
        assert closest(uuids, links) >= asked.least_closeness, f"job {attempt.job_id} needs {asked} and has {uuids}"


def started_at_most_once(machine: Machine) -> None:
    """No attempt ran twice."""
    starts = Counter(machine.host.starts)
    assert not starts or max(starts.values()) == 1, f"started twice: {starts.most_common(1)}"


def nothing_runs_unknown(machine: Machine) -> None:
    """Whatever runs is known, and was durable before it ran."""
    unknown = set(machine.host.runners()) - set(machine.engine.workload.attempts)
    assert not unknown, f"these run and nobody knows: {unknown}"
    jobs = {key[0] for key in machine.host.starts}
    durable = {attempt.key for job_id in jobs for attempt in machine.store.attempts_of(job_id)}
    assert set(machine.host.starts) <= durable, "started before the intent was durable"
