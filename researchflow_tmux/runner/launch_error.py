"""Turning what the kernel said about a job that did not start into: the object, the fact, the next step."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.runner.spec import Spec


def explain(report: str, spec: Spec) -> str:
    """Return one sentence for a report ("stage errno detail") of `child.start`."""
    stage, number, detail = [*report.split(" ", 2), "", ""][:3]
    code = int(number) if number.isdigit() else 0
    if stage == "chdir":
        return _work_dir(spec.cwd, code)
    if stage == "exec":
        return _program(detail or spec.argv[0], code, spec)
    return f"the job could not be set up: {detail or os.strerror(code)}"


def _work_dir(path: str, code: int) -> str:
    if code == errno.ENOENT:
        return f"work_dir {path} does not exist: create it or correct work_dir"
    if code == errno.ENOTDIR:
        return f"work_dir {path} is not a directory: correct work_dir"
    return f"work_dir {path} cannot be entered: {os.strerror(code)}"


def _program(path: str, code: int, spec: Spec) -> str:
    resolved = os.path.join(spec.cwd, path)
    if code in (errno.ENOENT, errno.ENOTDIR):
        return _missing(path, resolved, spec)
    if code == errno.EACCES:
        if os.path.isdir(resolved):
            return f"{path} is a directory, not a program"
        if os.path.isfile(resolved) and not os.access(resolved, os.X_OK):
            return f"{path} is not executable: chmod +x {resolved}"
        return f"{path} cannot be run: permission denied (its file system may be mounted noexec)"
    if code == errno.ENOEXEC:
        return f"{path} has no #! line: begin it with one like #!/bin/bash, or run it as: bash {path}"
    if code == errno.E2BIG:
        return f"{path}: arguments and environment are too long for the kernel: pass a file instead"
    return f"{path} cannot be run: {os.strerror(code)}"


def _missing(path: str, resolved: str, spec: Spec) -> str:
    if "/" not in path:
        return f"{path}: no such program (PATH={spec.env.get('PATH', os.defpath)}): give its full path or correct PATH"
    try:
        with open(resolved, "rb") as file:
            first = file.readline(256)
    except OSError:
        return f"{path}: no such file (looked at {resolved}): correct the path"
    if first.startswith(b"#!"):
        line = first.decode(errors="replace").strip()
        return f"{path} has a bad interpreter: {line} does not exist: correct its first line"
    return f"{path} needs a program loader that is not on this machine (built for another system?)"
