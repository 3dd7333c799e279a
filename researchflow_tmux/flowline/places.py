"""Where a function is, in words by which another process finds it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from researchflow_tmux.domain.errors import UsageError


def place_of(function: Callable[..., Any]) -> str:
    """`path/to/file.py:name`, or `package.module:name` for one that lies in a package.

    Raises UsageError for a function that nobody else could find: a lambda, one inside of another, one typed in.
    """
    name = getattr(function, "__qualname__", "")
    code = getattr(function, "__code__", None)
    if not name.isidentifier() or code is None:
        hint = "jobs and the scheduler are processes of their own and look it up by its name"
        raise UsageError(f"{name or function!r} must be a function at the top level of a file", hint=hint)
    module = getattr(function, "__module__", None) or "__main__"
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)  # python -m package.module
        module = spec.name if spec is not None else module
    path = os.path.abspath(code.co_filename)
    if "." in module:
        return f"{module}:{name}"
    if not (path.endswith(".py") and os.path.isfile(path)):
        raise UsageError(f"{name} is in {code.co_filename}, which is no Python file", hint="write it into a .py file")
    return f"{path}:{name}"
