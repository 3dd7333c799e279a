"""The one line in the user's crontab, with a real program in the place of cron's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from researchflow_tmux.adapters import autostart
from researchflow_tmux.domain.errors import UsageError

CRONTAB = """#!/bin/sh
table=$FAKE_CRON_TABLE
[ -z "$FAKE_CRON_REFUSES" ] || { echo "you are not allowed to use this program" >&2; exit 1; }
case "$1" in
  -l) [ -f "$table" ] || { echo "no crontab for ann" >&2; exit 1; }
      cat "$table" ;;
  -) cat > "$table" ;;
  *) exit 2 ;;
esac
"""
OTHERS = b"# my jobs\nMAILTO=ann\n\n@reboot  /bin/true   # rfsched autostart: /elsewhere\n5 * * * * echo \xff \\% %\n\n"
ARGV = ["/opt/a b/python", "-m", "researchflow_tmux", "start"]


class Cron:
    def __init__(self, directory: Path) -> None:
        program = directory / "crontab"
        program.write_text(CRONTAB)
        program.chmod(0o755)
        self.table = directory / "table"
        self.environ = os.environ | {"PATH": f"{directory}:/usr/bin:/bin", "FAKE_CRON_TABLE": str(self.table)}


@pytest.fixture
def cron(tmp_path: Path) -> Cron:
    return Cron(tmp_path)


def test_on_status_off_with_no_table_before(cron: Cron) -> None:
    assert autostart.status("/w", environ=cron.environ) is None
    assert autostart.enable("/w", ARGV, environ=cron.environ)
    expected = "cd /w && '/opt/a b/python' -m researchflow_tmux start"
    assert autostart.status("/w", environ=cron.environ) == expected
    assert cron.table.read_text() == f"@reboot {expected} # rfsched autostart: /w\n"
    assert not autostart.enable("/w", ARGV, environ=cron.environ)
    assert autostart.disable("/w", environ=cron.environ)
    assert not autostart.disable("/w", environ=cron.environ)
    assert cron.table.read_bytes() == b""


def test_every_other_line_stays_byte_for_byte(cron: Cron) -> None:
    cron.table.write_bytes(OTHERS)
    autostart.enable("/w", ARGV, environ=cron.environ)
    assert cron.table.read_bytes().startswith(OTHERS)
    autostart.enable("/w", ["other", "command"], environ=cron.environ)
    assert cron.table.read_bytes() == OTHERS + b"@reboot cd /w && other command # rfsched autostart: /w\n"
    autostart.disable("/w", environ=cron.environ)
    assert cron.table.read_bytes() == OTHERS


def test_workspaces_do_not_take_each_others_line(cron: Cron) -> None:
    for root in ("/w", "/x/w", "/w w"):
        autostart.enable(root, ARGV, environ=cron.environ)
    autostart.disable("/w", environ=cron.environ)
    assert [autostart.status(root, environ=cron.environ) is None for root in ("/w", "/x/w", "/w w")] == [
        True,
        False,
        False,
    ]


def test_a_table_without_a_last_line_break(cron: Cron) -> None:
    cron.table.write_bytes(b"5 * * * * true")
    autostart.enable("/w", ARGV, environ=cron.environ)
    autostart.disable("/w", environ=cron.environ)
    assert cron.table.read_bytes() == b"5 * * * * true\n"


def test_the_line_starts_the_command_in_the_workspace(cron: Cron, tmp_path: Path) -> None:
    root = tmp_path / "50% of 'it' $HOME"
    root.mkdir()
    autostart.enable(str(root), ["touch", "100% here"], environ=cron.environ)
    # As cron reads it: the command is what follows the time, up to a bare %.
    command = cron.table.read_text().removeprefix("@reboot ").rstrip("\n").replace(r"\%", "%")
    assert autostart.status(str(root), environ=cron.environ) == command.partition(" # rfsched")[0]
    subprocess.run(["/bin/sh", "-c", command], check=True, cwd="/")
    assert (root / "100% here").exists()


def test_no_crontab_program_names_the_alternative(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        autostart.status("/w", environ={"PATH": str(tmp_path)})
    assert "no crontab program" in str(caught.value)
    assert "loginctl enable-linger" in str(caught.value)


def test_a_refusal_is_told_in_crons_words(cron: Cron) -> None:
    with pytest.raises(UsageError, match="cannot be read: you are not allowed"):
        autostart.enable("/w", ARGV, environ=cron.environ | {"FAKE_CRON_REFUSES": "1"})


def test_a_line_break_cannot_be_written(cron: Cron) -> None:
    with pytest.raises(UsageError, match="line break"):
        autostart.enable("/w\n* * * * * evil", ARGV, environ=cron.environ)
    assert not cron.table.exists()
