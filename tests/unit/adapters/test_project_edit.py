"""One value of one project is changed, every other byte stays, in every way people write such files."""

from __future__ import annotations

import pytest

from researchflow_tmux.adapters.config_file import parse_settings
from researchflow_tmux.adapters.project_edit import edit
from researchflow_tmux.domain.errors import ConfigError

TOP = "task_name: t\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "projects:\n  p: {weight: 2}\n"),
        ("projects: {}\n", "projects: {p: {weight: 2}}\n"),
        ("projects: {}  # none\nusers: {}\n", "projects: {p: {weight: 2}}  # none\nusers: {}\n"),
        ("projects:\n", "projects: {p: {weight: 2}}\n"),
        ("projects: # ours\n", "projects: {p: {weight: 2}} # ours\n"),
        ("projects: ~\n", "projects: {p: {weight: 2}}\n"),
        ("projects: {q: {}}\n", "projects: {q: {}, p: {weight: 2}}\n"),
        ("projects: {p: {}}\n", "projects: {p: {weight: 2}}\n"),
        ("projects: {p: {weight: 1}}\n", "projects: {p: {weight: 2}}\n"),
        ("projects: {p: {max_gpus: 1}}\n", "projects: {p: {max_gpus: 1, weight: 2}}\n"),
        ("projects:\n  p:\n", "projects:\n  p: {weight: 2}\n"),
        ("projects:\n  p: # mine\n  q: {}\n", "projects:\n  p: {weight: 2} # mine\n  q: {}\n"),
        ("projects:\n  q: {weight: 1} # x\n\n# end\n", "projects:\n  q: {weight: 1} # x\n  p: {weight: 2}\n\n# end\n"),
        ("projects:\n    q:\n        weight: 1\n", "projects:\n    q:\n        weight: 1\n    p: {weight: 2}\n"),
        ("projects:\n  p:\n    weight: 1  # low\n", "projects:\n  p:\n    weight: 2  # low\n"),
        (
            "projects:\n  p:\n    max_gpus: 1 # few\n  q: {}\n",
            "projects:\n  p:\n    max_gpus: 1 # few\n    weight: 2\n  q: {}\n",
        ),
        ("projects:\n  q: {}", "projects:\n  q: {}\n  p: {weight: 2}"),
        ("projects:\r\n  p:\r\n    max_gpus: 1\r\n", "projects:\r\n  p:\r\n    max_gpus: 1\r\n    weight: 2\r\n"),
        ("projects: {\n  q: {},\n}\nusers: {}\n", None),
    ],
)
def test_one_value_changes(before: str, after: str | None) -> None:
    data = (TOP + before).encode()
    found = edit(data, "f", "projects", "p", {"weight": "2"}).decode()
    if after is not None:
        assert found == TOP + after
    settings = parse_settings(found.encode(), "f").settings
    assert settings.projects["p"].weight == 2
    assert set(settings.projects) == {"p"} | set(parse_settings(data, "f").settings.projects)


def test_several_values_names_that_need_quotes_and_texts() -> None:
    values = {"max_memory": "64GiB", "deadline": "2030-01-31 18:00", "gpu_hours": "1e3", "max_gpus": "null"}
    found = edit(TOP.encode(), "f", "projects", "a: b", values).decode()
    project = parse_settings(found.encode(), "f").settings.projects["a: b"]
    assert (project.max_memory, project.deadline, project.gpu_hours) == ("64GiB", "2030-01-31 18:00", 1000.0)
    assert project.max_gpus is None
    again = edit(found.encode(), "f", "projects", "a: b", {"gpu_hours": "5"}).decode()
    assert again == found.replace("1e3", "5")


def test_a_byte_order_mark_stays() -> None:
    assert edit(b"\xef\xbb\xbftask_name: t\n", "f", "users", "ann", {"max_gpus": "1"}).startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {weight: 1}\nprojects: {p: *x}\n",
        "projects: [p]\n",
        "projects:\n  p: 5\n",
        "projects:\n  p: &x\n    weight: 1\nusers: {ann: *x}\n",
        "projects: # why\n  {}\n",
        "[1]\n",
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(text: str) -> None:
    with pytest.raises(ConfigError, match="by hand"):
        edit(text.encode(), "f", "projects", "p", {"weight": "2"})
