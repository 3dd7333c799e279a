"""What jobs have in common is kept once, and nobody can tell."""

from __future__ import annotations

import gc
import tracemalloc

import msgspec
from msgspec.structs import replace

from researchflow_tmux.domain.job import Job, JobSpec
from researchflow_tmux.domain.resources import ResourceRequest
from researchflow_tmux.engine.sharing import MOST, Sharing
from researchflow_tmux.engine.workload import Workload
from tests.unit.engine.samples import NOW, job

PLACE = "/home/somebody/projects/image-classification"


def line(number: int) -> Job:
    """A job as a sweep or a loop in Python makes it."""
    spec = JobSpec(
        source="command",
        key=f"{number:032x}",
        name=f"resnet50_lr0.001_seed{number}",
        argv=("python", f"{PLACE}/train.py", "--lr", "0.001", "--seed", str(number)),
        workdir=PLACE,
        env_digest="4f" * 32,
        env={"OMP_NUM_THREADS": "4"},
        output_dir=f"{PLACE}/out",
        request=ResourceRequest(gpus=1, time_limit_s=3600.0),
        group="sweep",
        labels={"model": "resnet50"},
    )
    return replace(job(number), spec=spec, slug=f"resnet50_lr0_001_seed{number}_abcdef")


def test_a_shared_job_is_equal_to_what_it_was() -> None:
    sharing = Sharing()
    for number in range(1, 20):
        one = line(number)
        copy = msgspec.json.decode(msgspec.json.encode(one), type=Job)
        sharing.share(copy)
        assert copy == one


def test_equal_parts_become_one_and_different_ones_stay() -> None:
    sharing = Sharing()
    one, two, other = line(1), line(2), replace(line(3), spec=replace(line(3).spec, env={"A": "1"}, labels={}))
    for each in (one, two, other):
        copy = msgspec.json.decode(msgspec.json.encode(each), type=Job)
        sharing.share(copy)
        sharing.share(each)
    assert one.spec.env is two.spec.env
    assert one.spec.workdir is other.spec.workdir
    assert other.spec.env == {"A": "1"}
    assert other.spec.labels == {}
    assert two.spec.argv[-1] == "2"


def test_a_word_is_no_field() -> None:
    """An empty mapping and a word that is called as its field are not taken for each other, whichever comes first."""
    bare = replace(line(1).spec, argv=("env", "labels", "digests"), env={}, labels={})
    known = Workload([replace(job(number), spec=replace(bare, key=str(number))) for number in (1, 2)])
    for found in known.jobs.values():
        assert (found.spec.env, found.spec.labels, found.spec.digests) == ({}, {}, {})
        assert found.spec.argv == ("env", "labels", "digests")


def test_what_is_remembered_has_a_bound() -> None:
    sharing = Sharing()
    for number in range(MOST // 2):
        sharing.share(replace(job(number), spec=replace(job(number).spec, argv=(f"a{number}", f"b{number}", "c"))))
    assert len(sharing._known) <= MOST


def test_a_queued_job_takes_less_than_two_kilobytes() -> None:
    rows = [msgspec.json.encode(line(number)) for number in range(1, 3001)]
    decode = msgspec.json.Decoder(Job).decode
    gc.collect()
    tracemalloc.start()
    try:
        known = Workload()
        for row in rows:
            known.learn([decode(row)], ())
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert known.queue_length == 3000
    assert taken / 3000 < 1700, "bytes a job; the promise is 2 KB of resident memory"
    assert known.find("command", f"{7:032x}") == line(7)
    assert known.jobs[7].queued_at == NOW
