"""Which Python runs the jobs."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping

import msgspec

from researchflow_tmux.adapters.places import absolute
from researchflow_tmux.domain.errors import ConfigError, Problem


class PythonChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The words that stand for `{python}`."""

    words: tuple[str, ...]


def choose_python(python_env: str, env: Mapping[str, str], root: str, activated: bool) -> PythonChoice:
    """The jobs' Python.

    Args:
        python_env: The setting: a path, a venv directory, several words, or empty.
        env: The captured environment; its PATH counts.
        root: The workspace, for relative paths.
        activated: True when conda is activated first: bare names are then looked up after that, by the shell.

    Raises:
        ConfigError: It is not there or cannot be run.
    """
    path = env.get("PATH") or os.defpath
    text = python_env.strip()
    if not text:
        return _default(path, activated)
    whole = absolute(root, text)
    if os.path.isdir(whole):
        return PythonChoice(words=(_in_venv(text, whole),))
    if os.path.isfile(whole):
        return PythonChoice(words=(_executable(text, whole),))
    try:
        words = shlex.split(text)
    except ValueError:
        words = [text]
    program = words[0]
    if "/" in program or program.startswith("~"):
        found = absolute(root, program)
        if os.path.isdir(found):
            return PythonChoice(words=(_in_venv(program, found), *words[1:]))
        return PythonChoice(words=(_executable(program, found), *words[1:]))
    if activated:
        return PythonChoice(words=tuple(words))
    on_path = shutil.which(program, path=path)
    if on_path is None:
        raise _error(f"python_env names `{program}`, which is neither in the workspace nor on the PATH")
    return PythonChoice(words=(on_path, *words[1:]))


def _default(path: str, activated: bool) -> PythonChoice:
    if activated:
        return PythonChoice(words=("python",))
    found = shutil.which("python", path=path) or shutil.which("python3", path=path)
    if found is None:
        raise _error("there is no `python` and no `python3` on the PATH")
    return PythonChoice(words=(os.path.abspath(found),))


def _in_venv(text: str, directory: str) -> str:
    python = os.path.join(directory, "bin", "python")
    if not os.access(python, os.X_OK):
        raise _error(f"python_env is the directory {text}, which has no bin/python: it is no virtual environment")
    return python


def _executable(text: str, path: str) -> str:
    if not os.path.isfile(path):
        raise _error(f"python_env is {text}, which does not exist" + (f" ({path})" if path != text else ""))
    if not os.access(path, os.X_OK):
        raise _error(f"python_env is {text}, which cannot be executed")
    return path


def _error(message: str) -> ConfigError:
    hint = "set python_env in scheduler_config.yml to a Python, a venv directory or a command such as `uv run python`"
    return ConfigError([Problem(message=message, hint=hint)])
