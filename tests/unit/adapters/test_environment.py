"""The captured shell: what is in it, what is not, and one digest for equal ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from researchflow_tmux.adapters.environment import Environment, ProcessSettings, capture, current_umask


def test_terminal_and_own_variables_are_dropped() -> None:
    dropped = dict.fromkeys(("TMUX", "TMUX_PANE", "TERM", "COLORTERM", "RFSCHED_ATTEMPT"), "x")
    kept = {"PATH": "/bin", "RFSCHED_LEASE_DIR": "/l", "TERMINAL": "t"}
    assert capture({**dropped, **kept}).variables == kept


def test_the_digest_depends_on_content_and_not_on_order() -> None:
    one, other = capture({"A": "1", "B": "2"}), capture({"B": "2", "A": "1"})
    assert one.digest == other.digest
    assert len(one.digest) == 64
    assert capture({"A": "1"}).digest != one.digest
    assert Environment(variables=one.variables, process=ProcessSettings(umask=0o077)).digest != one.digest


def test_variables_that_are_not_utf_8_have_a_digest() -> None:
    assert capture({"A": "\udcff"}).digest != capture({"A": "?"}).digest


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_process_settings_are_those_of_the_process(mask: int) -> None:
    code = (
        "import json, msgspec, os, resource, sys\n"
        f"os.umask({mask}); os.nice(3); os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (99, hard))\n"
        "from researchflow_tmux.adapters.environment import capture\n"
        "print(json.dumps([msgspec.to_builtins(capture().process), hard]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.getcwd())
    process, hard = json.loads(done.stdout)
    assert process["umask"] == mask
    assert process["nice"] == os.getpriority(os.PRIO_PROCESS, 0) + 3
    assert process["affinity"] == [min(os.sched_getaffinity(0))]
    assert process["rlimits"]["NOFILE"] == [99, hard]


def test_reading_the_umask_does_not_change_it() -> None:
    first = current_umask()
    assert current_umask() == first
    before = os.umask(first)
    assert before == first
