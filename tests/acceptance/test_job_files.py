"""Job files through the installed command: marks as people watch them, edits meanwhile, and kill -9 in between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from researchflow_tmux.adapters.template import template_dir
from tests.support import eventually
from tests.workspaces import RealWorkspace, kill9, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux


class JobFile:
    """A job file of a workspace; `echo WORD` in it says in `said` that it ran."""

    def __init__(self, workspace: RealWorkspace, name: str = "a") -> None:
        self.said = workspace.root / "said"
        self.path = workspace.root / "jobs" / f"{name}.txt"
        self.path.parent.mkdir(exist_ok=True)
        self.archived = workspace.root / "processed" / f"{name}.txt.old"

    def say(self, word: str, then: str = "sleep 0.1") -> str:
        return f"echo {word} >> {self.said}; {then}"

    def edit(self, change: Callable[[str], str]) -> None:
        """As an editor does it: read, think, and save a new file in its place."""
        beside = self.path.with_name(".edited")
        beside.write_text(change(self.text), newline="")
        beside.replace(self.path)

    @property
    def text(self) -> str:
        return self.path.read_bytes().decode()

    def ran(self) -> Counter[str]:
        return Counter(self.said.read_text().split()) if self.said.exists() else Counter()

    def mark(self, word: str) -> str:
        """The mark before the (first) line of a word."""
        line = next(line for line in self.text.splitlines() if f"echo {word} " in line)
        return line[0] if line[0] in "!#?" else ""


def test_marks_edits_and_a_scheduler_that_is_killed_all_the_time(workspace: RealWorkspace) -> None:
    file = JobFile(workspace)
    gate = workspace.root / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done"
    lines = ["## nightly", "", f"#@ gpus=2 name=both env.GATE={gate}", file.say("both", wait), "  \t"]
    lines += [file.say("bad", "exit 3"), *[file.say("twin")] * 2, file.say("held back"), file.say("deleted")]
    lines += [file.say(f"w{number}") for number in range(6)]
    file.path.write_text("\r\n".join(lines), newline="")  # and no line end at the end
    workspace.configure(max_jobs_per_gpu=1)
    out = workspace.ok("start")
    assert "12 queued" in out
    eventually(lambda: file.mark("both") == "!", what="the mark of a running job")

    def edited(text: str) -> str:
        text = text.replace(file.say("held back"), "# " + file.say("held back"))
        text = text.replace(file.say("deleted") + "\r\n", "")
        return text.replace("## nightly", "## nightly run").replace("\n! ", "\n") + "\r\n" + file.say("added") + "\r\n"

    # while one runs on both GPUs: withdrawn, deleted, added, and the mark of the running one taken away
    file.edit(edited)
    eventually(lambda: workspace.states().get("a_l16_2") == "queued", what="the added line is queued")
    eventually(lambda: file.mark("both") == "!", what="our mark is restored")
    assert workspace.job("a_l9")["state"] == workspace.job("a_l10")["state"] == "cancelled"
    kill9(eventually(workspace.scheduler_pid, 20.0, what="a scheduler") or 0)
    file.edit(lambda text: text + file.say("while nobody looked"))
    gate.touch()
    for count in (4, 8):  # and twice more, wherever it is
        eventually(lambda: sum(file.ran().values()) >= count, 30.0, what="more jobs")  # noqa: B023
        kill9(eventually(workspace.scheduler_pid, 20.0, what="a scheduler") or 0)
    eventually(lambda: set(Counter(line[:1] for line in file.text.split("\r\n"))) <= {*"#? ", ""}, 40.0, what="marks")

    words = [
        "both",
        "bad",
        "twin",
        "twin",
        *(f"w{number}" for number in range(6)),
        "added",
        "while",
        "nobody",
        "looked",
    ]
    assert file.ran() == Counter(words)
    expected = "\r\n".join(lines).replace("## nightly", "## nightly run").replace(file.say("deleted") + "\r\n", "")
    expected += "\r\n" + file.say("added") + "\r\n" + file.say("while nobody looked")
    marked = [("? " if "bad" in line else "# ") + line if "echo" in line else line for line in expected.split("\r\n")]
    assert file.text == "\r\n".join(marked)

    # nothing of it runs again, but for the line whose mark is taken away; the file is put away when all are finished
    workspace.ok("stop")
    file.edit(
        lambda text: text.replace("? ", "").replace("exit 3", "true").replace("# " + file.say("w3"), file.say("w3"))
    )
    workspace.ok("start")
    eventually(file.archived.exists, 20.0, what="the file is put away")
    assert file.ran() == Counter([*words, "bad", "w3"])
    assert not file.path.exists()
    assert file.archived.read_bytes().count(b"\r\n# ") == 13


def test_what_is_wrong_is_told_and_the_rest_runs_as_typed(workspace: RealWorkspace) -> None:
    file = JobFile(workspace)
    pins = f"echo $CUDA_VISIBLE_DEVICES >> {file.said}"
    good = [f"LR=0.5 cd /tmp && {pins} && echo $LR $PWD >> {file.said}", f"echo ${{BASH_VERSION:+bash}} >> {file.said}"]
    file.path.write_bytes("\n".join(["#@ gpu=2", "echo never", *good, "echo caf\xe9 >> never"]).encode("latin-1"))
    (file.path.parent / "dir.txt").mkdir()
    started = json.loads(workspace.ok("start", "--json"))
    problems = "\n".join(started["sources"]["problems"])
    assert "jobs/a.txt:1:4: unknown key `gpu`\n    #@ gpu=2\n       ^\n    hint: did you mean `gpus`?" in problems
    assert "jobs/a.txt:5: byte 0xe9 is not UTF-8" in problems
    assert "jobs/dir.txt: is a directory" in problems
    workspace.settled()
    assert workspace.states() == {"a_l3": "succeeded", "a_l4": "succeeded"}
    assert file.ran() == Counter(["0", "0.5", "/tmp", "bash"])  # pinned although the line begins with `cd`
    assert workspace.job("a_l3")["group"] == "a"
    eventually(lambda: file.path.read_bytes().count(b"\n# ") == 2, what="both marks")
    assert (workspace.root / "logs/history/history.log").read_text() == workspace.history()


def test_the_example_of_the_template_queues_nothing_by_itself(workspace: RealWorkspace) -> None:
    example = Path(template_dir()) / "jobs" / "example.txt"
    file = JobFile(workspace, "example")
    file.path.write_bytes(example.read_bytes())
    (workspace.root / "train.py").write_text(f"import sys\nopen({str(file.said)!r}, 'a').write('ran ')\n")
    workspace.configure(gpu_count="simulated:2")
    assert "queued" not in workspace.call("start").stdout.replace("0 queued", "")
    file.edit(lambda text: text.replace("## python", "python").replace("## #@", "#@"))
    workspace.ok("start")
    eventually(lambda: file.archived.exists(), 30.0, what="all of the example ran")
    assert set(workspace.states().values()) == {"succeeded"}
    assert file.ran()["ran"] == len(workspace.states()) >= 2
