"""The pieces of the shell scripts that jobs run in: environment modules, `before` lines, conda."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping

from researchflow_tmux.domain.errors import ConfigError, Problem

_SHELL_WORDS = """
    . : ! [[ { alias bg break builtin case cd command conda continue declare do elif else esac eval exec exit export fg
    fi for function getopts hash if jobs local mamba micromamba ml module popd pushd read readonly return select set
    shift shopt source then time times trap type typeset ulimit umask unalias unset until wait while
"""
RUNS_IN_SHELL = frozenset(_SHELL_WORDS.split())
"""First words that mean something to a shell only (or may be functions): no program to exec."""

QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
"""What quotes enclose, with them; or a sign behind a backslash, which encloses nothing."""

_PLAIN = re.compile(r"""[^|&;<>()$`\\*?\[\]#~!{}\n]*""")
_MODULE = re.compile(r"(?:^|[;&|(\n])\s*(?:module|ml)(?:\s|$)")
_MODULE_FILES = (
    "/etc/profile.d/modules.sh",
    "/etc/profile.d/lmod.sh",
    "/etc/profile.d/z00_lmod.sh",
    "/usr/share/lmod/lmod/init/profile",
    "/usr/share/modules/init/sh",
)
_CONDA_BASES = ("~/miniconda3", "~/anaconda3", "~/miniforge3", "~/mambaforge", "/opt/conda")
_CONDA_SH = "etc/profile.d/conda.sh"


def is_plain(line: str, one_word: bool = False) -> bool:
    """True when a shell would do nothing with the line but split it into words (with `one_word`: not even that)."""
    if one_word and re.search(r"""[\s'"]""", line):
        return False
    return _PLAIN.fullmatch(line) is not None


def has_module_call(lines: Iterable[str]) -> bool:
    """True when a line calls `module` or `ml` of Environment Modules or Lmod."""
    return any(_MODULE.search(line) for line in lines)


def module_lines() -> list[str]:
    """Make `module` work: in a shell that is not a login shell nobody has defined it."""
    files = " ".join(_MODULE_FILES)
    return [
        "if ! command -v module >/dev/null 2>&1; then",
        f'  for rf_file in {files} "${{MODULESHOME:-/nonexistent}}/init/sh"; do',
        '    if [ -r "$rf_file" ]; then . "$rf_file"; break; fi',
        "  done",
        "fi",
    ]


def step_lines(before: Iterable[str]) -> list[str]:
    """The `before` lines; one that fails ends the job instead of letting it train in the wrong surroundings."""
    lines: list[str] = []
    for line in before:
        if not lines:
            lines.append(
                'rf_check() { rf_code=$?; [ "$rf_code" -eq 0 ] || '
                '{ echo "rfsched: this line of before ended with $rf_code: $1" >&2; exit "$rf_code"; }; }'
            )
        # A line may open what a later one closes (`if …`, `fi`): no braces around it.
        lines += [line, f"rf_check {shlex.quote(line)}"]
    return lines


def conda_lines(name: str, env: Mapping[str, str], has_python: bool) -> tuple[list[str], list[str]]:
    """(lines that activate the environment `name`, warnings).

    Raises:
        ConfigError: There is no conda, and the job's Python would be the wrong one without it.
    """
    failed = f'{{ rf_code=$?; echo "rfsched: conda could not activate "{shlex.quote(name)} >&2; exit "$rf_code"; }}'
    base = find_conda(env)
    if base:
        script = shlex.quote(os.path.join(base, _CONDA_SH))
        return [f". {script} && conda activate {shlex.quote(name)} || {failed}"], []
    micromamba = _micromamba(env)
    if micromamba:
        hook = f'eval "$({shlex.quote(micromamba)} shell hook -s posix)"'
        return [f"{hook} && micromamba activate {shlex.quote(name)} || {failed}"], []
    if name == "base" or has_python:
        return [], [f"conda_env is {name!r}, but no conda was found: going on without it"]
    message = f"conda_env is {name!r}, but no conda was found"
    hint = "looked at $CONDA_EXE, the PATH and " + ", ".join(_CONDA_BASES) + "; set CONDA_EXE, or empty conda_env"
    raise ConfigError([Problem(message=message, hint=hint)])


def find_conda(env: Mapping[str, str]) -> str | None:
    """The directory of a conda installation, as the captured environment knows it."""
    path = env.get("PATH") or os.defpath
    programs = [env.get("CONDA_EXE"), shutil.which("conda", path=path), shutil.which("mamba", path=path)]
    candidates = [os.path.dirname(os.path.dirname(os.path.realpath(program))) for program in programs if program]
    # The unresolved place too: `conda` may be a link out of an installation that is whole.
    candidates += [os.path.dirname(os.path.dirname(program)) for program in programs if program]
    home = env.get("HOME") or os.path.expanduser("~")
    candidates += [base.replace("~", home, 1) for base in _CONDA_BASES]
    return next((base for base in candidates if os.path.isfile(os.path.join(base, _CONDA_SH))), None)


def _micromamba(env: Mapping[str, str]) -> str | None:
    named = env.get("MAMBA_EXE")
    if named and os.path.basename(named) == "micromamba" and os.access(named, os.X_OK):
        return named
    return shutil.which("micromamba", path=env.get("PATH") or os.defpath)
