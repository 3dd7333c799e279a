"""`projects:` and deadlines in the settings: every problem at its place."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from researchflow_tmux.adapters.config_file import parse_settings
from researchflow_tmux.adapters.deadlines import parse_deadline
from researchflow_tmux.adapters.job_config import parse_job_config
from researchflow_tmux.adapters.planning import bounds, plan_rules
from researchflow_tmux.adapters.sources.defaults import wishes
from researchflow_tmux.domain.accounts import Owner
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.projects import Project, User
from researchflow_tmux.domain.workspace import Settings
from researchflow_tmux.policies.accounts.account import Bounds
from researchflow_tmux.policies.planning.orders import POLICIES

GOOD = b"""task_name: t
policy: balanced
projects:
  vision: {weight: 2.5, max_gpus: 4}
  text:
  "a b": {}
"""


def test_projects_and_a_policy() -> None:
    settings = parse_settings(GOOD, "c.yml").settings
    assert settings.projects == {"vision": Project(weight=2.5, max_gpus=4), "text": Project(), "a b": Project()}
    rules = plan_rules(settings)
    assert rules is not None
    assert rules.policy is POLICIES["balanced"]
    assert rules.weights == {"vision": 2.5, "text": 1.0, "a b": 1.0}
    assert bounds(settings)[Owner("project", "vision")] == Bounds(gpus=4)


def test_users_have_the_caps_and_budgets_of_projects_but_no_weight() -> None:
    text = b"""task_name: t
users:
  ann: {max_gpus: 2, max_memory: 64GiB, gpu_hours: 500, period: week}
  bob:
"""
    users = parse_settings(text, "c.yml").settings.users
    assert users == {"ann": User(max_gpus=2, max_memory="64GiB", gpu_hours=500, period="week"), "bob": User()}
    wrong = b"task_name: t\nusers:\n  ann: {weight: 2, gpu_hours: -1, max_memory: lots, period: year}\n"
    with pytest.raises(ConfigError) as caught:
        parse_settings(wrong, "c.yml")
    found = [problem.message for problem in caught.value.problems]
    assert [key in text for key, text in zip(("weight", "gpu_hours", "max_memory", "period"), found, strict=True)] == [
        True
    ] * 4


def test_without_a_policy_nothing_is_planned() -> None:
    assert plan_rules(Settings(task_name="t")) is None
    assert parse_settings(b"task_name: t\nprojects:\n", "c.yml").settings.projects == {}


def test_every_problem_at_its_place() -> None:
    text = b"""task_name: t
policy: best
projects:
  a: {weight: 0}
  b: 3
  c: {wieght: 2}
  d: {max_gpus: -1}
  a: {}
  [x]: {}
"""
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, "c.yml")
    found = [(problem.line, problem.column, problem.message) for problem in caught.value.problems]
    assert [(line, column) for line, column, _ in found] == [
        (2, 9),
        (4, 15),
        (5, 6),
        (6, 7),
        (7, 17),
        (8, 3),
        (9, 3),
    ]
    assert found[1][2] == "projects.a.weight: expected a number above 0, got 0"
    assert caught.value.problems[3].hint == "did you mean `weight`?"
    assert found[5][2] == "projects.a is there twice; first in line 4"


def test_projects_that_are_no_mapping() -> None:
    with pytest.raises(ConfigError, match="expected lines of `NAME"):
        parse_settings(b"task_name: t\nprojects: [a]\n", "c.yml")


def test_a_jobs_own_section() -> None:
    found = parse_job_config(b"rfsched: {project: vision, deadline: 2026-12-01 18:00}\n", "a.yml")
    wanted = wishes(Settings(task_name="t"), found.section)
    assert (wanted["project"], wanted["deadline"]) == ("vision", datetime(2026, 12, 1, 18).astimezone())
    nothing = wishes(Settings(task_name="t"), parse_job_config(b"", "a.yml").section)
    assert (nothing["project"], nothing["deadline"]) == (None, None)
    with pytest.raises(ConfigError, match=r"1:21: rfsched.deadline: expected a date or a moment"):
        parse_job_config(b"rfsched: {deadline: soon}\n", "a.yml")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01", datetime(2026, 12, 1, 23, 59, 59).astimezone()),
        (" 2026-12-01 18:00 ", datetime(2026, 12, 1, 18).astimezone()),
        ("2026-12-01T18:00:00Z", datetime(2026, 12, 1, 18, tzinfo=UTC)),
        ("2026-12-01T18:00+02:00", datetime(2026, 12, 1, 16, tzinfo=UTC)),
    ],
)
def test_deadlines(text: str, moment: datetime) -> None:
    assert parse_deadline(text) == moment
    assert parse_deadline(text).tzinfo is not None


@pytest.mark.parametrize("text", ["", "soon", "3d", "2026-13-01", "1.5"])
def test_what_is_no_deadline(text: str) -> None:
    with pytest.raises(ValueError, match="expected a date or a moment"):
        parse_deadline(text)
