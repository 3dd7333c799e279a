"""Sweep files: which jobs they stand for, and every problem at its place."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from researchflow_tmux.adapters import yaml_tree
from researchflow_tmux.adapters.sources.sweeps import file as sweep_file
from researchflow_tmux.adapters.sources.sweeps.overlay import Overlay, spelling
from researchflow_tmux.adapters.sources.sweeps.scan import SweepJob, SweepScan, key_prefix, scan
from researchflow_tmux.adapters.sources.sweeps.writing import make_folders
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.sweeps import VariableSet
from researchflow_tmux.domain.sweeps.expansion import canonical
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths


class Sweeps:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))

    def scan(self, text: str, most: int = 100, name: str = "sw.yml", **settings: Any) -> SweepScan:
        path = self.root / name
        path.write_text(text)
        return scan(str(path), self.paths, Settings(task_name="t", **settings), os.environ, most)

    def problems(self, text: str, **more: Any) -> list[str]:
        """`line:column: message [hint]` of each problem."""
        with pytest.raises(ConfigError) as caught:
            self.scan(text, **more)
        return [f"{p.line}:{p.column}: {p.message}" + (f" [{p.hint}]" if p.hint else "") for p in caught.value.problems]


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


def names(found: SweepScan) -> list[str]:
    return [job.draft.name for job in found.jobs]


def values(found: SweepScan, name: str = "x") -> list[Any]:
    return [job.values[name] for job in found.jobs]


# What a file stands for -----------------------------------------------------------------------------------------------


def test_a_job_says_everything(sweeps: Sweeps) -> None:
    found = sweeps.scan(
        "command: train --model {model} --as {model.nick} --lr {lr} --out {folder} {name} {sweep}\n"
        'layout: "{model}/{lr}"\n'
        "variables:\n"
        "  model: [{value: org/bert base, nick: bert}]\n"
        "  lr: [1e-3]\n"
        "rfsched: {gpus: 2, env: {A: x}, time_limit: 2h, retries: 1, priority: 5, after: [b]}\n"
    )
    (job,) = found.jobs
    draft = job.draft
    folder = str(sweeps.root / "out" / "bert" / "1e-3")
    argv = ("train", "--model", "org/bert base", "--as", "bert", "--lr", "1e-3", "--out", folder, "bert_1e-3", "sw")
    assert draft.argv == argv
    assert (draft.source, draft.key, draft.name) == (
        "sweep",
        'sw.yml#{"lr":0.001,"model":"org/bert base"}',
        "bert_1e-3",
    )
    assert (draft.output_dir, draft.marker, draft.config_path) == (folder, None, None)
    assert (draft.request.gpus, draft.request.time_limit_s, draft.retries) == (2, 7200.0, 1)
    assert (draft.env, draft.priority, draft.after) == ({"A": "x"}, 5, ("b",))
    assert job.values == {"model": "org/bert base", "lr": 0.001}


def test_values_are_quoted_for_the_shell(sweeps: Sweeps) -> None:
    nasty = "a b; echo $HOME 'x'"
    found = sweeps.scan(f'command: echo {{x}} | cat\nvariables: {{x: ["{nasty}"]}}\n')
    assert found.jobs[0].draft.shell == f"echo {shlex.quote(nasty)} | cat\n"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ('echo "{x}" | cat', "echo 'a b' | cat\n"),
        ('echo "to "{x}" now" | cat', 'echo "to "\'a b\'" now" | cat\n'),
        ('echo "$(cat {x})"', "echo \"$(cat 'a b')\"\n"),
        ('echo "{y} it" > log', 'echo "1 it" > log\n'),
        ('echo "to {x} now" | cat', None),
        ("echo 'to {x}'; true", None),
    ],
)
def test_a_value_with_blanks_keeps_out_of_quotes(sweeps: Sweeps, command: str, line: str | None) -> None:
    text = json.dumps({"command": command, "variables": {"x": ["a b"], "y": [1]}})
    if line is None:
        (said,) = sweeps.problems(text)
        assert "{x} stands among other text inside quotes" in said
    else:
        assert sweeps.scan(text).jobs[0].draft.shell == line


def test_quotes_of_a_plain_line_are_no_matter(sweeps: Sweeps) -> None:
    text = json.dumps({"command": 'echo "to {x} now"', "variables": {"x": ["a b"]}})
    assert sweeps.scan(text).jobs[0].draft.argv == ("echo", "to a b now")
    assert "echo 'to a b now'\n" in str(sweeps.scan(text, before=["true"]).jobs[0].draft.shell)


@pytest.mark.parametrize(
    ("x", "found"),
    [
        ("[1, 2.5, true, null, text, '1', [1, 2]]", [1, 2.5, True, None, "text", "1", [1, 2]]),
        ("{from: 0, to: 9, step: 4}", [0, 4, 8]),
        ("{from: 0, to: 2}", [0, 1, 2]),
        ("{linear: [0, 1], count: 3}", [0.0, 0.5, 1.0]),
        ("{log: [1e-2, 1], count: 3}", [0.01, 0.1, 1.0]),
        ("{choice: [a, b, c, d], samples: 4}", ["a", "b", "c", "d"]),
    ],
)
def test_values(sweeps: Sweeps, x: str, found: list[Any]) -> None:
    # The folders of 1 and "1" would be one: a name by place would help, and is not the matter here.
    read = sweep_file.read(f"command: echo {{x}}\nvariables: {{x: {x}}}\n".encode(), "f.yml")
    assert [choice.value for choice in read.sweep.variables[0].choices] == found


def test_samples_depend_on_the_seed_alone(sweeps: Sweeps) -> None:
    text = "command: echo {x}\nvariables: {x: {loguniform: [1e-5, 1], samples: 3}}\n"
    assert values(sweeps.scan(text)) == values(sweeps.scan(text, name="other.yml"))
    assert values(sweeps.scan(text + "seed: 1\n")) != values(sweeps.scan(text))
    assert values(sweeps.scan(text.replace("3", "5")))[:3] == values(sweeps.scan(text))


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ("", ["a_1", "a_2", "b_1", "b_2"]),
        ("zip: [[x, y]]", ["a_1", "b_2"]),
        ("zip: [x, y]", ["a_1", "b_2"]),
        ("exclude: [{x: a, y: 2}]", ["a_1", "b_1", "b_2"]),
        ("include: [{x: a}, {y: [2]}]", ["a_1", "a_2", "b_2"]),
        ("exceptions: {x: {b: {y: [1]}}}", ["a_1", "a_2", "b_1"]),
        ("layout: underscore", ["sw_a_1", "sw_a_2", "sw_b_1", "sw_b_2"]),
    ],
)
def test_rules(sweeps: Sweeps, rules: str, found: list[str]) -> None:
    layout = "" if "layout" in rules else 'layout: "{x}/{y}"\n'
    assert names(sweeps.scan(f"command: echo\n{layout}variables: {{x: [a, b], y: [1, 2]}}\n{rules}\n")) == found


def test_folders_keep_values_apart_and_below_the_output(sweeps: Sweeps) -> None:
    found = sweeps.scan("command: echo\nvariables: {x: [a/b, a b, .., '', ünï]}\n")
    folders = [os.path.relpath(job.draft.output_dir or "", sweeps.root / "out") for job in found.jobs]
    assert len(set(folders)) == 5
    assert all(folder.count("/") == 1 and folder.startswith("sw/") for folder in folders)
    assert folders[4] == "sw/ünï"


def test_the_order_of_the_variables_is_no_part_of_the_identity(sweeps: Sweeps) -> None:
    one = sweeps.scan("command: echo\nvariables: {x: [1], y: [2]}\n").jobs[0].draft.key
    assert sweeps.scan("command: echo\nvariables: {y: [2.0], x: [1]}\n").jobs[0].draft.key == one


def test_the_size_is_bounded(sweeps: Sweeps) -> None:
    text = "command: echo\nvariables: {x: {from: 1, to: 100}, y: {from: 1, to: 100}}\nexclude: [{x: 1}]\n"
    assert sweeps.problems(text) == ["2:1: stands for 9900 jobs [--max 9900 allows so many]"]
    assert len(sweeps.scan(text, most=9900).jobs) == 9900
    huge = "command: echo\nvariables: {x: {from: 1, to: 90000}, y: {from: 1, to: 90000}}\n"
    assert sweeps.problems(huge)[0].startswith("2:1: stands for 8100000000 combinations: too many")
    wide = "command: echo\nvariables: {x: {from: 1, to: 10000}}\nexclude: [" + "{x: 1}, " * 3000 + "]\n"
    assert sweeps.problems(wide)[0].startswith("2:1: stands for 10000 combinations under 3000 rules")


# Configs --------------------------------------------------------------------------------------------------------------

BASE = (
    "# mine\nmodel: {width: 8}   # wide\ntraining:\n  lr: 0.1\n  decay:\nroot_dir: out\ntag: on\nrfsched: {gpus: 0}\n"
)


def config_sweep(sweeps: Sweeps, variables: str, base: str = BASE) -> SweepJob:
    (sweeps.root / "base.yml").write_text(base)
    return sweeps.scan(f"config: base.yml\nvariables: {variables}\n", command="run {config} {name}").jobs[0]


def test_a_config_keeps_its_text_but_for_the_variables(sweeps: Sweeps) -> None:
    job = config_sweep(sweeps, "{model.width: [16], training.lr: [1e-5], training.decay: ['1']}")
    folder = job.draft.output_dir
    assert job.config == (
        '# mine\nmodel: {width: 16}   # wide\ntraining:\n  lr: 1.0e-05\n  decay: "1"\n'
        f"root_dir: {folder}\ntag: on\nrfsched: {{gpus: 0}}\n"
    )
    assert job.draft.argv == ("run", f"{folder}/config.yml", "sw_16_1e-5_1")
    assert (job.draft.request.gpus, job.draft.marker) == (0, f"{folder}/config_completed.txt")
    make_folders([job])
    make_folders([job])
    assert Path(f"{folder}/config.yml").read_text() == job.config


def test_a_command_of_the_base_config_counts_before_that_of_the_workspace(sweeps: Sweeps) -> None:
    job = config_sweep(sweeps, "{a: [1]}", base="a: 0\nrfsched: {command: 'own {config}', gpus: 2}\n")
    assert job.draft.argv == ("own", job.draft.config_path)
    assert job.draft.request.gpus == 2


def test_a_base_config_with_problems_is_told(sweeps: Sweeps) -> None:
    (sweeps.root / "base.yml").write_text("rfsched: {gpu: 1}\n")
    (said,) = sweeps.problems("config: base.yml\nvariables: {x: [1]}\n")
    assert said.startswith("1:11: unknown key `rfsched.gpu`")
    (sweeps.root / "base.yml").write_text("x: {y: 1}\n")
    (said,) = sweeps.problems("config: base.yml\nvariables: {x: [1], x.y: [2]}\n")
    assert said.startswith("2:1: x.y is part of another variable")


def test_a_key_that_the_base_has_not_is_told(sweeps: Sweeps) -> None:
    (sweeps.root / "base.yml").write_text("learning_rate: 1\n")
    found = sweeps.scan("config: base.yml\nvariables: {learnign_rate: [1]}\n", command="run {config}")
    (warning,) = found.warnings
    assert warning.endswith("base.yml has no learnign_rate: it is added; did you mean `learning_rate`?")


def test_a_file_is_the_same_by_any_link(sweeps: Sweeps, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = sweeps.scan("command: echo\nvariables: {x: [1]}\n").prefix
    link = tmp_path_factory.mktemp("links") / "ws"
    link.symlink_to(sweeps.root)
    assert (key, key_prefix(str(link / "sw.yml"), sweeps.paths)) == ("sw.yml#", "sw.yml#")


@pytest.mark.parametrize(
    ("base", "name", "result"),
    [
        ("a: 1\n", "b", "b: 5\na: 1\n"),
        ("a: 1\n", "b.c", "b: {c: 5}\na: 1\n"),
        ("a:\n", "a.b.c", "a: {b: {c: 5}}\n"),
        ("a: {}\n", "a.b", "a: {b: 5}\n"),
        ("a:\n  x: 1\n  y: |\n    t\n", "a.b", "a:\n  b: 5\n  x: 1\n  y: |\n    t\n"),
        ("a:\n  b: 1\n  c: 2\n", "a", "a: 5\n"),
        ("a.b: 1\n", "a.b", "a.b: 5\n"),
        ("d: &d {x: 1}\na: *d\n", "a", "d: &d {x: 1}\na: 5\n"),
        ("d: &d {x: 1}\na: {<<: *d}\n", "a.x", "d: &d {x: 1}\na: {<<: *d, x: 5}\n"),
        ("", "a", "\na: 5\n"),
    ],
)
def test_places_in_a_config(base: str, name: str, result: str) -> None:
    assert Overlay(base, "base.yml", [name]).lay({name: 5}) == result


@pytest.mark.parametrize(
    ("base", "name"), [("a: 1\n", "a.b"), ("a: [1]\n", "a.b"), ("d: &d {x: 1}\na: *d\n", "a.x"), ("[1]\n", "a")]
)
def test_where_there_is_no_place_it_is_said(base: str, name: str) -> None:
    with pytest.raises(ConfigError, match="no place for"):
        Overlay(base, "base.yml", [name])


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


@given(VALUES)
@example("1e-3")
@example("on")
@example("---")
def test_what_is_spelt_is_read_back(value: Any) -> None:
    root = yaml_tree.parse(f"a: {spelling(value)}\n", "f.yml").root
    assert root is not None
    assert canonical(root.value()) == canonical({"a": value})


# Problems -------------------------------------------------------------------------------------------------------------

OK = "command: echo {x}\nvariables: {x: [1, 2], y: [a, b, c]}\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["None:None: is no sweep: expected lines of `key: value` [such as"]),
        ("variables: {x: [1]}\n", ["1:1: there is no `command:` and no `config:`"]),
        ("command: echo\n", ["1:1: there are no variables"]),
        ("command: echo\nvariables: {}\n", ["2:12: there are no variables"]),
        ("command: echo {z}\nvariables: {xx: [1]}\n", ["1:10: there is no variable `z` for {z} [there is xx, xx.nick"]),
        (
            "command: echo {ab}\nvariables: {abc: [1]}\n",
            ["1:10: there is no variable `ab` for {ab} [did you mean `abc`?]"],
        ),
        ("command: echo {config}\nvariables: {x: [1]}\n", ["1:10: {config} stands for nothing here: the sweep has no"]),
        (OK + "name: '{z}'\n", ["3:7: there is no variable `z`"]),
        (OK + "layout: ../{x}\n", ["3:9: layout: expected folders below output_dir"]),
        (OK + "nmae: x\n", ["3:1: unknown key `nmae` [did you mean `name`?]"]),
        (OK + "seed: soon\n", ["3:7: seed: expected"]),
        (OK + "command: again\n", ["3:1: command is there twice; first in line 1"]),
        (OK + "rfsched: {gpu: 1}\n", ["3:11: unknown key `rfsched.gpu` [did you mean `gpus`?]"]),
        (OK + "rfsched: {command: x}\n", ["3:10: the command of a sweep stands at the top"]),
        (OK + "zip: [[x, y]]\n", ["3:7: zip: the variables have unequal numbers of values: x has 2, y has 3"]),
        (OK + "zip: [[x, z]]\n", ["3:11: there is no variable `z`"]),
        (OK + "zip: [[x, x]]\n", ["3:7: zip: x is named twice"]),
        (OK + "exceptions: {y: {d: {x: [1]}}}\n", ["3:18: y has no value 'd' [there is a, b, c]"]),
        (OK + "exceptions: {y: {a: {x: [3]}}}\n", ["3:26: x has no value '3'"]),
        (OK + "exceptions: {y: {a: {y: [a]}}}\n", ["3:22: exceptions: y cannot be an exception to itself"]),
        (OK + "exceptions: {y: [a]}\n", ["3:17: exceptions.y: expected lines of `key: value` under it"]),
        (OK + "exclude: [{x: 4}]\n", ["3:15: x has no value '4'"]),
        (OK + "include: [3]\n", ["3:11: include: expected part of a combination"]),
        (OK + "exclude: [{x: [1, 2]}]\n", ["2:1: no combination is left"]),
        (OK + "name: same\n", ["3:1: {x: 1, y: a} and {x: 1, y: b} would have the same name, same"]),
        (OK + 'layout: "{x}"\n', ["3:1: {x: 1, y: a} and {x: 1, y: b} would have the same folder"]),
        ("command: echo\nvariables: {x: []}\n", ["2:16: x has no values"]),
        ("command: echo\nvariables: {x: }\n", ["2:16: x has no values"]),
        ("command: echo\nvariables: {x: 3}\n", ["2:16: x: expected a list such as"]),
        ("command: echo\nvariables: {x: [1, 2, 1.0]}\n", ["2:23: x has the value 1.0 twice; first in line 2"]),
        ("command: echo\nvariables: {x: [{nick: a}]}\n", ["2:17: x: there is no `value` here"]),
        ("command: echo\nvariables: {x: [{value: a, nick: ''}]}\n", ["2:34: x: a nick is a word"]),
        ("command: echo\nvariables: {x: [.nan]}\n", ["2:17: expected a number that is finite"]),
        ("command: echo\nvariables: {x: [!y 1]}\n", ["2:17: the tag !y means nothing here"]),
        ("command: echo\nvariables: {1x: [1]}\n", ["2:13: '1x' cannot be a variable"]),
        ("command: echo\nvariables: {config: [1]}\n", ["2:13: {config} means something else already"]),
        ("command: echo\nvariables: {x: {log: [1, 2]}}\n", ["2:16: x: `log` needs `count` beside it"]),
        ("command: echo\nvariables: {x: {log: [0, 1], count: 2}}\n", ["2:22: x.log: both ends must be above 0"]),
        ("command: echo\nvariables: {x: {linear: [1], count: 2}}\n", ["2:25: x.linear: expected the two ends"]),
        ("command: echo\nvariables: {x: {linear: [1, b], count: 2}}\n", ["2:29: x.linear: expected a number, got 'b'"]),
        ("command: echo\nvariables: {x: {linear: [1, 1], count: 2}}\n", ["2:25: x.linear: both ends are 1"]),
        ("command: echo\nvariables: {x: {linear: [1, 2], count: 0}}\n", ["2:40: x.count: expected a whole number"]),
        ("command: echo\nvariables: {x: {from: 1, to: 0}}\n", ["2:23: x has no values: steps of 1 do not lead"]),
        (
            "command: echo\nvariables: {x: {from: 1, to: 3, step: 0}}\n",
            ["2:39: x.step: expected another number than 0"],
        ),
        ("command: echo\nvariables: {x: {from: 1, to: 1e9}}\n", ["2:23: x has 1000000000 values; 100000 are the most"]),
        ("command: echo\nvariables: {x: {choice: [a], samples: 2}}\n", ["2:39: x.samples: 2 of 1 values cannot be"]),
        ("command: echo\nvariables: {x: {form: 1}}\n", ["2:16: x: expected a list such as"]),
        ("config: base.yml\nvariables: {x: [1]}\n", ["1:1: config:"]),
    ],
)
def test_each_problem_has_its_place_and_its_way_out(sweeps: Sweeps, text: str, problems: list[str]) -> None:
    found = sweeps.problems(text)
    assert len(found) == len(problems), found
    for said, expected in zip(found, problems, strict=True):
        assert said.startswith(expected), said


def test_all_problems_are_told_at_once_in_the_order_of_the_text(sweeps: Sweeps) -> None:
    text = "command: echo {q}\nvariables: {x: [1, 1], y: [2]}\nexceptions: {y: {3: {x: [1]}}}\n"
    text += "rfsched: {gpus: -1}\nzip: 3\n"
    assert [said.partition(":")[0] for said in sweeps.problems(text)] == ["1", "2", "3", "4", "5"]


WORDS = """variables: command: config: name: layout: zip: exceptions: include: exclude: seed: rfsched: x: y: {x}
    {y.nick} from to: step: log: linear: uniform: loguniform: choice: samples: count: value: nick: [ ] { } , - & * 1
    1e-5 .inf a ' " | ~ !t <<: echo"""
