"""Arrays, commands from standard input, and what is done to groups and labels, with the installed command."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.workspaces import COMMAND_S, RFSCHED, RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux

CPU = ("--gpus", "0")
BODY = """
# Say that it runs, and how many do.
mkdir -p here && touch "here/$RFSCHED_ARRAY_INDEX"
ls here | wc -l >> counts
sleep 0.15
rm "here/$RFSCHED_ARRAY_INDEX"
echo "$1 of $RFSCHED_ARRAY_COUNT from $RFSCHED_ARRAY_MIN to $RFSCHED_ARRAY_MAX"
"""


def piped(workspace: RealWorkspace, text: bytes, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [RFSCHED, *args], cwd=workspace.root, input=text, capture_output=True, timeout=COMMAND_S, check=False
    )


def test_an_array_runs_each_index_once_and_never_more_than_its_limit(workspace: RealWorkspace) -> None:
    workspace.configure(max_cpu_jobs=6)
    script = workspace.script("body.sh", BODY)
    out = workspace.ok("add", *CPU, "--array", "0-6:2,9,11%2", "--name", "seeds", "--", script, "{index}")
    assert "6 jobs queued: seeds_0, seeds_2, seeds_4, seeds_6 and 2 more (ids 1 to 6)" in out
    assert "rfsched wait @seeds" in out
    assert workspace.ok("wait", "@seeds") == "6 jobs ended, 6 succeeded\n"
    counts = [int(line) for line in (workspace.root / "counts").read_text().split()]
    assert len(counts) == 6
    assert max(counts) == 2  # as many as may, and no more
    logs = workspace.ok("logs", "@seeds")
    assert "==> seeds_11 (job 6, succeeded) <==\n11 of 6 from 0 to 11\n" in logs
    assert logs.count("==>") == 6


def test_lines_of_standard_input_become_jobs(workspace: RealWorkspace) -> None:
    text = (
        "\ufeffecho one\r\n\n## a remark\n#@ name=second retries=2\n  echo 'two  words' | cat\n# echo done\n".encode()
    )
    done = piped(workspace, text, "add", *CPU, "--group", "g", "--label", "from=pipe", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert b"1 line marked as running or ended" in done.stderr
    many = json.loads(done.stdout)
    assert (many["ids"], many["group"]) == ([1, 2], "g")
    workspace.ok("wait", "@from=pipe")
    assert [workspace.ok("logs", str(number)) for number in (1, 2)] == ["one\n", "two  words\n"]
    assert [job["labels"] for job in workspace.status()["jobs"]] == [{"from": "pipe"}] * 2
    assert workspace.api.job("second").spec.retries == 2


WRONG: list[tuple[bytes, tuple[str, ...], str]] = [
    (b"\n## nothing\n", ("-",), "standard input has no command"),
    (b"true\necho \xff\n", ("-",), "standard input:2: byte 0xff is not UTF-8"),
    (b"a\0b\n", ("-",), "standard input:1: this line holds a NUL byte"),
    (b"#@ gpsu=2\ntrue\n", ("-",), "did you mean"),
    (b"true\n", ("--array", "0-3", "-"), "--array is for one command"),
    (b"", ("--array", "9-1", "true"), "it runs from 9 to 1"),
    (b"", ("--group", "a=b", "true"), "'a=b' cannot be a group"),
    (b"", ("--label", "model", "true"), "'model' is not of the form KEY=VALUE"),
    (b"", ("--label", "1=2", "true"), "1=2 cannot be a label"),
]


def test_what_cannot_be_queued_is_said_and_nothing_is(workspace: RealWorkspace) -> None:
    workspace.ok("add", "--no-start", "--hold", "--name", "before", "true")
    for text, args, said in WRONG:
        done = piped(workspace, text, "add", "--no-start", *args)
        assert done.returncode in (2, 3), (args, done)
        assert said in done.stderr.decode()
        assert b"Traceback" not in done.stderr
    assert list(workspace.states()) == ["before"]


def test_groups_and_labels_are_meant_wherever_jobs_are(workspace: RealWorkspace) -> None:
    for model in ("bert", "gpt2"):
        label = ("--label", f"model={model}")
        workspace.ok("add", *CPU, "--no-start", "--hold", "--group", "g", "--name", model, *label, "echo", model)
    workspace.ok("add", *CPU, "--no-start", "--hold", "--name", "other", "echo", "other")
    assert "queued: bert, gpt2" in workspace.ok("release", "@g")
    assert "held: bert" in workspace.ok("hold", "@model=bert")
    assert "cancelled: gpt2" in workspace.ok("cancel", "@model=gpt*")
    assert "queued: gpt2" in workspace.ok("requeue", "@model=gpt2")
    shown = json.loads(workspace.ok("status", "--group", "g", "--state", "held", "--json"))
    assert [job["name"] for job in shown["jobs"]] == ["bert"]
    workspace.ok("release", "@model=bert")
    workspace.ok("start", "--no-configs")
    assert workspace.ok("wait", "@g") == "2 jobs ended, 2 succeeded\n"
    assert workspace.states()["other"] == "held"
    assert "no job '@h'" in workspace.call("cancel", "@h").stderr
