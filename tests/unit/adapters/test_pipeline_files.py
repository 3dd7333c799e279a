"""Pipeline files: which jobs they stand for, who needs whom, and every problem at its place."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from researchflow_tmux.adapters.sources.pipelines import file as pipeline_file
from researchflow_tmux.adapters.sources.pipelines.due import verdicts
from researchflow_tmux.adapters.sources.pipelines.scan import PipelineJob, PipelineScan, scan
from researchflow_tmux.domain.errors import ConfigError
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.pipelines import circles
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from researchflow_tmux.runner import freshness
from tests.unit.engine.samples import NOW


class Pipelines:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))

    def scan(self, text: str, most: int = 100, name: str = "p.yml", **settings: Any) -> PipelineScan:
        path = self.root / name
        path.write_text(text)
        return scan(str(path), self.paths, Settings(task_name="t", **settings), os.environ, most)

    def problems(self, text: str, **more: Any) -> list[str]:
        """`line:column: message [hint]` of each problem."""
        with pytest.raises(ConfigError) as caught:
            self.scan(text, **more)
        return [f"{p.line}:{p.column}: {p.message}" + (f" [{p.hint}]" if p.hint else "") for p in caught.value.problems]


@pytest.fixture
def pipelines(tmp_path: Path) -> Pipelines:
    return Pipelines(tmp_path)


def by_name(found: PipelineScan) -> dict[str, PipelineJob]:
    return {job.draft.name: job for job in found.jobs}


def needs(found: PipelineScan) -> dict[str, tuple[str, ...]]:
    return {job.draft.name: job.draft.after for job in found.jobs}


# What a file stands for -----------------------------------------------------------------------------------------------


def test_a_job_says_everything(pipelines: Pipelines) -> None:
    found = pipelines.scan(
        "name: exp\n"
        "variables: {data: d.csv}\n"
        "defaults: {gpus: 0, priority: 1, env: {A: a, B: b}, workdir: here}\n"
        "jobs:\n"
        "  prep: {argv: [make, '{data}', '{job}', '{pipeline}', '{name}']}\n"
        "  train:\n"
        "    needs: prep\n"
        "    when: always\n"
        "    matrix: {model: [{value: org/bert base, nick: bert}]}\n"
        "    command: train {model} {model.nick} --on {data}\n"
        "    inputs: ['{data}', 'x/{model}/*.txt']\n"
        "    outputs: 'out/{model.nick}.pt'\n"
        "    gpus: 2\n"
        "    workdir: runs/{model.nick}\n"
        "    rfsched: {time_limit: 2h, retries: 1, env: {B: '{model.nick}'}}\n"
    )
    prep, train = found.jobs
    assert prep.draft.argv == ("make", "d.csv", "prep", "exp", "exp_prep")
    assert (prep.draft.request.gpus, prep.draft.priority, prep.draft.env) == (0, 1, {"A": "a", "B": "b"})
    assert (prep.draft.workdir, prep.draft.key) == (str(pipelines.root / "here"), "p.yml#prep")
    draft = train.draft
    assert draft.argv == ("train", "org/bert base", "bert", "--on", "d.csv")
    assert (draft.name, draft.key) == ("exp_train_bert", 'p.yml#train{"model":"org/bert base"}')
    assert (draft.group, draft.labels) == ("exp", {"job": "train", "model": "bert"})
    assert (draft.after, draft.when, train.needs) == (("exp_prep",), "always", ("p.yml#prep",))
    assert (draft.request.gpus, draft.request.time_limit_s, draft.retries, draft.priority) == (2, 7200.0, 1, 1)
    assert draft.env == {"A": "a", "B": "bert"}
    assert draft.workdir == str(pipelines.root / "runs" / "bert")
    files, above = draft.files, prep.draft.files
    assert files is not None
    assert above is not None
    assert (files.inputs, files.outputs) == (("d.csv", "x/org/bert base/*.txt"), ("out/bert.pt",))
    assert files.upstream == (above.note,)
    assert (files.force, above.force) == (True, False), "what runs however its needs end is never up to date"
    assert files.note != above.note
    assert os.path.dirname(files.note) == str(pipelines.root / ".rfsched" / "made")


def test_a_value_is_no_pattern(pipelines: Pipelines) -> None:
    (job,) = pipelines.scan("jobs: {a: {command: x, matrix: {v: ['a[1]*']}, inputs: 'in/{v}/*.txt'}}").jobs
    assert job.draft.files is not None
    assert job.draft.files.inputs == ("in/a[[]1][*]/*.txt",)


def test_a_config_is_an_input_and_says_what_it_asks_for(pipelines: Pipelines) -> None:
    (pipelines.root / "c.yml").write_text("lr: 1\nroot_dir: mine\nrfsched: {gpus: 3, priority: 4, after: [x]}\n")
    found = pipelines.scan(
        "defaults: {gpus: 0, priority: 1, retries: 2}\n"
        "jobs: {a: {config: c.yml, command: 'run {config} {output_dir}', priority: 9, completion: marker}}"
    )
    draft = found.jobs[0].draft
    path, mine = str(pipelines.root / "c.yml"), str(pipelines.root / "mine")
    assert draft.argv == ("run", path, mine)
    assert (draft.request.gpus, draft.priority, draft.retries, draft.after) == (3, 9, 2, ("x",))
    assert (draft.config_path, draft.output_dir, draft.marker) == (path, mine, f"{mine}/p_a_completed.txt")
    assert draft.files is not None
    assert draft.files.inputs == ("c.yml",)


PAIRS = """\
jobs:
  train: {command: t, matrix: {model: [x, y], seed: [0, 1]}}
  same: {command: s, needs: [train], matrix: {seed: [0, 1], model: [x, y]}}
  per_model: {command: m, needs: [train], matrix: {model: [x, y]}}
  other: {command: o, needs: [train], matrix: {k: [1]}}
  every: {command: e, needs: {train: all}, matrix: {model: [x]}}
  one: {command: e, needs: {same: paired, train: all}}
