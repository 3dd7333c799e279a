"""What stored results cost on this disk: `python tests/benchmarks/bench_results.py [DIRECTORY]`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from researchflow_tmux.results import MetadataStorage

MANY = 50_000
SEEDS = 2500


def metadata(number: int) -> dict[str, Any]:
    """Twenty models with 2 500 seeds each, at 50 000."""
    return {
        "model": f"model{number // SEEDS}",
        "dataset": "imagenet",
        "seed": number % SEEDS,
        "training": {"lr": 1e-4 * (number % 7 + 1), "batch_size": 32 << number % 4},
    }


def entry(number: int) -> dict[str, Any]:
    uuid = f"{number:08x}-0000-4000-8000-000000000000"
    info = {"accuracy": number % 1009 / 1009, "finished": True}
    return {
        "uuid": uuid,
        "metadata": metadata(number),
        "extra_info": info,
        "attachments": {"weights": f"m/{number}.pt"},
    }


def ms(work: Callable[[], object], times: int = 1) -> tuple[float, float]:
    """Milliseconds: the median run and the slowest."""
    spans = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spans.append((time.perf_counter() - start) * 1000)
    return sorted(spans)[times // 2], max(spans)


def say(what: str, figures: tuple[float, float], goal: str = "") -> None:
    print(f"{what:<58}{figures[0]:9.2f}{figures[1]:10.2f}   {goal}")


def disk(directory: str) -> None:
    """What the disk itself takes for a line: the floor of a durable create."""
    fd = os.open(os.path.join(directory, "probe"), os.O_RDWR | os.O_CREAT)

    def append() -> None:
        os.write(fd, b"x" * 200)
        os.fdatasync(fd)

    say("the disk: append 200 bytes, fdatasync", ms(append, 300))
    os.close(fd)


def small(directory: str) -> None:
    for durable, goal in ((True, "<= 1000"), (False, "")):
        numbers = iter(range(1000))
        with MetadataStorage(os.path.join(directory, f"small{durable}"), durable=durable) as storage:
            figures = ms(lambda: [storage.create_entry(metadata=metadata(number)) for number in numbers])  # noqa: B023
            say(f"1 000 creates{'' if durable else ', durable=False'}", figures, goal)


def large(directory: str) -> None:
    root = os.path.join(directory, "large")
    os.mkdir(root)
    entries = {entry(number)["uuid"]: entry(number) for number in range(MANY)}
    Path(root, "index.json").write_text(json.dumps(entries, indent=2))
    del entries
    say("open 50 000 (index written by another program), read one", ms(lambda: open_one(root)), "<= 500")
    MetadataStorage(root).update_entry(entry(0)["uuid"], extra_info={"x": 1})
    say("open 50 000, read one", ms(lambda: open_one(root), 5), "<= 500")
    storage = MetadataStorage(root)
    storage.read_entries(uuid_query="nobody")
    numbers = iter(range(MANY, 2 * MANY))
    say(
        "the first create with metadata after opening",
        ms(lambda: storage.create_entry(metadata=metadata(next(numbers)))),
    )
    say("create at 50 000", ms(lambda: storage.create_entry(metadata=metadata(next(numbers))), 300), "<= 3")
    queries(storage)
    other = MetadataStorage(root)
    other.read_entries("nobody")
    storage.create_entry()
    say("see another process's create", ms(lambda: other.read_entries("nobody")))
    say("update one", ms(lambda: storage.update_entry(entry(9)["uuid"], extra_info={"x": 2}), 100))
    say("delete one", ms(lambda: storage.delete_entries(storage.find(limit=1)[0]["uuid"]), 3))
    say("flush", ms(storage.flush))
    print(f"index.json: {storage.index_file.stat().st_size / 2**20:.1f} MiB")


def open_one(root: str) -> None:
    assert MetadataStorage(root).get_entry(entry(7)["uuid"])


def queries(storage: MetadataStorage) -> None:
    def read(query: dict[str, Any], *, exact: bool = False) -> Callable[[], object]:
        return lambda: storage.read_entries(metadata_query=query, exact_match=exact)

    nested = {"training": {"lr": 3e-4, "batch_size": 64}, "seed": 9}
    for what, query in (("seed: 20 found", {"seed": 5}), ("model and seed: 1 found", {"model": "model3", "seed": 5})):
        say(f"partial query, {what}, first time", ms(read(query)))
        say(f"partial query, {what}", ms(read(query), 100), "<= 5")
    say("partial query, nested, first time", ms(read(nested)))
    say("partial query, nested", ms(read(nested), 100), "<= 5")
    say("partial query, a model: 2 500 found", ms(read({"model": "model3"}), 10))
    say("exact query", ms(read(metadata(777), exact=True), 100))
    say(
        "find accuracy > 0.99, best 5",
        ms(lambda: storage.find({"accuracy": {">": 0.99}}, sort="-accuracy", limit=5), 5),
    )
    say("read all", ms(storage.read_entries, 3))


def processes(directory: str) -> None:
    root = os.path.join(directory, "shared")
    command = [sys.executable, "-m", "tests.unit.results.processes", "create", root]

    def run() -> None:
        running = [
            subprocess.Popen([*command, str(name), "500", "durable"], cwd=Path(__file__).parents[2])
            for name in range(8)
        ]
        assert [process.wait() for process in running] == [0] * 8

    say("8 processes x 500 creates", ms(run))
    assert len(MetadataStorage(root).read_entries()[1]) == 4000


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as place:
        print(f"{'ms':<58}{'median':>9}{'slowest':>10}   goal")
        disk(place)
        small(place)
        large(place)
        processes(place)
