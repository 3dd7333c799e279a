"""What goes into a checkpoint comes out again, as it was when it was saved."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.job import CheckpointError, DamageError, Files, StateError, arrays, restore
from researchflow_tmux.job.checkpointer import Checkpointer, Restored
from researchflow_tmux.job.local_store import LocalStore
from researchflow_tmux.job.manifest import Manifest
from researchflow_tmux.job.snapshot import Snapshot
from researchflow_tmux.job.store import Part


def roundtrip(state: Any, root: Path, **options: Any) -> Any:
    checkpoint = Checkpointer(LocalStore(root / "store"))
    checkpoint.save(state, 1, wait=True)
    return found(checkpoint, **options).state


def found(checkpoint: Checkpointer, **options: Any) -> Restored:
    restored = checkpoint.load_latest(**options)
    assert restored is not None
    return restored


class Module:
    """As frameworks make them: its state is a dict."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state


class Odd:
    """Plain, but neither data nor an array."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers() | st.just("$"), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=40)
@given(state=plain)
def test_plain_data_come_back_equal_without_pickle(state: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    back = roundtrip(state, tmp_path_factory.mktemp("state"), allow_pickle=False)
    assert back == state
    assert type(back) is type(state)


def test_other_plain_kinds(tmp_path: Path) -> None:
    state = [
        bytearray(b"x"), OrderedDict(b=1, a=2), {(1, "a"): 2}, math.inf, -math.inf, Path("/data"), {"$": "tuple"},
        "\udcff",
    ]  # fmt: skip
    back = roundtrip(state, tmp_path, allow_pickle=False)
    assert back == state
    assert [type(item) for item in back] == [type(item) for item in state]
    assert math.isnan(roundtrip(math.nan, tmp_path))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.zeros((0, 3)), np.array(1.5), np.array([1 + 2j]),
        np.array(["ab", "c"]), np.array([b"x"]), np.array([True]), np.array(["2026-01-31"], "M8[D]"),
        np.arange(9)[::-2], np.arange(3, dtype=">i4"), np.float32(0.5), np.datetime64("2026-01-31"),
    ],
)  # fmt: skip
def test_arrays_come_back_without_pickle(array: Any, tmp_path: Path) -> None:
    back = roundtrip({"a": array}, tmp_path, allow_pickle=False)["a"]
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_a_large_array_comes_back_writable(tmp_path: Path) -> None:
    array = np.random.default_rng(1).random(1_000_000)
    back = roundtrip(array, tmp_path)
    assert np.array_equal(back, array)
    back[0] = 2


def test_what_is_no_plain_data_is_pickled_and_can_be_refused(tmp_path: Path) -> None:
    state = {"set": {1, 2}, "odd": Odd(3), "objects": np.array([None, 1]), "default": defaultdict(list, a=[1])}
    state["void"] = np.zeros(1, "V0")
    back = roundtrip(state, tmp_path)
    assert (back["set"], back["odd"], list(back["objects"]), back["default"]["b"]) == ({1, 2}, Odd(3), [None, 1], [])
    with pytest.raises(CheckpointError, match="run code when loaded"):
        found(Checkpointer(LocalStore(tmp_path / "store")), allow_pickle=False)


def test_the_state_is_the_one_at_the_call(tmp_path: Path) -> None:
    weights, history, odd = np.zeros(100_000), [1], Odd(1)
    checkpoint = Checkpointer(LocalStore(tmp_path))
    saving = checkpoint.save({"model": Module(w=weights), "history": history, "odd": odd}, 1)
    weights[:] = 9
    history.append(2)
    odd.value = 2
    saving.wait()
    state = found(checkpoint).state
    assert not state["model"]["w"].any()
    assert (state["history"], state["odd"].value) == ([1], 1)


def test_shared_arrays_are_kept_once(tmp_path: Path) -> None:
    array = np.ones(10_000)
    back = roundtrip({"a": array, "b": array, "c": Module(a=array)}, tmp_path)
    [folder] = (tmp_path / "store").glob("ckpt-*")
    assert (folder / "rfsched-state.bin").stat().st_size < 100_000
    assert (back["a"].sum(), back["b"].sum(), back["c"]["a"].sum()) == (10_000, 10_000, 10_000)


def test_a_class_with_state_dict_is_no_object_with_one(tmp_path: Path) -> None:
    assert roundtrip({"class": Module}, tmp_path)["class"] is Module


def test_what_cannot_be_saved_is_named_by_its_place(tmp_path: Path) -> None:
    checkpoint = Checkpointer(LocalStore(tmp_path))
    with pytest.raises(StateError, match=r"state\['a'\]\[1\], of type function, cannot be saved"):
        checkpoint.save({"a": [1, lambda: 1]}, 1)
    assert checkpoint.load_latest() is None


def test_a_state_that_contains_itself(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(StateError, match="contains itself"):
        Snapshot(loop)
    deep: Any = Odd(1)
    for _ in range(100_000):
        deep = Odd(deep)
    with pytest.raises(StateError, match="too deep"):
        Snapshot(deep)
    while isinstance(deep, Odd):  # taken apart from outside: its end would be as deep
        deep = deep.value


def test_a_class_that_went_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpointer(LocalStore(tmp_path))
    checkpoint.save(Odd(1), 1, wait=True)
    monkeypatch.delitem(globals(), "Odd")
    with pytest.raises(CheckpointError, match="must be importable"):
        checkpoint.load_latest()


# Files ----------------------------------------------------------------------------------------------------------------


def tree(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_text("weights")
    (folder / "deep" / "config.json").write_text("{}")
    (folder / "last.bin").symlink_to("weights.bin")
    return folder


def test_a_directory_alone(tmp_path: Path, model: Path) -> None:
    back = roundtrip(model, tmp_path)
    files = tree(back)
    assert {"weights.bin": "weights", "deep/config.json": "{}", "last.bin": "weights"}.items() <= files.items()


def test_a_file_alone(tmp_path: Path, model: Path) -> None:
    assert roundtrip(model / "weights.bin", tmp_path).read_text() == "weights"
    assert roundtrip(Files(str(model / "weights.bin")), tmp_path).name == "weights.bin"


def test_files_inside_a_state(tmp_path: Path, model: Path) -> None:
    files = Checkpointer.files
    state = {"model": files(model), "one": files(model / "weights.bin"), "data": model, "step": 3}
    back = roundtrip(state, tmp_path)
    assert tree(back["model"]) == tree(model)
    assert back["one"].read_text() == "weights"
    assert (back["data"], back["step"]) == (model, 3)
    assert repr(files("x")) == "Files('x')"


def test_what_an_earlier_checkpoint_left_there_is_not_taken_for_files(tmp_path: Path, model: Path) -> None:
    first = roundtrip(model, tmp_path)
    second = roundtrip(first, tmp_path)
    assert tree(model).items() <= tree(second).items()
    assert (second / "rfsched-manifest.json").read_text() != (first / "rfsched-manifest.json").read_text()


def test_paths_that_cannot_be_kept(tmp_path: Path, model: Path) -> None:
    with pytest.raises(StateError, match="No such file"):
        Snapshot(tmp_path / "nothing")
    (tmp_path / "void").mkdir()
    with pytest.raises(StateError, match="no files in it"):
        Snapshot(tmp_path / "void")
    with pytest.raises(StateError, match="no file"):
        Snapshot(Path("/dev/null"))
    (model / "linked").symlink_to("deep")
    with pytest.raises(StateError, match="link to a directory"):
        Snapshot({"m": Files(model)})
    (model / "linked").unlink()
    (model / "dangling").symlink_to("nowhere")
    with pytest.raises(StateError, match="No such file"):
        Snapshot(model)


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    from researchflow_tmux.job import files

    with pytest.raises(PermissionError):
        files._raise(PermissionError())


def test_a_file_that_changes_or_goes_fails_the_checkpoint(tmp_path: Path, model: Path) -> None:
    checkpoint = Checkpointer(LocalStore(tmp_path / "store"))
    parts = Snapshot(model).parts()
    (model / "weights.bin").write_text("other weights")
    with pytest.raises(StateError, match="changed while it was being saved"):
        checkpoint.store.write(parts, step=1)
    parts = Snapshot(model).parts()
    (model / "deep" / "config.json").unlink()
    with pytest.raises(StateError, match="went away"):
        checkpoint.store.write(parts, step=1)
    assert checkpoint.load_latest() is None
    assert not list((tmp_path / "store").iterdir())


# States that are none -------------------------------------------------------------------------------------------------


def written(root: Path, text: bytes) -> tuple[str, Manifest]:
    saved = LocalStore(root).write([Part("rfsched-state.json", lambda: iter([text]))], step=1)
    return saved.place, saved.manifest


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"{}", b'{"state": {"$": "new"}}', b'{"state": {"$": "bytes", "start": 0, "size": 1}}',
        b'{"state": {"$": "bytes", "start": -1, "size": 1}}', b'{"state": {"$": "tuple"}}',
        b'{"state": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_text_that_describes_no_state(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="describes no state"):
        restore.state(*written(tmp_path, text))


def test_files_outside_of_the_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="outside of the checkpoint"):
        restore.state(*written(tmp_path, b'{"state": {"$": "files", "path": "../secret"}}'))


@pytest.mark.parametrize(
    "node",
    [
        {"$": "array", "dtype": "O", "shape": [1]}, {"$": "array", "dtype": "f8", "shape": [2]}, {"$": "array"},
        {"$": "array", "dtype": "nonsense", "shape": [1]},
    ],
)  # fmt: skip
def test_arrays_that_cannot_be(node: dict[str, Any]) -> None:
    with pytest.raises(DamageError, match="an array that cannot be"):
        arrays.restore(node, memoryview(bytearray(8)))


def test_a_checkpoint_of_another_program_is_its_directory(tmp_path: Path) -> None:
    saved = LocalStore(tmp_path).write([Part("weights.bin", lambda: iter([b"w"]))], step=1)
    assert found(Checkpointer(LocalStore(tmp_path))).state == Path(saved.place)