"""


def test_instances_pair_up_by_the_variables_that_both_have(pipelines: Pipelines) -> None:
    found = needs(pipelines.scan(PAIRS))
    train = tuple(f"p_train_{model}_{seed}" for model in "xy" for seed in "01")
    assert found["p_same_0_y"] == ("p_train_y_0",)
    assert found["p_per_model_y"] == ("p_train_y_0", "p_train_y_1")
    assert found["p_other_1"] == found["p_every_x"] == train
    assert found["p_one"] == ("p_same_0_x", "p_same_0_y", "p_same_1_x", "p_same_1_y", *train)


def test_jobs_come_after_what_they_need(pipelines: Pipelines) -> None:
    found = pipelines.scan("jobs: {c: {command: c, needs: [b]}, b: {command: b, needs: [a]}, a: {command: a}}")
    assert [job.job for job in found.jobs] == ["a", "b", "c"]


def test_what_is_digested_is_what_the_user_wrote(pipelines: Pipelines) -> None:
    text = "jobs: {a: {command: '{python} x {v}', matrix: {v: [1]}, outputs: o, env: {E: e}, gpus: 0}}"

    def definition(text: str, **settings: Any) -> str:
        files = pipelines.scan(text, **settings).jobs[0].draft.files
        assert files is not None
        return files.definition

    same = [definition(text), definition(text.replace("gpus: 0", "gpus: 2")), definition(text, output_dir="elsewhere")]
    assert len(set(same)) == 1, "where and on what it runs makes no other job of it"
    assert definition(text, python_env="/usr/bin/python3") == same[0]
    changes = {" x ": " y ", "{v} ": "", "[1]": "[2]", "outputs: o": "outputs: p", "E: e": "E: f", "a: {": "b: {"}
    assert len({definition(text.replace(old, new)) for old, new in changes.items()} - set(same)) >= 4


# What is to be done ---------------------------------------------------------------------------------------------------


CHAIN = "jobs: {a: {command: a, outputs: o}, b: {command: b, needs: [a]}, c: {command: c, needs: [b]}, d: {command: d}}"


def known(found: PipelineScan, states: dict[str, JobState]) -> dict[str, Job]:
    jobs = {}
    for number, job in enumerate(found.jobs, 1):
        if job.job in states:
            spec = job.draft.to_spec("e")
            jobs[spec.key] = Job(id=number, spec=spec, slug=job.job, state=states[job.job], queued_at=NOW)
    return jobs


def made(found: PipelineScan, root: Path) -> None:
    """Every job has succeeded, by its notes."""
    (root / "o").write_text("")
    for job in found.jobs:
        files = job.draft.files
        assert files is not None
        rule = freshness.Rule(cwd=str(root), definition=files.definition, note=files.note, inputs=list(files.inputs),
                              outputs=list(files.outputs), upstream=list(files.upstream))  # fmt: skip
        freshness.save(rule, freshness.Seen(rule))


S, F, C, K, Q = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.SKIPPED, JobState.QUEUED


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, {"a": "new", "b": "new", "c": "new", "d": "new"}),
        (dict.fromkeys("abcd", S), {}),
        ({"a": S, "b": F, "c": K, "d": S}, {"b": "failed", "c": "p_b runs"}),
        ({"a": S, "b": C, "c": K, "d": S}, {"b": "cancelled", "c": "p_b runs"}),
        ({"a": S, "b": S, "d": S}, {"c": "new"}),
        ({"a": Q, "b": Q, "c": Q, "d": F}, {"d": "failed"}),
        ({"a": JobState.ACTIVE, "b": K, "c": JobState.HELD, "d": S}, {}),
    ],
)
def test_what_runs_again(pipelines: Pipelines, states: dict[str, JobState], expected: dict[str, str]) -> None:
    found = pipelines.scan(CHAIN)
    made(found, pipelines.root)
    what = verdicts(found.jobs, known(found, states))
    assert {key.partition("#")[2]: verdict.why for key, verdict in what.items() if verdict.run} == expected


def test_what_is_out_of_date_takes_along_what_needs_it(pipelines: Pipelines) -> None:
    found = pipelines.scan(CHAIN)
    made(found, pipelines.root)
    all_good = known(found, dict.fromkeys("abcd", S))
    (pipelines.root / "o").unlink()
    what = verdicts(found.jobs, all_good)
    assert [verdict.why for verdict in what.values()] == ["o is missing", "p_a runs", "p_b runs", "up to date"]
    (pipelines.root / "o").write_text("")
    changed = pipelines.scan(CHAIN.replace("command: b", "command: x"))
    assert [verdict.run for verdict in verdicts(changed.jobs, all_good).values()] == [False, True, True, False]
    forced = verdicts(found.jobs, all_good, force={"p.yml#d"})
    assert [verdict.run for verdict in forced.values()] == [False, False, False, True]


def test_an_alarm_that_failed_and_has_nothing_to_tell_is_left_alone(pipelines: Pipelines) -> None:
    found = pipelines.scan("jobs: {a: {command: a}, alarm: {command: x, needs: [a], when: failure}}")
    made(found, pipelines.root)
    for state in (F, C, K):
        what = verdicts(found.jobs, known(found, {"a": S, "alarm": state}), force={"p.yml#alarm"})
        assert [verdict.run for verdict in what.values()] == [False, False]


def test_who_reads_what_another_writes_should_wait_for_it(pipelines: Pipelines) -> None:
    text = "jobs: {a: {command: a, outputs: o}, b: {command: b, needs: [a]}, c: {command: c, inputs: o, needs: [b]}}"
    assert pipelines.scan(text).warnings == ()
    (said,) = pipelines.scan(text.replace(", needs: [b]", "")).warnings
    assert said == "c reads what a writes (o), and does not need it: `needs: [a]`"


def test_a_function_that_verifies_is_told_the_values(pipelines: Pipelines) -> None:
    text = "jobs: {a: {command: a, matrix: {v: [1]}, verify: 'checks:good'}}"
    assert pipelines.scan(text).jobs[0].draft.variables == {"v": 1}
    assert pipelines.scan(text.replace("checks:good", "test -e o")).jobs[0].draft.variables == {}


# Problems -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no pipeline: expected lines of `key: value`"),
        ("job: {}", "unknown key `job` [did you mean `jobs`?]|there are no jobs"),
        ("jobs: {}", "there are no jobs"),
        ("jobs: {a: x}", "1:11: a: expected what the job is"),
        ("jobs: {a b: {command: x}}", "1:8: 'a b' cannot be the name of a job"),
        ("jobs: {a: {needs: []}}", "a: there is no `command:`, `argv:` or `config:`"),
        ("jobs: {a: {command: x, comand: y}}", "unknown key `a.comand` [did you mean `command`?]"),
        ("jobs: {a: {command: x, argv: [y]}}", "a: `argv` does not go together with `command`"),
        ("jobs: {a: {argv: []}}", "a.argv: the list is empty"),
        ("jobs: {a: {argv: [[1]]}}", "a.argv: every item of the list must be a simple value"),
        ("jobs: {a: {command: x, gpus: -1}}", "a.gpus: expected a whole number of at least 0, got -1"),
        ("jobs: {a: {command: x, gpus: 1, rfsched: {gpus: 2}}}", "`a.gpus` is there twice"),
        ("jobs: {a: {command: x, rfsched: {after: [b]}}}", "`after` does not go under `rfsched:` here [the"),
        ("jobs: {a: {command: x, when: never}}", "a.when: expected one of `always`, `failure`, `success`, got 'never'"),
        ("jobs: {a: {command: x, when: failure}}", "there is no `needs:`"),
        ("jobs: {a: {command: x, when: failure, needs: []}}", "there is no `needs:`"),
        ("jobs: {a: {argv: [x], config: y}}", "`argv` does not go together with `config`"),
        ("jobs: {a: {command: '{mdel}', matrix: {model: [1]}}}",
         "no variable `mdel` for {mdel} [did you mean `model`?]"),
        ("jobs: {a: {command: x, outputs: ['{y}']}}", "there is no variable `y`"),
        ("jobs: {a: {command: '{config}'}}", "{config} stands for nothing here: the job has no `config:`"),
        ("jobs: {a: {command: x, inputs: ['', 3, 3]}}", "expected a path or a pattern, got nothing|3 is named twice"),
        ("jobs: {a: {command: x, matrix: {}}}", "a.matrix: there are no variables"),
        ("jobs: {a: {command: x, matrix: {name: [1]}}}", "{name} means something else already"),
        ("variables: {v: 1}\njobs: {a: {command: x, matrix: {v: [1]}}}", "2:33: v is a variable of the pipeline"),
        ("variables: {v: [1, 2]}\njobs: {a: {command: x}}", "variables.v: expected one simple value"),
        ("jobs: {a: {command: x, matrix: {v: [1], exclude: [{v: 1}]}}}", "no combination of its matrix is left"),
        ("jobs: {a: {command: x, matrix: {v: [1], exclude: [{w: 1}]}}}", "there is no variable `w`"),
        ("jobs: {a: {command: x, needs: [b]}}", "1:32: a needs 'b', and there is no job of that name [there is a]"),
        ("jobs: {train: {command: x}, e: {command: x, needs: [trian]}}", "[did you mean `train`?]"),
        ("jobs: {a: {command: x, needs: {b: some}}, b: {command: y}}", "a.needs.b: expected `all` or `paired`"),
        ("jobs: {a: {command: x, needs: [a]}}", "1:32: a job needs itself: a → a"),
        ("jobs: {a: {command: x, needs: [b]}, b: {command: x, needs: [c]}, c: {command: x, needs: [a]}}",
         "1:32: jobs need each other in a circle: a → b → c → a"),
        ("jobs: {a: {command: x, outputs: o}, b: {command: y, outputs: o}}", "p_a and p_b would both write"),
        ("jobs: {a: {command: x, matrix: {v: [1, 2]}, outputs: o}}", "would both write|name the variables of the"),
        ("jobs: {a: {command: x, matrix: {v: [a/b, a_b]}}}", "two jobs would be called p_a_a_b"),
        ("jobs: {a: {command: x, matrix: {v: [1, 2]}}, b: {command: y, needs: [a], matrix: {v: [2, 3]}}}",
         "p_b_3 needs a, and none of those has the same v (3) [`needs: {a: all}` waits for all of them]"),
        ("jobs: {a: {config: nowhere.yml}}", "nowhere.yml cannot be read: No such file or directory"),
        ("jobs: {a: {command: x, matrix: {v: {from: 1, to: 999}}}}", "999 jobs in all [--max 999 allows so many]"),
        ("name: a b\njobs: {a: {command: x}}", "1:7: name: expected one word"),
        ("defaults: {command: x}\njobs: {a: {command: x}}", "unknown key `defaults.command`"),
        ("jobs: {a: {command: 'say \"to {v} now\" | cat', matrix: {v: ['b c']}}}", "brings quotes of its own"),
    ],
)  # fmt: skip
def test_problems(pipelines: Pipelines, text: str, said: str) -> None:
    told = "\n".join(pipelines.problems(text))
    for part in said.split("|"):
        assert part in told


def test_all_at_once_in_the_order_of_the_file(pipelines: Pipelines) -> None:
    told = pipelines.problems(
        "jobs:\n"
        "  a: {command: x, needs: [b, nobody]}\n"
        "  b: {command: x, needs: [a], gpus: many}\n"
        "  c: {command: x, needs: [d]}\n"
        "  d: {needs: [c]}\n"
    )
    assert [line.split(":")[0] for line in told] == ["2", "2", "3", "4", "5"]
    assert sum("circle" in line for line in told) == 2


# Anything -------------------------------------------------------------------------------------------------------------


WORDS = ["jobs", "a", "b", "needs", "when", "failure", "matrix", "inputs", "outputs", "argv", "command", "config",
         "variables", "defaults", "name", "rfsched", "gpus", "exclude", "all", "{a}", "[", "]", "{", "}", ": ", ", ",
         "\n", "  ", "- ", "&x", "*x", "<<", "'", "1", "~"]  # fmt: skip
PIECES = st.sampled_from(WORDS)


@given(st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join) | st.text())
@example("jobs: &a {a: {command: x, needs: *a}}")
@example("jobs: {a: {command: x, needs: {[]: all}}}")
@example("jobs: {a: {<<: {command: x, when: failure}, needs: [b]}, b: {command: y}}")
@example("jobs: {a: {<<: {when: failure}, command: x}}")
@example("jobs: {? [a] : {command: x}}")
def test_no_text_brings_down_the_reader(text: str) -> None:
    with suppress(ConfigError):
        pipeline_file.read(text.encode("utf-8", "surrogatepass"), "f.yml")


NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUE = st.sampled_from([0, 1, "x", "y/z", "*", "{a}", "é", [1, 2], None])
MATRIX = st.dictionaries(st.sampled_from(["u", "v", "w"]), st.lists(VALUE, max_size=3), max_size=2)
ONE_JOB = st.fixed_dictionaries(
    {"command": st.sampled_from(["run {u} {job}", "run {v}", "run", "run {name} | cat"])},
    optional={
        "needs": st.lists(NAMES, max_size=2) | st.dictionaries(NAMES, st.sampled_from(["all", "paired"]), max_size=2),
        "when": st.sampled_from(["success", "failure", "always"]),
        "matrix": MATRIX,
        "inputs": st.lists(st.sampled_from(["in/*", "{u}", "{name}"]), max_size=2),
        "outputs": st.lists(st.sampled_from(["out/{name}", "{v}"]), max_size=2),
        "gpus": st.integers(-1, 2),
    },
)
FILES = st.fixed_dictionaries({"jobs": st.dictionaries(NAMES, ONE_JOB, max_size=4)})


@given(FILES)
@example({"jobs": {"a": {"command": "run", "needs": {}, "when": "failure"}}})
@example({"jobs": {"a": {"command": "run", "needs": [], "when": "failure"}}})
def test_a_file_is_jobs_that_fit_together_or_problems(
    tmp_path_factory: pytest.TempPathFactory, written: dict[str, Any]
) -> None:
    pipelines = Pipelines(tmp_path_factory.getbasetemp())
    with suppress(ConfigError):
        jobs = pipelines.scan(json.dumps(written)).jobs
        names = [job.draft.name for job in jobs]
        assert len({job.draft.key for job in jobs}) == len(set(names)) == len(names) > 0
        graph = {job.draft.name: job.draft.after for job in jobs}
        assert circles(graph) == []
        assert all(set(after) <= set(names[: names.index(name)]) for name, after in graph.items()), "after its needs"
        assert all(bool(job.draft.after) or job.draft.when == "success" for job in jobs)
