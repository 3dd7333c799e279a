from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import researchflow_tmux
from researchflow_tmux.checkpoints import LocalStore
from researchflow_tmux.job import CheckpointError, Job, current, current_job, environment
from researchflow_tmux.job.store import Part

PYTHONS = [sys.executable, "python3.8", "python3.9", "python3.13"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def variables(root: Path, **more: str) -> dict[str, str]:
    told = {
        "RFSCHED_ATTEMPT": "ws/3.2", "RFSCHED_JOB": "lr0.1/seed 3", "RFSCHED_ATTEMPT_NUMBER": "2",
        "RFSCHED_OUTPUT_DIR": str(root / "out"), "RFSCHED_CHECKPOINT_DIR": str(root / "kept"),
        "RFSCHED_METRICS": str(root / "metrics.jsonl"), "RFSCHED_PROGRESS": str(root / "progress.json"),
    }  # fmt: skip
    return told | more


def test_in_a_job(here: Path) -> None:
    job = Job(variables(here))
    assert (job.scheduled, job.name, job.attempt, job.output_dir) == (True, "lr0.1/seed 3", 2, str(here / "out"))
    job.log_metric("acc", 0.9, step=1)
    job.progress(1, 2)
    assert (here / "metrics.jsonl").exists()
    assert (here / "progress.json").exists()
    resumed_from = job.resumed_from
    assert resumed_from is None
    job.checkpoint.save({"a": 1}, 5, wait=True)
    restored = job.checkpoint.load_latest()
    assert restored is not None
    assert job.resumed_from == restored.place
    [manifest] = [job.checkpoint.store.manifest(name) for name in LocalStore(here / "kept").names()]
    assert (manifest.attempt, dict(manifest.metrics)) == ("ws/3.2", {"acc": 0.9})


def test_by_hand_all_works_and_metrics_go_nowhere(here: Path) -> None:
    job = Job({})
    assert (job.scheduled, job.attempt, job.output_dir) == (False, 1, str(here))
    job.log_metric("acc", 0.9)
    job.progress(0.5)
    assert list(here.iterdir()) == []
    assert job.checkpoint.load_latest() is None
    assert job.checkpoint.every(steps=1)
    job.checkpoint.save(b"x", 1, wait=True)
    assert [path.parent.parent.name for path in here.glob("checkpoints/*/*")] == ["checkpoints"]
    assert not job.checkpoint.requested


def test_by_hand_other_arguments_have_another_place(here: Path) -> None:
    places = {
        environment.read({}, ["/x/train.py", *arguments]).checkpoint_dir for arguments in ([], ["--lr", "1"], ["--lr1"])
    }
    assert len(places) == 3
    assert all(os.path.basename(place).startswith("train-") for place in places)
    assert environment.read({}, ["-c"]).name == "session"
    assert environment.read({}, []).name == "session"


def test_in_a_job_of_a_scheduler_that_names_no_place_jobs_stay_apart(here: Path) -> None:
    told = environment.read({"RFSCHED_ATTEMPT": "x", "RFSCHED_JOB": "../a b", "RFSCHED_ATTEMPT_NUMBER": "two"})
    assert told.checkpoint_dir == str(here / "checkpoints" / "_a_b")
    assert told.attempt == 1


def test_the_checkpoint_to_resume_from(here: Path) -> None:
    elsewhere = LocalStore(here / "elsewhere")
    first = elsewhere.write([Part("x", lambda: iter([b"1"]))], step=1)
    elsewhere.write([Part("x", lambda: iter([b"2"]))], step=2)
    told = variables(here, RFSCHED_RESUME_FROM=first.place)
    assert Job(told).resumed_from == first.place
    for place, step in ((first.place, 1), (first.place + "/", 1), (elsewhere.root, 2)):
        restored = Job(told | {"RFSCHED_RESUME_FROM": place}).checkpoint.load_latest()
        assert restored is not None
        assert restored.step == step
    (here / "void").mkdir()
    for place, message in (
        (str(here / "void"), "there is no checkpoint at"),
        (first.place[:-6] + "ffffff", "put it back"),
    ):
        with pytest.raises(CheckpointError, match=message):
            Job(told | {"RFSCHED_RESUME_FROM": place}).checkpoint.load_latest()


def test_another_kind_of_store_is_named(here: Path) -> None:
    provider = "researchflow_tmux.checkpoints:LocalStore"
    assert isinstance(Job(variables(here, RFSCHED_CHECKPOINT_STORE=provider)).checkpoint.store, LocalStore)
    for wrong in ("no_such_module:Store", "researchflow_tmux.checkpoints:Nothing", ":"):
        with pytest.raises(CheckpointError, match="cannot be imported"):
            _ = Job(variables(here, RFSCHED_CHECKPOINT_STORE=wrong)).checkpoint.store


def test_there_is_one_job_per_process() -> None:
    assert current_job() is current_job()
    assert researchflow_tmux.current_job is current_job
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = researchflow_tmux.nothing


SCRIPT = """
import sys
from {package} import current_job
job = current_job()
job.log_metric("a", 1); job.progress(1, 2)
job.checkpoint.save({{"a": (1, b"x", float("inf"))}}, 1).wait()
assert job.checkpoint.load_latest().state == {{"a": (1, b"x", float("inf"))}}
own = [name for name in sys.modules if "researchflow" in name and not name.startswith("researchflow_tmux.job")]
print(job.name, own)
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_the_folder_alone_serves_an_older_python(python: str, here: Path) -> None:
    """A job's Python has neither this package nor what it depends on: the folder is enough, under any name."""
    found = shutil.which(python) and subprocess.run(
        [python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True
    )
    if not found or found.returncode:
        pytest.skip(f"no {python} here")
    (here / "lib").mkdir()
    (here / "lib" / "what_jobs_call").symlink_to(Path(current.__file__).parent)
    (here / "train.py").write_text(SCRIPT.format(package="what_jobs_call"))
    environ = variables(here) | {"PYTHONPATH": str(here / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        [found.stdout.strip(), "-S", "train.py"], env=environ, capture_output=True, text=True, timeout=30
    )
    assert answer.stdout == "lr0.1/seed 3 []\n", answer.stderr


def test_nothing_else_of_the_package_is_imported(here: Path) -> None:
    (here / "train.py").write_text(SCRIPT.format(package="researchflow_tmux"))
    root = str(Path(researchflow_tmux.__file__).parents[1])
    environ = variables(here) | {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run([sys.executable, "-S", "train.py"], env=environ, capture_output=True, text=True, timeout=30)
    assert answer.stdout == "lr0.1/seed 3 ['researchflow_tmux']\n", answer.stderr
