"""GPUs drained, enabled and cleared by hand, and listed by a file: what is decided, answered and told."""

from __future__ import annotations

from typing import Any

import pytest

from researchflow_tmux.domain.attempt import Stopping
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import GpuChanged
from researchflow_tmux.domain.gpus import GpuCondition, decode_conditions, encode_conditions
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.domain.reasons import ReasonCode
from researchflow_tmux.engine.inbox import handle
from researchflow_tmux.engine.steering import list_gpus
from researchflow_tmux.engine.workload import Book, Workload
from tests.unit.engine.samples import NOW, active, asked, at, attempt, job, slots, workload

BOTH = {"g0": 0, "g1": 1}


def busy() -> Workload:
    """j1 runs on GPU 0, j2 on both, j3 waits."""
    one, on_one = active(1, slots(0, share=0.5))
    two, on_both = active(2, slots(0, 1, share=0.5))
    return workload(one, two, job(3), attempts=(on_one, on_both))


def ask(known: Workload, action: str, gpus: dict[str, int], **more: Any) -> dict[str, Any]:
    reply = handle(Book(known, NOW), asked("gpus", {"action": action, "gpus": gpus, **more}), 2.0)
    return {what: found for what, found in reply.items() if found}


def told(known: Workload) -> list[str]:
    return [f"{p.gpu.index} {p.text} ({p.by})" for p in known.take_changes()[0] if isinstance(p, GpuChanged)]


def test_a_drained_gpu_is_remembered_with_who_and_when_and_its_jobs_run_on() -> None:
    known = busy()
    assert ask(known, "drain", {"g1": 1}) == {"drained": [1], "running": ["j2"]}
    assert known.gpus == {"g1": GpuCondition(uuid="g1", index=1, drained_by="ann", drained_at=NOW)}
    reason = known.gpus["g1"].reason
    assert reason is not None
    assert (reason.code, str(reason)) == (ReasonCode.DRAINED, "drained: GPU 1 (by ann)")
    assert told(known) == ["1 drained by ann (ann)"]
    assert known.gpus_changed
    assert not any(isinstance(live.phase, Stopping) for live in known.attempts.values())


def test_asked_twice_nothing_changes_and_nothing_is_told() -> None:
    known = busy()
    ask(known, "drain", BOTH)
    known.changes_saved()
    assert ask(known, "drain", BOTH) == {"unchanged": [0, 1], "running": ["j1", "j2"]}
    assert told(known) == []
    assert ask(known, "enable", BOTH) == {"enabled": [0, 1]}
    assert known.gpus == {}
    assert ask(known, "enable", BOTH) == {"unchanged": [0, 1]}


def test_kill_cancels_the_jobs_there_and_drains_it() -> None:
    known = busy()
    assert ask(known, "kill", {"g1": 1}) == {"drained": [1], "stopping": ["j2"]}
    phase = known.attempts[2, 1].phase
    assert isinstance(phase, Stopping)
    assert (phase.by, phase.requeue) == ("user", False)
    assert not isinstance(known.attempts[1, 1].phase, Stopping), "j1 is on another GPU"
    assert known.jobs[3].state is JobState.QUEUED


def test_kill_may_queue_them_again_instead() -> None:
    known = busy()
    assert ask(known, "kill", BOTH, requeue=True) == {"drained": [0, 1], "stopping": ["j1", "j2"]}
    assert all(isinstance(a.phase, Stopping) and a.phase.requeue for a in known.attempts.values())


def test_kill_leaves_what_has_ended_but_could_not_be_reaped() -> None:
    ended = job(1, JobState.FAILED, attempts=1)
    left = attempt(1, allocation=slots(0), quarantined=(7,))
    known = workload(ended, attempts=(left,))
    assert ask(known, "kill", {"g0": 0}) == {"drained": [0]}


def test_a_file_leaves_gpus_out_and_has_the_last_word() -> None:
    known = busy()
    book = Book(known, NOW)
    list_gpus(book, BOTH, lambda _uuid, index: index == 0, "available_gpus.txt")
    assert told(known) == ["1 drained: available_gpus.txt leaves it out (available_gpus.txt)"]
    assert str(known.gpus["g1"].reason) == "drained: GPU 1 (available_gpus.txt leaves it out)"
    assert ask(known, "enable", {"g1": 1}) == {
        "unchanged": [1],
        "still_drained": {"1": "available_gpus.txt leaves it out"},
    }
    known.changes_saved()
    list_gpus(book, BOTH, lambda _uuid, index: index == 0, "available_gpus.txt")
    assert told(known) == [], "the same again"
    list_gpus(book, BOTH, None, "available_gpus.txt")
    assert told(known) == ["1 is no longer left out by available_gpus.txt (available_gpus.txt)"]
    assert known.gpus == {}


def test_what_the_file_says_and_what_people_say_are_kept_apart() -> None:
    known = busy()
    ask(known, "drain", {"g1": 1})
    list_gpus(Book(known, NOW), BOTH, lambda _uuid, _index: False, "f.txt")
    list_gpus(Book(known, NOW), BOTH, None, "f.txt")
    assert set(known.gpus) == {"g1"}, "still drained by hand"
    assert known.gpus["g1"].drained_by == "ann"


def test_enabling_a_lost_gpu_forgets_that_it_was_lost() -> None:
    known = busy()
    known.gpus["g0"] = GpuCondition(uuid="g0", index=0, lost_at=at(-60), lost_why="GPU is lost", losses=2)
    assert str(known.gpus["g0"].reason) == "lost: GPU 0 (GPU is lost)"
    assert ask(known, "enable", {"g0": 0}) == {"enabled": [0]}
    assert known.gpus == {}


def test_conditions_survive_being_stored() -> None:
    known = busy()
    ask(known, "drain", BOTH)
    known.gpus["g0"] = GpuCondition(uuid="g0", index=0, lost_at=NOW, lost_why="Xid 79", losses=1)
    assert {gpu.uuid: gpu for gpu in decode_conditions(encode_conditions(known.gpus))} == known.gpus
    assert decode_conditions(None) == []
    with pytest.raises(StoreError, match="cannot be understood"):
        decode_conditions('[{"uuid": 1}]')


def test_a_request_that_makes_no_sense_changes_nothing() -> None:
    known = busy()
    with pytest.raises(ValueError, match="explode"):  # the engine answers it with these words
        ask(known, "explode", BOTH)
    assert known.gpus == {}
