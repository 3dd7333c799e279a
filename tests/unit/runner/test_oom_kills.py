"""What the kernel says about kills for want of memory, in the forms of both generations of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from researchflow_tmux.runner.oom import COUNTER, KERNEL_LOG, LIMIT, LOG, OutOfMemory, recognise
from researchflow_tmux.runner.oom_kills import OomKills
from researchflow_tmux.runner.spec import OomRule

RULE = OomRule({})
KILLED, FAILED = 9, 256
"""Wait statuses: SIGKILL, and exit code 1."""


def judge(
    status: int | None, tail: bytes, kills: OomKills | None, pids: set[int], limit_mib: int | None = None
) -> OutOfMemory | None:
    return recognise(status, tail, RULE, kills, pids, limit_mib)


class Kernel:
    """A /proc, a /sys/fs/cgroup and a kernel log of our own."""

    def __init__(self, root: Path, cgroup: str, counter: str, text: str = "oom_kill 2\n") -> None:
        self.proc, self.groups, self.log = root / "proc", root / "groups", root / "kmsg"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text(cgroup)
        (self.proc / "uptime").write_text("100.00 50.00\n")
        self.counter = self.groups / counter
        self.counter.parent.mkdir(parents=True)
        self.counter.write_text(text)
        self.kills = OomKills(str(self.proc), str(self.groups), str(self.log))


@pytest.mark.parametrize(
    ("cgroup", "counter"),
    [
        ("0::/user.slice/a.scope\n", "user.slice/a.scope/memory.events"),
        ("9:name=systemd:/x\n4:cpu,memory:/jobs/7\n0::/y\n", "memory/jobs/7/memory.oom_control"),
    ],
)
def test_kills_are_counted_from_the_beginning_on(tmp_path: Path, cgroup: str, counter: str) -> None:
    kernel = Kernel(tmp_path, cgroup, counter, "oom_kill_disable 0\noom_kill 2\n")
    assert kernel.kills.counted() == 0
    kernel.counter.write_text("oom_kill_disable 0\noom_kill 3\n")
    assert kernel.kills.counted() == 1
    kernel.counter.unlink()
    assert kernel.kills.counted() == 0, "what is gone counts nothing"


@pytest.mark.parametrize("cgroup", ["", "nonsense\n", "0::/elsewhere\n"])
def test_nothing_counts_where_there_is_no_counter(tmp_path: Path, cgroup: str) -> None:
    assert Kernel(tmp_path, cgroup, "x/memory.events").kills.counted() is None


def test_the_kernels_log_names_the_process(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "", "x/y")
    text = "Memory cgroup out of memory: Killed process 77 (python) total-vm:1kB"
    kernel.log.write_bytes(f"3,9,150000000,-;{text}\n".encode())  # a file has it in one read, as the device has records
    assert kernel.kills.told({77, 3}) == text
    assert kernel.kills.told({7}) == ""
    kernel.log.write_bytes(f"3,9,50000000,-;{text}\n".encode())
    assert kernel.kills.told({77}) == "", "from before its time"


def test_a_kill_without_evidence_is_no_lack_of_memory(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "0::/\n", "memory.events")
    assert judge(KILLED, b"step 3\n", kernel.kills, {1}) is None
    assert judge(KILLED, b"", None, {1}) is None
    assert judge(None, b"", kernel.kills, {1}) is None


@pytest.mark.parametrize(
    ("status", "tail", "found"),
    [
        (KILLED, b"step 3\n", True),
        (137 << 8, b"step 3\n", True),
        (FAILED, b"RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed. \n", True),
        (FAILED, b"ValueError\n", False),  # somebody else's process in the same group
        (11, b"", False),
        (0, b"", False),
    ],
)
def test_the_counter_is_believed_for_a_job_that_died_so(tmp_path: Path, status: int, tail: bytes, found: bool) -> None:
    kernel = Kernel(tmp_path, "0::/\n", "memory.events")
    kernel.counter.write_text("oom_kill 3\n")
    memory = judge(status, tail, kernel.kills, {1})
    assert (memory is not None) is found
    if memory is not None:
        assert (memory.where, memory.evidence) == ("ram", COUNTER)


def test_the_kernels_own_line_is_the_best_word(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "0::/\n", "memory.events")
    kernel.log.write_bytes(b"3,9,150000000,-;Out of memory: Killed process 77 (python)\n")
    memory = judge(KILLED, b"MemoryError\n", kernel.kills, {77})
    assert memory is not None
    assert (memory.evidence, memory.line) == (KERNEL_LOG, "Out of memory: Killed process 77 (python)")
    other = judge(FAILED, b"MemoryError\n", kernel.kills, {77})
    assert other is not None
    assert (other.evidence, other.line) == (LOG, "MemoryError")


def test_at_a_limit_that_the_kernel_holds_it_was_its_own(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "0::/\n", "memory.events")
    assert judge(KILLED, b"", kernel.kills, {1}, 2048) is None, "killed by somebody else"
    kernel.counter.write_text("oom_kill 3\n")
    memory = judge(KILLED, b"MemoryError\n", kernel.kills, {1}, 2048)
    assert memory is not None
    assert (memory.evidence, memory.line) == (LIMIT, "the kernel stopped it at its memory limit of 2 GiB")


def test_the_counter_of_another_group_is_read_too(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "", "slice/memory.events")
    kills = OomKills(str(kernel.proc), str(kernel.groups), also=[str(kernel.groups / "slice")])
    kernel.counter.write_text("oom_kill 4\n")
    assert kills.counted() == 2
