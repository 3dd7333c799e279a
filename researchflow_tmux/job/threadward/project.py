"""The three files of a threadward project, loaded from where they are."""

from __future__ import annotations

import ast
import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

FOLDER = "threadward"
TASKS, VARIABLES, CONSTRAINTS = "task_specification", "variable_iteration", "resource_constraints"
QUEUE = "task_queue"


class Project:
    """A directory with a `threadward/` folder in it."""

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        self.folder = os.path.join(self.directory, FOLDER)

    def path(self, name: str) -> str:
        """Where one of the three files is."""
        return os.path.join(self.folder, name + ".py")

    def enter(self) -> None:
        """Make the project's own modules importable, from its directory and beside its three files."""
        sys.path[:0] = [path for path in (self.directory, self.folder) if path not in sys.path]

    def load(self, name: str) -> ModuleType:
        """Execute one of the three files; raises whatever it raises."""
        spec = importlib.util.spec_from_file_location(name, self.path(name))
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.path(name)} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # what is defined there can be pickled
        spec.loader.exec_module(module)
        return module


def outline(path: str) -> tuple[dict[str, Any], list[str]]:
    """The constants of a file and the functions in it that do something, without executing it.

    Raises OSError and SyntaxError.
    """
    with open(path, "rb") as file:
        tree = ast.parse(file.read(), path)
    constants: dict[str, Any] = {}
    functions = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not _does_nothing(node):
            functions.append(node.name)
        for name, value in _assigned(node):
            try:
                constants[name] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue  # computed: only the file itself can say
    return constants, functions


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        return [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [(node.target.id, node.value)]
    return []


def _does_nothing(function: ast.FunctionDef) -> bool:
    """Nothing but a docstring, `pass`, `...` and a bare `return`."""
    return all(
        isinstance(line, ast.Pass)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        or (isinstance(line, ast.Return) and line.value is None)
        for line in function.body
    )
