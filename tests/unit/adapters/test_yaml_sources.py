"""Sweeps and pipelines in job_dir: told apart, read when they change, and what becomes of jobs that are gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from researchflow_tmux.adapters.sources.pipeline_files import PipelineFiles
from researchflow_tmux.adapters.sources.port import JobSource, Reading, SourceContext
from researchflow_tmux.adapters.sources.sweep_files import SweepFiles
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.domain.workspace import Settings, WorkspacePaths
from tests.unit.engine.samples import NOW

PIPELINE = "jobs: {a: {command: x}, b: {command: y, needs: [a]}}\n"
SWEEP = "command: run {v}\nvariables: {v: [1, 2]}\n"


class Directory:
    """A workspace's job_dir, both sources over it, and the jobs that a queue would know."""

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = WorkspacePaths(root=str(root), config=str(root / "scheduler_config.yml"))
        context = SourceContext(
            paths=paths, settings=Settings(task_name="t"), variables=os.environ, state_dir=str(root / ".rfsched" / "s")
        )
        self.sources: dict[str, JobSource] = {"pipeline": PipelineFiles(context), "sweep": SweepFiles(context)}
        self.jobs: dict[str, dict[str, Job]] = {"pipeline": {}, "sweep": {}}
        self.clock = 0

    def write(self, name: str, text: str) -> Path:
        path = self.root / "jobs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.clock += 1
        os.utime(path, ns=(0, self.clock))  # what was written later has another time, however fast the test is
        return path

    def read(self, kind: str) -> Reading:
        """One look, carried out: its jobs are queued, and waiting ones that are gone are not any more."""
        found = self.sources[kind].read(self.jobs[kind])
        for draft in found.drafts:
            old = self.jobs[kind].get(draft.key)
            spec = draft.to_spec("e")
            job = Job(id=len(self.jobs[kind]) + 1, spec=spec, slug=draft.name, state=JobState.QUEUED, queued_at=NOW)
            self.jobs[kind][draft.key] = job if old is None else replace(old, spec=spec)
        for key in found.withdrawn:
            self.jobs[kind][key] = replace(self.jobs[kind][key], state=JobState.CANCELLED)
        return found

    def names(self, kind: str) -> list[str]:
        return [draft.name for draft in self.read(kind).drafts]

    def ended(self, kind: str, name: str, state: JobState = JobState.SUCCEEDED) -> None:
        key = next(key for key, job in self.jobs[kind].items() if job.name == name)
        self.jobs[kind][key] = replace(self.jobs[kind][key], state=state)


