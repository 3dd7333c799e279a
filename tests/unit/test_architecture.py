"""The shape of the code: small modules, described packages, a core without I/O, tests that wait for facts.

The import rules themselves are contracts of `lint-imports` (.importlinter).
"""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "researchflow_tmux"
TESTS = ROOT / "tests"

LARGEST_MODULE, MEDIAN_MODULE = 400, 120
PURE = [PACKAGE / "domain", PACKAGE / "policies"]
MODULES_OF_IO = {"io", "logging", "pathlib"}
NAMES_OF_IO = {"open", "print", "input", "exec", "eval", "breakpoint"}
CALLS_OF_OS = {"path", "PathLike", "fspath"}
"""What the core may use of `os`: names of places, never the places."""
MOCK_IMPORTS = ("import unittest.mock", "from unittest.mock", "from unittest import mock")
MAY_SLEEP = {TESTS / "support.py"}
NO_TESTS = ("data", "benchmarks")
"""A benchmark measures time: letting a minute pass is its business."""


def modules(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def line_counts() -> dict[str, int]:
    return {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules(PACKAGE)}


def test_no_module_is_too_long_to_read() -> None:
    offenders = {name: lines for name, lines in line_counts().items() if lines > LARGEST_MODULE}
    assert not offenders, f"over {LARGEST_MODULE} lines, split them: {offenders}"


def test_the_usual_module_is_small() -> None:
    counts = line_counts()
    median = statistics.median(counts.values())
    largest = sorted(counts.items(), key=lambda item: -item[1])[:10]
    assert median <= MEDIAN_MODULE, f"median {median} lines, more than {MEDIAN_MODULE}; the largest: {largest}"


def test_each_package_says_what_it_is_for() -> None:
    silent = []
    for folder in sorted({path.parent for path in modules(PACKAGE)}):
        init = folder / "__init__.py"
        if not init.exists() or not ast.get_docstring(ast.parse(init.read_text("utf-8"))):
            silent.append(str(folder.relative_to(ROOT)))
    assert not silent, f"no __init__.py with a docstring: {silent}"


def io_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in NAMES_OF_IO:
                yield f"{place(path, node)} {name}()"
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name not in CALLS_OF_OS:
                yield f"{place(path, node)} os.{name}"
            case ast.ImportFrom(module=str(name)) if name in MODULES_OF_IO:
                yield f"{place(path, node)} {name}"
            case ast.Import(names=aliases):
                yield from (f"{place(path, node)} {alias.name}" for alias in aliases if alias.name in MODULES_OF_IO)


def test_the_core_does_no_io() -> None:
    assert not [found for path in modules(*PURE) for found in io_in(path)]


def test_no_mock_without_a_reason() -> None:
    """Named stand-ins that are tested themselves keep a promise; a mock keeps none. Exceptions: `# mock: why`."""
    offenders = []
    for path in modules(TESTS):
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            imports = line.lstrip().startswith(
                ("import unittest.mock", "from unittest.mock", "from unittest import mock")
            )
            if imports and "# mock: " not in line:
                offenders.append(f"{path.relative_to(ROOT)}:{number}")
    assert not offenders


def sleeps_in(source: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            function = node.func
            if getattr(function, "attr", getattr(function, "id", "")) == "sleep":
                yield place(path, node)


def test_no_test_waits_for_a_time() -> None:
    """`tests.support.eventually` waits for the fact: faster when all is well, patient when the machine is busy."""
    tests = [path for path in modules(TESTS) if path not in MAY_SLEEP and not {*NO_TESTS} & {*path.parts}]
    offenders = [found for path in tests for found in sleeps_in(path.read_text("utf-8"), path)]
    assert not offenders, f"a sleep in a test: {offenders}"


@pytest.mark.parametrize("source", ["import time\ntime.sleep(1)", "from time import sleep\nsleep(1)"])
def test_the_search_for_sleeps_finds_one(source: str) -> None:
    assert list(sleeps_in(source, TESTS / "x.py"))


@pytest.mark.parametrize("source", ["open('x')", "import os\nos.remove('x')", "from pathlib import Path", "import io"])
def test_the_search_for_io_finds_it(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "x.py").write_text(source)
    assert list(io_in(tmp_path / "x.py"))