PIECES = st.sampled_from([*WORDS.split(), "\n", "\n  ", "\n    ", ": ", " "])


@given(st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join) | st.text())
@example("command: a\nvariables: {x: &a [*a]}")
@example("command: a\nvariables: {x: [{value: {[]: 1}}]}")
@example("command: a\nvariables: {x: [1]}\nexceptions: {x: {[]: 1}}\nzip: [[]]\ninclude: [{[1]: 2}]")
def test_no_text_brings_down_the_reader(text: str) -> None:
    with suppress(ConfigError):
        sweep_file.read(text.encode("utf-8", "surrogatepass"), "f.yml")


ENDS = st.lists(st.integers(-3, 3) | st.sampled_from([1e-300, 1e300, 0.1, "a", 10**299]), min_size=1, max_size=3)
SMALL = st.integers(-1, 4) | st.sampled_from([0.5, 1e300, 1e-300, "x", None])
FORMED = st.one_of(
    st.fixed_dictionaries({"from": SMALL, "to": SMALL}, optional={"step": SMALL}),
    *(st.fixed_dictionaries({form: ENDS, "count": SMALL}) for form in ("linear", "log")),
    *(st.fixed_dictionaries({form: ENDS, "samples": SMALL}) for form in ("uniform", "loguniform", "choice")),
)
NAMES = st.sampled_from(["x", "y", "training.lr", "training", "a.b"])
ITEM = VALUES | st.fixed_dictionaries({"value": VALUES}, optional={"nick": st.text(max_size=3)})
VARIABLES = st.dictionaries(NAMES, FORMED | st.lists(ITEM, max_size=3), max_size=3)
PATTERNS = st.lists(st.dictionaries(NAMES, SMALL | st.lists(SMALL)), max_size=2)
FILES = st.fixed_dictionaries(
    {"variables": VARIABLES},
    optional={
        "command": st.sampled_from(["echo {x}", "echo '{y.nick}' | cat", "a 'b", "{config}", "{folder}"]),
        "config": st.sampled_from(["base.yml", "none.yml", "."]),
        "name": st.sampled_from(["{x}", "{sweep}_{y}", " "]),
        "layout": st.sampled_from(["underscore", "{x}/{y}", "/", "{training.lr}"]),
        "zip": st.lists(st.lists(NAMES, max_size=2), max_size=2) | st.lists(NAMES),
        "exceptions": st.dictionaries(NAMES, st.dictionaries(st.text(max_size=2), st.dictionaries(NAMES, PATTERNS))),
        "include": PATTERNS,
        "exclude": PATTERNS,
        "seed": st.integers(0, 3),
    },
)