@pytest.fixture
def jobs(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def told(found: Reading) -> str:
    return "\n".join(map(str, found.problems))


def test_a_directory_that_is_not_there_has_no_jobs(jobs: Directory) -> None:
    for kind in ("pipeline", "sweep"):
        assert jobs.read(kind) == Reading()
        assert list(jobs.sources[kind].directories()) == [str(jobs.root / "jobs")]


def test_each_kind_takes_its_own_and_what_is_neither_is_told(jobs: Directory) -> None:
    jobs.write("p.yml", PIPELINE)
    jobs.write("deep/er/s.YAML", SWEEP)
    jobs.write("both.yml", "variables: {d: 1}\njobs: {c: {command: '{d}'}}\n")
    jobs.write("neither.yml", "lr: 0.1\n")
    jobs.write(".hidden.yml", "lr: 0.1\n")
    jobs.write("notes.txt", "lr: 0.1\n")
    jobs.write("example.yml", "# jobs: {a: {command: x}}\n")
    pipelines, sweeps = jobs.read("pipeline"), jobs.read("sweep")
    assert [draft.name for draft in pipelines.drafts] == ["both_c", "p_a", "p_b"]
    assert [(draft.name, draft.group) for draft in sweeps.drafts] == [("s_1", "s"), ("s_2", "s")]
    assert (jobs.root / "out" / "s" / "2").is_dir()
    assert "neither.yml: is neither a pipeline (`jobs:` at the top) nor a sweep" in told(pipelines)
    assert len(pipelines.problems) == 1
    assert sweeps.problems == ()
    assert set(jobs.sources["sweep"].directories()) == {
        str(jobs.root / "jobs" / sub).rstrip("/") for sub in ("", "deep", "deep/er")
    }
    assert jobs.names("pipeline") == jobs.names("sweep") == [], "what is known is not news"


def test_a_change_adds_what_is_new_and_tells_waiting_jobs(jobs: Directory) -> None:
    jobs.write("p.yml", PIPELINE)
    jobs.write("s.yml", SWEEP)
    jobs.read("pipeline"), jobs.read("sweep")
    jobs.ended("pipeline", "p_a")
    jobs.ended("sweep", "s_1")
    jobs.write("p.yml", PIPELINE.replace("command: y", "command: z").replace("}}", "}, c: {command: c}}"))
    jobs.write("s.yml", SWEEP.replace("run", "go").replace("[1, 2]", "[1, 2, 3]"))
    assert jobs.names("pipeline") == ["p_a", "p_b", "p_c"]
    assert jobs.names("sweep") == ["s_2", "s_3"], "what has succeeded is left alone"
    assert jobs.jobs["sweep"]['jobs/s.yml#{"v":2}'].spec.argv == ("go", "2")
    assert jobs.jobs["pipeline"]["jobs/p.yml#b"].spec.argv == ("z",)


def test_what_is_gone_is_withdrawn_if_it_waits(jobs: Directory) -> None:
    path = jobs.write("p.yml", PIPELINE)
    jobs.write("s.yml", SWEEP)
    jobs.read("pipeline"), jobs.read("sweep")
    jobs.ended("sweep", "s_1", JobState.ACTIVE)
    jobs.write("s.yml", SWEEP.replace("[1, 2]", "[3]"))
    assert jobs.read("sweep").withdrawn == ('jobs/s.yml#{"v":2}',), "what runs is left alone"
    path.unlink()
    assert set(jobs.read("pipeline").withdrawn) == {"jobs/p.yml#a", "jobs/p.yml#b"}
    assert jobs.read("pipeline").withdrawn == ()


def test_jobs_of_files_elsewhere_are_not_ours_to_withdraw(jobs: Directory) -> None:
    jobs.write("s.yml", SWEEP)
    jobs.read("sweep")
    job = next(iter(jobs.jobs["sweep"].values()))
    for key in ("elsewhere/s.yml#x", "s.yml#x", "jobs2/s.yml#x"):
        jobs.jobs["sweep"][key] = replace(job, spec=replace(job.spec, key=key))
    assert jobs.read("sweep").withdrawn == ()


@pytest.mark.parametrize("broken", ["", "jobs: [", "jobs: {a: {comand: x}}", "variables", "\x00", "lr: 1"])
@pytest.mark.parametrize("kind", ["pipeline", "sweep"])
def test_a_file_that_cannot_be_read_just_now_costs_no_job(jobs: Directory, kind: str, broken: str) -> None:
    text = PIPELINE if kind == "pipeline" else SWEEP
    jobs.write("f.yml", text)
    jobs.write("good.yml", text)
    assert len(jobs.names(kind)) == 4
    jobs.write("f.yml", broken if kind == "pipeline" else broken.replace("jobs", "variables"))
    found = jobs.read(kind)
    assert (found.drafts, found.withdrawn) == ((), ())
    assert "f.yml" in told(found)
    assert jobs.read(kind).problems == found.problems, "as long as it is so"
    jobs.write("f.yml", text)
    assert jobs.read(kind).problems == ()


@pytest.mark.parametrize("kind", ["pipeline", "sweep"])
def test_a_directory_that_cannot_be_looked_at_is_not_gone(
    jobs: Directory, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PIPELINE if kind == "pipeline" else SWEEP
    jobs.write("f.yml", text)
    jobs.write("deep/g.yml", text)
    assert len(jobs.names(kind)) == 4
    scandir = os.scandir

    def stale(path: str) -> Any:
        if path.endswith("deep"):
            raise OSError(116, "Stale file handle", path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", stale)
    jobs.write("f.yml", text.replace("x}", "z}").replace("run", "go"))
    found = jobs.read(kind)
    assert len(found.drafts) == 2, "the others are read all the same"
    assert "deep: cannot be looked at: Stale file handle" in told(found)
    assert found.withdrawn == ()
    monkeypatch.undo()
    assert jobs.read(kind) == Reading()


def test_links_to_nothing_and_to_themselves_and_directories_with_the_name_of_a_file(jobs: Directory) -> None:
    jobs.write("p.yml", PIPELINE)
    folder = jobs.root / "jobs"
    (folder / "nothing.yml").symlink_to("nowhere")
    (folder / "loop.yml").symlink_to("loop.yml")
    (folder / "dir.yml").mkdir()
    found = jobs.read("pipeline")
    assert [draft.name for draft in found.drafts] == ["p_a", "p_b"]
    assert "loop.yml: cannot be looked at" in told(found)
    assert len(found.problems) == 1


@pytest.mark.parametrize("kind", ["pipeline", "sweep"])
def test_without_its_directory_nothing_is_withdrawn(jobs: Directory, kind: str) -> None:
    jobs.write("f.yml", PIPELINE if kind == "pipeline" else SWEEP)
    jobs.read(kind)
    (jobs.root / "jobs").rename(jobs.root / "unmounted")
    assert jobs.read(kind) == Reading()
    (jobs.root / "unmounted").rename(jobs.root / "jobs")
    assert jobs.read(kind).withdrawn == ()


def test_a_pipeline_that_becomes_a_sweep(jobs: Directory) -> None:
    jobs.write("f.yml", PIPELINE)
    jobs.read("pipeline"), jobs.read("sweep")
    jobs.write("f.yml", SWEEP)
    assert len(jobs.read("pipeline").withdrawn) == 2
    assert jobs.names("sweep") == ["f_1", "f_2"]


def test_two_sweeps_of_one_folder_and_folders_that_cannot_be_made(jobs: Directory) -> None:
    jobs.write("a.yml", SWEEP + 'layout: "same/{v}"\n')
    jobs.read("sweep")
    jobs.write("b.yml", SWEEP + 'layout: "same/{v}"\n')
    (jobs.root / "out" / "file").write_text("")
    jobs.write("c.yml", SWEEP + 'layout: "file/{v}"\n')
    found = jobs.read("sweep")
    assert found.drafts == ()
    assert "b.yml: " in told(found)
    assert "is the folder of same_1 (job 1, of jobs/a.yml)" in told(found)
    assert "c.yml: the folders of its jobs cannot be made: " in told(found)


def test_files_are_opened_only_when_they_changed(jobs: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.write("p.yml", PIPELINE)
    jobs.write("s.yml", SWEEP)
    jobs.write("neither.yml", "a: 1\n")
    first = {kind: jobs.read(kind) for kind in jobs.sources}

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr("builtins.open", refuse)
    for kind in jobs.sources:
        assert jobs.read(kind) == replace(first[kind], drafts=())


def test_a_run_that_somebody_asked_for_stays_asked_for(jobs: Directory) -> None:
    jobs.write("p.yml", PIPELINE)
    jobs.read("pipeline")
    key = "jobs/p.yml#a"
    job = jobs.jobs["pipeline"][key]
    assert job.spec.files is not None
    jobs.jobs["pipeline"][key] = replace(job, spec=replace(job.spec, files=replace(job.spec.files, force=True)))
    jobs.write("p.yml", PIPELINE.replace("command: x", "command: z"))
    jobs.read("pipeline")
    spec = jobs.jobs["pipeline"][key].spec
    assert spec.files is not None
    assert (spec.argv, spec.files.force) == (("z",), True)
