"""Calls `module:function` to ask whether a job really succeeded: `python verify_call.py CALL.json`.

Run by path in the job's own Python, which may be old and know nothing of this package: standard library only. CALL.json
has `function`, `subject` (the path of the job's config, or its variables) and `output_dir`; RFSCHED_LOG is the log. The
function is called with these three, as `verify_task_success(variables, task_folder, log_file)` is. Exit code 0 = it
returned something true.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _from_file(path):
    # type: (str) -> Any
    """Load a module by its file, which may import what is beside it."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
    if spec is None or spec.loader is None:
        raise ImportError("%s cannot be loaded" % path)  # noqa: UP031 - for any Python 3
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(path: str) -> int:
    """Call the function; say on stderr what it answered if that was no yes."""
    with open(path, encoding="utf-8") as file:
        call = json.load(file)
    # Not the directory of this file, whose modules would pass for others of their names.
    sys.path[:] = [os.getcwd()] + [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    module, _, name = call["function"].partition(":")
    found = _from_file(module) if module.endswith(".py") else importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    function: Any = found
    answer = function(call["subject"], call["output_dir"], os.environ.get("RFSCHED_LOG", ""))
    if answer:
        return 0
    sys.stderr.write("%s returned %r\n" % (call["function"], answer))  # noqa: UP031 - for any Python 3
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