@given(FILES)
def test_a_file_is_jobs_that_differ_or_problems(tmp_path_factory: pytest.TempPathFactory, made: dict[str, Any]) -> None:
    sweeps = Sweeps(tmp_path_factory.getbasetemp())
    (sweeps.root / "base.yml").write_text("x: 1 # one\ntraining: {lr: 2}\na:\n")
    with suppress(ConfigError):
        jobs = sweeps.scan(json.dumps(made), command="run {config}").jobs
        assert jobs
        assert len({job.draft.key for job in jobs}) == len({job.draft.output_dir for job in jobs}) == len(jobs)
        for job in jobs if "config" in made else ():
            assert job.config is not None
            root = yaml_tree.parse(job.config, "config.yml").root
            assert root is not None
            read = root.value()
            for name, value in job.values.items():
                inner = read
                for part in name.split("."):
                    inner = inner[part]
                assert canonical(inner) == canonical(value)


# A set of variables made in Python ------------------------------------------------------------------------------------


VALUES_OF = st.lists(
    st.sampled_from([1, 2, "x", "y z", "1e-3", True, 0.5]), min_size=1, max_size=3, unique_by=canonical
)


@settings(max_examples=30, deadline=None)
@given(first=VALUES_OF, second=VALUES_OF, third=VALUES_OF, zipped=st.booleans(), allowed=st.integers(0, 3))
def test_a_set_of_variables_and_its_file_are_the_same_combinations(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[Any],
    second: list[Any],
    third: list[Any],
    zipped: bool,
    allowed: int,
) -> None:
    variables = VariableSet()
    variables.add_variable("a", first, nicknames=[f"n{place}" for place in range(len(first))])
    variables.add_variable("b", second, exceptions={first[0]: second[:allowed]})
    if zipped and len(second) == len(third):
        variables.add_variable("c", third, interaction="zip")
    else:
        variables.add_variable("c", third)
    wanted = [{name: choice.value for name, choice in found.items()} for found in variables]
    if not wanted:
        return
    nicks = {canonical(first[place]): f"n{place}" for place in range(len(first))}
    assert all(found.get_nickname("a") == nicks[canonical(found.get_value("a"))] for found in variables)
    sweeps = Sweeps(tmp_path_factory.getbasetemp())
    text = json.dumps(variables.sweep_file("run {a} {b} {c}", layout="{a}/{b}/{c}"))
    jobs = sweeps.scan(text).jobs
    assert [job.values for job in jobs] == wanted
    assert [job.draft.labels["a"] for job in jobs] == [found.get_nickname("a") for found in variables]
