"""export with the installed command: beside a running scheduler, and without one."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]
pytestmark = pytest.mark.tmux


def test_what_runs_and_what_ended_is_drawn_while_the_scheduler_runs_and_after(workspace: RealWorkspace) -> None:
    workspace.ok("add", "--name", "first", "--", "true")
    workspace.ok("add", "--name", "long", "--after", "first", "--project", "vision", "--", "sleep", "600")
    workspace.ok("add", "--name", "never", "--after", "long", "--gpus", "0", "--", "true")
    workspace.wait_for("long", "running")

    data = json.loads(workspace.ok("export", "timeline", "--format", "json"))
    bars = {bar["name"]: bar for lane in data["lanes"] for bar in lane["bars"]}
    assert (bars["first"]["state"], bars["long"]["state"]) == ("succeeded", "running")
    assert [lane["title"] for lane in data["lanes"]] == ["GPU 0", "GPU 1"]
    graph = json.loads(workspace.ok("export", "graph", "--format", "json"))
    assert [node["name"] for node in graph["nodes"]] == ["first", "long", "never"]
    workspace.ok("export", "report", "out.html")
    assert (workspace.root / "out.html").read_text().count('<div class="picture">') >= 3

    workspace.ok("stop")
    assert "vision" in workspace.ok("export", "report")
    workspace.ok("export", "timeline", "later.svg", "--by", "job")
    assert ElementTree.parse(workspace.root / "later.svg").getroot().attrib["data-made-by"] == "rfsched"
    workspace.ok("kill-all", "--yes")
