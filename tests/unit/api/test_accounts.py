"""How projects and users stand, as `status` and `Workspace.projects()` tell it."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from researchflow_tmux.api.views import AccountView, HoursView, SchedulerView, StatusView
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.cli import layout
from researchflow_tmux.cli.status_blocks import accounts_table
from researchflow_tmux.domain.accounts import Grant, Hours, Owner, Rate
from researchflow_tmux.domain.attempt import Ended, Exited
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.job import JobState
from researchflow_tmux.engine.accounting import META_ACCOUNT, Accounting, kept_accounts
from researchflow_tmux.engine.balances import balances
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.accounts.accounts import Claims
from researchflow_tmux.simulation.clock import EPOCH, VirtualClock
from tests.unit.engine import samples

A = Owner("project", "a")
CLOCK = VirtualClock(EPOCH)


def running(seconds: float | None, **phase: Any) -> Any:
    grant = Grant(owners=("project a",), rate=Rate(gpus=2, cpus=1), at=EPOCH, seconds=seconds)
    live = samples.attempt(1, allocation=samples.slots(0, 1), grant=grant, **phase)
    live = msgspec.structs.replace(live, boot_id=CLOCK.boot_id)
    job = samples.job(1, JobState.ACTIVE, attempts=1, project="a")
    return samples.workload(job, attempts=(live,)), live


def accounting(workload: Any, clock: VirtualClock, **bounds: Any) -> Accounting:
    found = Accounting(workload, {}, clock, UTC)
    found.claims = Claims({A: Bounds(**bounds)})
    return found


def test_what_runs_has_used_a_part_of_what_it_was_granted() -> None:
    workload, _ = running(7200.0)
    clock = VirtualClock(EPOCH)
    found = accounting(workload, clock, gpu=10.0, period="total")
    clock.advance(1800.0)
    (balance,) = balances(found, workload, clock.now())
    assert (balance.used.gpu, balance.granted.gpu) == (1.0, 3.0)
    assert (balance.running, balance.period, balance.ends) == (Rate(gpus=2, cpus=1), "total", None)


def test_without_a_budget_it_uses_what_it_uses() -> None:
    workload, _ = running(None)
    clock = VirtualClock(EPOCH)
    found = accounting(workload, clock, gpus=4)
    clock.advance(3600.0)
    (balance,) = balances(found, workload, clock.now())
    assert (balance.used.gpu, balance.granted.gpu) == (2.0, 0.0)


def test_what_ended_is_settled_and_its_processes_that_cannot_be_killed_only_have_gpus() -> None:
    workload, live = running(7200.0)
    clock = VirtualClock(EPOCH)
    found = accounting(workload, clock, gpu=10.0, period="total")
    ended_at = EPOCH + timedelta(hours=1)
    ended = Ended(outcome=Exited(code=0, succeeded=True), started_at=EPOCH, ended_at=ended_at, ran_s=3600.0)
    clock.advance(3600.0)
    meta = found.settle(live, ended)
    assert kept_accounts(meta) == {A: found._settled[A]}
    assert list(meta) == [f"{META_ACCOUNT}project a"]
    left = msgspec.structs.replace(live, phase=ended, quarantined=(7,))
    workload.attempts[live.key] = left
    (balance,) = balances(found, workload, clock.now())
    assert (balance.used.gpu, balance.granted.gpu, balance.running.gpus) == (2.0, 0.0, 2)


def test_of_a_machine_that_was_restarted_all_that_was_granted_counts() -> None:
    workload, live = running(7200.0)
    clock = VirtualClock(EPOCH, boot_id="another")
    found = accounting(workload, clock, gpu=10.0, period="total")
    assert found.elapsed_s(live) == float("inf")
    (balance,) = balances(found, workload, clock.now())
    assert balance.used.plus(balance.granted).gpu == 4.0


# -- through a workspace -----------------------------------------------------------------------------------------------

CONFIG = """task_name: w
gpu_count: simulated:2
projects:
  vision: {weight: 2, max_gpus: 1, gpu_hours: 100}
  text:
users:
  ann: {cpu_hours: 0, period: day}
"""


def test_everybody_who_is_described_is_told_of_before_anything_ran(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text(CONFIG)
    text, vision, ann = Workspace(tmp_path).projects()
    assert (vision.kind, vision.name, vision.weight, vision.max_gpus) == ("project", "vision", 2.0, 1)
    assert vision.gpu_hours == HoursView(used=0.0, granted=0.0, limit=100.0)
    assert vision.period == "month"
    assert vision.period_ends is not None
    assert (text.weight, text.gpu_hours.limit, text.share_of_use) == (1.0, None, None)
    assert (ann.kind, ann.weight, ann.cpu_hours.limit, ann.period) == ("user", None, 0.0, "day")


def test_a_config_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: w\nprojects: {vision: {gpu_hours: -1}}\n")
    with pytest.raises(ConfigError, match="gpu_hours"):
        Workspace(tmp_path).projects()


def test_who_is_not_described_has_no_account(tmp_path: Path) -> None:
    (tmp_path / "scheduler_config.yml").write_text("task_name: w\n")
    assert Workspace(tmp_path).projects() == []


# -- in the status -----------------------------------------------------------------------------------------------------


def view(**changed: Any) -> AccountView:
    nothing = HoursView(used=0.0, granted=0.0, limit=None)
    account = AccountView(
        kind="project", name="vision", weight=2.0, share_of_use=0.25, running_gpus=3, max_gpus=4, running_cpus=3,
        max_cpus=None, running_memory_mib=0, max_memory_mib=None, gpu_hours=nothing, cpu_hours=nothing,
        memory_hours=nothing, period="month", period_ends=EPOCH,
    )  # fmt: skip
    return msgspec.structs.replace(account, **changed)


def lines(*accounts: AccountView) -> list[str]:
    shown = StatusView(
        at=EPOCH,
        workspace="/w",
        task_name="w",
        counts={},
        jobs=[],
        gpus=[],
        scheduler=SchedulerView(running=False),
        projects=list(accounts),
    )
    return layout.render(accounts_table(shown), width=None, colour=False)


def test_the_status_shows_what_is_left_of_each_budget() -> None:
    hours = HoursView(used=81.23, granted=12.4, limit=100.0)
    blank, *found = lines(
        view(gpu_hours=hours), view(kind="user", name="ann", weight=None, share_of_use=None, max_gpus=None)
    )
    assert not blank
    assert found[0].split() == ["PROJECTS", "WEIGHT", "LATELY", "GPUS", "BUDGET", "USED", "UNTIL"]
    assert "vision" in found[1]
    assert "81.2 of 100 GPU-h, 12.4 more granted" in found[1]
    assert "3/4" in found[1]
    assert found[2].split() == ["user", "ann", "3"]


def test_without_accounts_there_is_no_table() -> None:
    assert lines() == []


def test_hours_are_as_they_were_kept() -> None:
    kept = {f"{META_ACCOUNT}user ann": '{"total":{"gpu":1.5}}', "other": "x"}
    assert kept_accounts(kept) == {Owner("user", "ann"): {"total": Hours(gpu=1.5)}}
