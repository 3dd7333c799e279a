"""One contract, every store: the local one and fsspec's."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from researchflow_tmux.checkpoints import (
    Checkpointer,
    CheckpointError,
    CheckpointStore,
    DamageError,
    FsspecStore,
    Keep,
    LocalStore,
    Part,
    StateError,
    open_checkpoint,
    open_store,
    prune,
    verify,
)  # fmt: skip

PLACES: dict[str, Callable[[Path], str]] = {
    "local": lambda root: str(root / "kept"),
    "fsspec file": lambda root: f"file://{root}/kept",
    "fsspec memory": lambda root: f"memory://{root.name}-{uuid.uuid4().hex}",
}


@pytest.fixture(params=PLACES.values(), ids=list(PLACES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    return open_store(request.param(tmp_path))


def part(path: str, *pieces: bytes) -> Part:
    return Part(path, lambda: iter(pieces))


def write(store: CheckpointStore, step: int, **more: Any) -> str:
    return store.write([part("a.bin", b"a", b"bc"), part("deep/er/b.bin", str(step).encode())], step=step, **more).name


def test_an_empty_place_has_none(store: CheckpointStore) -> None:
    assert store.names() == []
    assert Checkpointer(store).load_latest() is None
    store.delete("ckpt-00000001-step-1-abcdef")


def test_what_is_written_is_there(store: CheckpointStore) -> None:
    saved = store.write([part("a.bin", b"a", b"bc"), part("d/e/f", b"")], step=7, metrics={"acc": 0.5}, attempt="w/1.1")
    assert store.names() == [saved.name]
    manifest = store.manifest(saved.name)
    assert manifest == saved.manifest
    assert (manifest.step, manifest.metrics, manifest.attempt, manifest.size) == (7, {"acc": 0.5}, "w/1.1", 3)
    assert manifest.files["a.bin"].sha256 == hashlib.sha256(b"abc").hexdigest()
    folder = Path(store.fetch(saved.name))
    assert ((folder / "a.bin").read_bytes(), (folder / "d" / "e" / "f").read_bytes()) == (b"abc", b"")
    assert verify(store, saved.name) == manifest
    assert saved.place == f"{store.place}/{saved.name}"
    found, name = open_checkpoint(saved.place)
    assert (found.place, name) == (store.place, saved.name)


def test_the_last_written_is_the_newest_whatever_its_step(store: CheckpointStore) -> None:
    names = [write(store, step) for step in (300, 5, 20)]
    assert store.names() == names[::-1]


def test_what_is_deleted_is_gone(store: CheckpointStore) -> None:
    first, second = write(store, 1), write(store, 2)
    store.delete(first)
    store.delete(first)
    assert store.names() == [second]
    with pytest.raises(DamageError, match="manifest"):
        store.manifest(first)


def fail() -> Iterator[bytes]:
    yield b"some"
    raise StateError("the source is gone")


def test_a_write_that_fails_leaves_nothing(store: CheckpointStore) -> None:
    good = write(store, 1)
    with pytest.raises(StateError, match="the source is gone"):
        store.write([part("a", b"a"), Part("b", fail)], step=2)
    assert store.names() == [good]
    assert verify(store, good).step == 1


def test_writers_at_one_time_are_all_kept(store: CheckpointStore) -> None:
    threads = [threading.Thread(target=write, args=(store, step)) for step in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verify(store, name).step for name in store.names()) == list(range(6))


def test_a_checkpointer_works_with_any(store: CheckpointStore, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    checkpoint = Checkpointer(store)
    checkpoint.keep(2)
    for step in range(4):
        checkpoint.save({"step": step, "w": checkpoint.files(tmp_path / "weights"), "big": bytes(10**7)}, step)
    restored = checkpoint.load_latest()
    assert restored is not None
    assert (restored.state["step"], restored.state["w"].read_text(), len(store.names())) == (3, "w", 2)


def test_prune_says_what_it_removed(store: CheckpointStore) -> None:
    names = [write(store, step, metrics={"loss": loss}) for step, loss in enumerate((0.1, 0.5, 0.3, 0.4))]
    assert prune(store, Keep(1, best="loss", mode="min")) == [names[2], names[1]]
    assert store.names() == [names[3], names[0]]


# What only one of them can do wrong -----------------------------------------------------------------------------------


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LocalStore(tmp_path / "file")
    with pytest.raises(
        CheckpointError, match=r"step 1 was not saved in .*/file: .*: make it a directory you may write"
    ):
        write(store, 1)
    with pytest.raises(CheckpointError, match="cannot be listed: Not a directory"):
        store.names()


class Broken:
    """A file system whose calls fail, one kind at a time, and otherwise are those of another."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.errors: dict[str, Exception] = {}

    def __getattr__(self, name: str) -> Any:
        if name in self.errors:
            return self._fail
        return getattr(self._inner, name)

    def _fail(self, *_: Any, **__: Any) -> Any:
        raise next(iter(self.errors.values()))


@pytest.fixture
def remote(tmp_path: Path) -> tuple[FsspecStore, Broken]:
    store = FsspecStore(f"memory://{tmp_path.name}")
    store._fs = broken = Broken(store._fs)
    return store, broken


def test_a_remote_place_that_does_not_answer(remote: tuple[FsspecStore, Broken]) -> None:
    store, broken = remote
    name = write(store, 1)
    answers = "see that the place answers"
    broken.errors = {"exists": ConnectionError("reset")}
    with pytest.raises(CheckpointError, match=f"cannot be listed, at memory://.*: reset: {answers}"):
        store.names()
    broken.errors = {"cat_file": ConnectionError("reset")}
    with pytest.raises(CheckpointError, match=r"manifest of ckpt.* cannot be read") as caught:
        store.manifest(name)
    assert not isinstance(caught.value, DamageError)  # not a reason to go back to an older one
    broken.errors = {"get_file": ConnectionError("reset")}
    with pytest.raises(CheckpointError, match="cannot be copied"):
        store.fetch(name)
    broken.errors = {"rm_file": ConnectionError("reset")}
    with pytest.raises(CheckpointError, match="was not removed"):
        store.delete(name)
    broken.errors = {"ls": ConnectionError("reset")}
    with pytest.raises(CheckpointError, match="step 2 was not saved"):
        write(store, 2)


def test_a_remote_write_that_breaks_off_is_no_checkpoint(remote: tuple[FsspecStore, Broken]) -> None:
    store, broken = remote
    good = write(store, 1)
    broken.errors = {"pipe_file": OSError(28, "No space left on device")}
    with pytest.raises(CheckpointError, match=r"step 2 was not saved.*No space left"):
        write(store, 2)
    broken.errors = {}
    assert store.names() == [good]
    assert [name for name in store._listed() if name != good] == []
    broken.errors = {"pipe_file": OSError("gone"), "rm": OSError("gone")}
    with pytest.raises(CheckpointError):
        write(store, 3)
    broken.errors = {}
    assert store.names() == [good]  # unfinished, and taken for nothing


def test_a_remote_file_that_is_missing_is_damage(remote: tuple[FsspecStore, Broken]) -> None:
    store, _ = remote
    name = write(store, 1)
    store._fs.rm_file(store._path(name, "a.bin"))
    with pytest.raises(DamageError, match="a file is missing"):
        store.fetch(name)


def test_urls_nobody_serves() -> None:
    with pytest.raises(CheckpointError, match=r"install researchflow_tmux\[remote\]"):
        FsspecStore("nonsense://place")
