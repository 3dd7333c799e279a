"""What a command loads: help costs click alone, and looking at the status no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("libtmux", "pynvml", "psutil", "rich", "asyncio")
STATE = ("msgspec", "yaml", "sqlite3")
COMMAND = """
import json, sys
from researchflow_tmux.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("\\n" + json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


def loaded(*args: str, cwd: Path) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *args], cwd=cwd, capture_output=True, text=True, timeout=60, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_help_loads_click_alone(tmp_path: Path, args: list[str]) -> None:
    code, modules = loaded(*args, cwd=tmp_path)
    assert code == 0
    assert not modules & set(SLOW + STATE)


@pytest.mark.parametrize("args", [["status"], ["status", "--json"], []])
def test_status_loads_what_it_needs(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: t\n")
    code, modules = loaded(*args, cwd=tmp_path)
    assert code in (0, 2)  # nothing was ever queued here
    assert not modules & set(SLOW)


@pytest.mark.parametrize("command", ["logs", "cancel", "wait", "config", "history", "why"])
def test_no_command_loads_the_slow_ones_for_its_help(tmp_path: Path, command: str) -> None:
    code, modules = loaded(command, "--help", cwd=tmp_path)
    assert code == 0
    assert not modules & {*SLOW, "sqlite3", "yaml"}
