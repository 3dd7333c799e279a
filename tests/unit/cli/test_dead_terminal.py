"""A terminal that is gone takes the words along, not the exit code: the keeper decides by it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.workspaces import RFSCHED


@pytest.mark.parametrize(("words", "code"), [(["-f", "nowhere.yml", "_scheduler"], 2), (["no-such-command"], 2)])
def test_the_exit_code_survives_a_terminal_that_is_gone(tmp_path: Path, words: list[str], code: int) -> None:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [RFSCHED, *words], cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    os.close(master)
    assert process.wait(30) == code
