"""How a config becomes a command; the shell scripts are run for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_tmux.adapters.commands import Command, build_command, build_shell_job
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.workspace import JobSection, Settings, WorkspacePaths

SHELLS = [shell for shell in ("/bin/bash", "/bin/sh") if os.path.exists(shell)]


def program(path: Path, text: str = '#!/bin/sh\nprintf \'<%s>\' "$0" "$@"\n') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Bench:
    def __init__(self, root: Path) -> None:
        self.root = root / "my ws"
        self.root.mkdir()
        self.python = program(root / "bin" / "python")
        self.env = {"PATH": f"{self.python.parent}:/usr/bin:/bin", "HOME": str(root / "home")}
        self.paths = WorkspacePaths(root=str(self.root), config=str(self.root / "scheduler_config.yml"))
        self.config = str(self.root / "configs" / "it's ü.yml")

    def build(self, section: JobSection | None = None, **settings: object) -> Command:
        made = Settings(task_name="t", **settings)  # type: ignore[arg-type]
        return build_command(made, section or JobSection(), self.config, self.env, self.paths)

    def add(self, *words: str, **settings: object) -> Command:
        return build_shell_job(Settings(task_name="t", **settings), words, self.env, self.paths)  # type: ignore[arg-type]

    def run(self, command: Command, shell: str = "/bin/sh") -> subprocess.CompletedProcess[str]:
        argv = command.argv or (shell, "-c", command.shell or "")
        return subprocess.run(argv, env=self.env, capture_output=True, text=True, cwd=self.root, check=False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_plain_case_is_argv(bench: Bench) -> None:
    command = bench.build()
    assert command.argv == (str(bench.python), str(bench.root / "train.py"), "--config_path", bench.config)
    assert command.shell is None


def test_placeholders_fill_words_and_parts_of_words(bench: Bench) -> None:
    command = bench.build(command="{python} -m mod --c={config} --n '{name}' out={output_dir}")
    name = "it's ü"
    assert command.argv[1:] == ("-m", "mod", f"--c={bench.config}", "--n", name, f"out={bench.root / 'out'}")


def test_the_section_replaces_the_command(bench: Bench) -> None:
    assert bench.build(JobSection(command="/bin/echo {name}")).argv == ("/bin/echo", "it's ü")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "command",
    [
        "{python} {config} | cat",
        "A=1 {python} {config}",
        '{python} "{config}" > /dev/stdout',
        "cd / && {python} {config}",
    ],
)
def test_shell_lines_get_quoted_values(bench: Bench, command: str, shell: str) -> None:
    built = bench.build(command=command)
    assert built.argv == ()
    done = bench.run(built, shell)
    assert done.stdout == f"<{bench.python}><{bench.config}>"


def test_shell_variables_and_foreign_braces_stay(bench: Bench) -> None:
    built = bench.build(command="name=x; echo ${name} {a} \\{config}")
    assert bench.run(built).stdout == "x {a} {config}\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_before_runs_first_in_the_same_shell(bench: Bench, shell: str) -> None:
    built = bench.build(
        before=["export WHO=me", "if true; then", "  export WHERE=here # c", "fi"], command="{python} $WHO-$WHERE"
    )
    assert bench.run(built, shell).stdout == f"<{bench.python}><me-here>"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_before_line_that_fails_ends_the_job(bench: Bench, shell: str) -> None:
    done = bench.run(bench.build(before=["true", "(exit 7)"]), shell)
    assert done.returncode == 7
    assert done.stdout == ""
    assert "(exit 7)" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_module_is_defined_when_it_is_used(bench: Bench, tmp_path: Path, shell: str) -> None:
    init = program(tmp_path / "modules" / "init" / "sh", 'module() { export LOADED="$*"; }\n')
    bench.env["MODULESHOME"] = str(init.parent.parent)
    built = bench.build(before=["module load cuda/12"], command='{python} "$LOADED"')
    assert bench.run(built, shell).stdout == f"<{bench.python}><load cuda/12>"


def test_a_simple_command_replaces_the_shell(bench: Bench) -> None:
    program(bench.root / "pid.sh", "#!/bin/sh\necho $$ $PPID\n")
    built = bench.build(before=["echo $$"], command="{script}", script_path="pid.sh")
    shell, rest = bench.run(built).stdout.splitlines()
    assert rest.split()[0] == shell


# Python ---------------------------------------------------------------------------------------------------------------


def test_python3_serves_where_there_is_no_python(bench: Bench, tmp_path: Path) -> None:
    python3 = program(tmp_path / "other" / "python3")
    bench.env["PATH"] = str(python3.parent)
    assert bench.build().argv[0] == str(python3)


def test_no_python_at_all_is_an_error_with_a_way_out(bench: Bench, tmp_path: Path) -> None:
    bench.env["PATH"] = str(tmp_path / "empty")
    with pytest.raises(ConfigError, match="set python_env"):
        bench.build()


def test_python_env_in_all_its_forms(bench: Bench, tmp_path: Path) -> None:
    venv = program(bench.root / ".venv" / "bin" / "python")
    spaced = program(tmp_path / "a b" / "py")
    tool = program(tmp_path / "bin" / "uv")
    for text, words in [
        (".venv", [str(venv)]),
        (str(venv), [str(venv)]),
        (".venv/bin/python", [str(venv)]),
        (str(spaced), [str(spaced)]),
        ("uv run python", [str(tool), "run", "python"]),
        ("python", [str(bench.python)]),
        (f"'{venv}' -u", [str(venv), "-u"]),
    ]:
        assert list(bench.build(python_env=text).argv[: len(words)]) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/nowhere/python", "does not exist"),
        ("nope-3", "nor on the PATH"),
        ("configs", "no virtual environment"),
        ("plain", "cannot be executed"),
    ],
)
def test_a_python_env_that_cannot_be_used_is_said(bench: Bench, text: str, words: str) -> None:
    (bench.root / "configs").mkdir()
    (bench.root / "plain").write_text("")
    with pytest.raises(ConfigError, match=words):
        bench.build(python_env=text)


def test_python_is_not_looked_for_when_no_command_needs_it(bench: Bench) -> None:
    assert bench.build(command="/bin/echo {config}", python_env="/nowhere").argv[0] == "/bin/echo"


# conda ----------------------------------------------------------------------------------------------------------------

CONDA_SH = """\
conda() {
  [ "$1" = activate ] || return 2
  [ -d "$RF_BASE/envs/$2" ] || { echo "EnvironmentNameNotFound: $2" >&2; return 1; }
  PATH="$RF_BASE/envs/$2/bin:$PATH"; export PATH CONDA_DEFAULT_ENV="$2"
}
"""


def conda(base: Path) -> Path:
    """An installation with the same files in the same places, and one environment called `torch 2`."""
    program(base / "etc" / "profile.d" / "conda.sh", f"RF_BASE='{base}'\n{CONDA_SH}")
    program(base / "bin" / "conda", "#!/bin/sh\nexit 9\n")
    return program(base / "envs" / "torch 2" / "bin" / "python")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("found_by", ["CONDA_EXE", "PATH", "HOME"])
def test_conda_is_activated_in_a_shell_that_is_not_interactive(
    bench: Bench, tmp_path: Path, found_by: str, shell: str
) -> None:
    base = tmp_path / "home" / "miniconda3" if found_by == "HOME" else tmp_path / "conda here"
    python = conda(base)
    if found_by == "CONDA_EXE":
        bench.env["CONDA_EXE"] = str(base / "bin" / "conda")
    elif found_by == "PATH":
        bench.env["PATH"] = f"{base / 'bin'}:{bench.env['PATH']}"
    built = bench.build(conda_env="torch 2")
    assert bench.run(built, shell).stdout.startswith(f"<{python}><{bench.root / 'train.py'}>")


@pytest.mark.parametrize("shell", SHELLS)
def test_an_environment_that_is_not_there_ends_the_job(bench: Bench, tmp_path: Path, shell: str) -> None:
    conda(tmp_path / "home" / "miniforge3")
    done = bench.run(bench.build(conda_env="nope"), shell)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "could not activate nope" in done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_micromamba_serves_too(bench: Bench, tmp_path: Path, shell: str) -> None:
    hook = "micromamba() { export ACTIVE=$2; }"
    program(tmp_path / "bin" / "micromamba", f"#!/bin/sh\n[ \"$*\" = 'shell hook -s posix' ] && echo '{hook}'\n")
    built = bench.build(conda_env="torch", command='{python} "$ACTIVE"')
    assert bench.run(built, shell).stdout.endswith("/python><torch>")


def test_without_conda_base_and_a_given_python_go_on_with_a_warning(bench: Bench) -> None:
    for settings in ({"conda_env": "base"}, {"conda_env": "x", "python_env": sys.executable}):
        built = bench.build(None, **settings)
        assert built.argv
        assert "no conda was found" in built.warnings[0]


def test_without_conda_another_environment_is_an_error(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="CONDA_EXE"):
        bench.build(conda_env="torch")


# rfsched add ----------------------------------------------------------------------------------------------------------


def test_added_words_are_run_as_given(bench: Bench) -> None:
    assert bench.add("python", "-c", "print('a b')", "$X").argv == ("python", "-c", "print('a b')", "$X")
    assert bench.add("./run.sh").argv == ("./run.sh",)


@pytest.mark.parametrize("shell", SHELLS)
def test_one_word_with_shell_signs_is_a_shell_line(bench: Bench, shell: str) -> None:
    assert bench.run(bench.add("echo a | tr a b; echo {config}"), shell).stdout == "b\n{config}\n"


def test_added_words_get_the_workspaces_surroundings(bench: Bench) -> None:
    built = bench.add("sh", "-c", 'echo "$A $0"', "x y", before=["export A=1"])
    assert bench.run(built).stdout == "1 x y\n"


WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@given(WORD.filter(lambda name: name not in ("", ".", "..") and "/" not in name and not name.startswith("-")))
def test_any_file_name_arrives_whole(name: str) -> None:
    paths = WorkspacePaths(root="/ws", config="/ws/c.yml")
    settings = Settings(task_name="t", command="printf %s {config} | cat")
    built = build_command(settings, JobSection(), f"/{name}", dict(os.environ), paths)
    done = subprocess.run(["/bin/sh", "-c", built.shell or ""], capture_output=True, check=True)
    assert done.stdout.decode() == f"/{name}"
