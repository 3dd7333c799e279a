"""A scheduler_config.yml that cannot be read keeps nobody from looking and ending; only starting says what is wrong."""

from __future__ import annotations

from tests.workspaces import RealWorkspace, new_workspace, workspace

__all__ = ["new_workspace", "workspace"]


def test_status_and_kill_all_work_and_start_names_the_problem(workspace: RealWorkspace) -> None:
    workspace.configure(env={"NAP": "300"})
    workspace.add_configs(1)
    workspace.ok("start")
    workspace.wait_for("exp1", "running")
    with (workspace.root / "scheduler_config.yml").open("a") as file:
        file.write("max_job_per_gpu: 3\n")

    assert workspace.states() == {"exp1": "running"}
    refused = workspace.call("start")
    assert refused.returncode == 3
    assert "unknown key `max_job_per_gpu`" in refused.stderr
    assert "did you mean `max_jobs_per_gpu`?" in refused.stderr
    assert "1 job ended" in workspace.ok("kill-all", "--yes")
    assert workspace.states() == {"exp1": "cancelled"}
