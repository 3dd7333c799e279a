"""The user's comparison of GPUs: asked in a child, and never a reason to stand still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.adapters import procs
from researchflow_tmux.adapters.user_order import PAUSE_S, UserOrder
from researchflow_tmux.domain.errors import RankError
from researchflow_tmux.domain.resources import GpuInfo
from tests.support import eventually

Make = Callable[..., UserOrder]

MOST_FREE = """
def best(info1, info2):
    print("thinking", info1.name)
    if info1.free_memory > info2.free_memory:
        return -1
    return 1 if info1.free_memory < info2.free_memory else 0
"""


def gpu(index: int, free: int, **more: Any) -> GpuInfo:
    fields = {
        "total_memory": 24_000, "utilization": 0.0, "user_process_num": 0, "all_process_num": 0, "time": 0.0,
        "temperature": 30, "power": 20.0, "max_power": 300.0, **more,
    }  # fmt: skip
    return GpuInfo(uuid=f"g{index}", index=index, name="GPU", free_memory=free, **fields)


GPUS = [gpu(0, 100), gpu(1, 300), gpu(2, 200)]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[UserOrder] = []

    def order(code: str, name: str = "mine:best", **options: Any) -> UserOrder:
        (tmp_path / "mine.py").write_text(code)
        made.append(UserOrder(name, str(tmp_path), **{"deadline_s": 5.0, **options}))
        return made[-1]

    yield order
    for one in made:
        one.close()


def test_it_sorts_by_the_fields_that_such_functions_use(make: Make) -> None:
    order = make(MOST_FREE)
    assert order.rank(GPUS) == ["g1", "g2", "g0"]
    assert order.rank([gpu(0, 5), gpu(7, 5)]) == ["g0", "g7"], "equal ones stay as they are"
    every = make(
        "def best(a, b):\n"
        "    key = lambda g: (g.all_process_num, g.user_process_num, g.utilization, g.temperature,\n"
        "                     g.power / g.max_power, g.total_memory, g.time, g.name, -g.free_memory)\n"
        "    return (key(a) > key(b)) - (key(a) < key(b))\n"
    )
    assert every.rank([*GPUS, gpu(3, 1, all_process_num=0, temperature=29)]) == ["g3", "g1", "g2", "g0"]


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        ("def best(a, b):\n    return a.fre - b.free_memory\n", "mine:best", r"mine\.py:2: AttributeError: .*'fre'"),
        ("def best(a, b):\n    return None\n", "mine:best", "it returned None: return -1"),
        ("def best(a, b):\n    return float('nan')\n", "mine:best", "it returned nan"),
        ("def best(a, b):\n    return a.free_memory > b.free_memory\n", "mine:best", "the other way round"),
        ("def best(a, b):\n    raise SystemExit(3)\n", "mine:best", "SystemExit: 3"),
        ("def best(a):\n    return 0\n", "mine:best", "TypeError"),
        ("def worst(a, b):\n    return 0\n", "mine:best", "mine has no function best"),
        ("import no_such_thing\n", "mine:best", r"mine\.py:1: ModuleNotFoundError"),
        ("def best(a, b) return\n", "mine:best", "SyntaxError"),
        ("", "theirs:best", "ModuleNotFoundError: No module named 'theirs'"),
        ("import os\ndef best(a, b):\n    os._exit(9)\n", "mine:best", r"its process ended \(exit code 9\)"),
    ],
)
def test_what_it_does_wrong_is_named(make: Make, code: str, name: str, words: str) -> None:
    order = make(code, name)
    for _ in range(2):
        with pytest.raises(RankError, match=rf"gpu_order {name}: .*{words}"):
            order.rank(GPUS)


def test_a_function_that_never_returns_costs_one_deadline_and_is_asked_again_later(make: Make) -> None:
    later = [0.0]
    code = "def best(a, b):\n    while a.free_memory == 100:\n        pass\n    return 0\n"
    order = make(code, deadline_s=0.3, monotonic=lambda: time.monotonic() + later[0])
    harmless = [gpu(0, 1), gpu(1, 2)]
    assert eventually(lambda: order.rank(harmless)) == ["g0", "g1"]
    child = order._child
    assert child is not None
    with pytest.raises(RankError, match=r"gave no answer within 0\.3 s and is asked again later"):
        order.rank(GPUS)
    assert child.poll() is not None, "it is killed"
    with pytest.raises(RankError, match="asked again later"):
        order.rank(harmless)
    assert order._child is None, "and costs nothing until then"
    later[0] = PAUSE_S
    assert eventually(lambda: order.rank(harmless)) == ["g0", "g1"]


def test_a_module_that_takes_long_to_load_is_not_waited_for(make: Make, tmp_path: Path) -> None:
    order = make(
        f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}):\n    time.sleep(0.01)\n{MOST_FREE}",
        deadline_s=0.01,
    )
    assert [order.rank(GPUS) for _ in range(3)] == [[], [], []]
    (tmp_path / "go").touch()
    order._deadline_s = 5.0
    assert eventually(lambda: order.rank(GPUS)) == ["g1", "g2", "g0"]


def test_an_edited_module_is_loaded_anew(make: Make, tmp_path: Path) -> None:
    order = make(MOST_FREE)
    assert order.rank(GPUS) == ["g1", "g2", "g0"]
    (tmp_path / "mine.py").write_text(MOST_FREE.replace("-1", "11").replace("return 1 ", "return -1 "))
    assert eventually(lambda: order.rank(GPUS)) == ["g0", "g2", "g1"]
    (tmp_path / "mine.py").write_text("oops(")
    with pytest.raises(RankError, match="SyntaxError"):
        order.rank(GPUS)
    (tmp_path / "mine.py").write_text(MOST_FREE)
    assert eventually(lambda: order.rank(GPUS)) == ["g1", "g2", "g0"], "and one that could not be loaded, too"


def test_nothing_is_left_behind(make: Make) -> None:
    order = make("def best(a, b):\n    return 0\n")
    order.rank(GPUS)
    child = order._child
    assert child is not None
    order.close()
    assert child.poll() is not None
    assert procs.parent(child.pid) == 0
