"""Whatever happens to the files of a checkpoint is found, and the one before it is used."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from researchflow_tmux.checkpoints import (
    Checkpointer,
    CheckpointError,
    DamageError,
    FileFacts,
    Keep,
    LocalStore,
    Manifest,
    latest,
    listing,
    verify,
)  # fmt: skip
from researchflow_tmux.job import choosing, disk, names

MANIFEST = "rfsched-manifest.json"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def blind(path: Path) -> None:
    """As a file on a broken disk: it is there, with its size, but reading fails. (A directory of the same size.)"""
    path.unlink()
    path.mkdir()


HARM: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a bit of the buffers": ("rfsched-state.bin", flip, "rfsched-state.bin was altered"),
    "a bit of the tree": ("rfsched-state.json", flip, "rfsched-state.json was altered"),
    "a bit of a file": ("files/0/w", flip, "w was altered"),
    "a bit of the manifest": (MANIFEST, flip, "its manifest"),
    "half the buffers": ("rfsched-state.bin", shorten, "has .* bytes, its manifest says"),
    "half a file": ("files/0/w", shorten, "has 5 bytes, its manifest says 10"),
    "half the manifest": (MANIFEST, shorten, "torn"),
    "no buffers": ("rfsched-state.bin", os.unlink, "is missing"),
    "no file": ("files/0/w", os.unlink, "w is missing"),
    "no manifest": (MANIFEST, os.unlink, "cannot be read"),
    "an empty manifest": (MANIFEST, lambda path: path.write_bytes(b""), "torn"),
    "another manifest": (MANIFEST, lambda path: path.write_text("[]"), "torn or no manifest"),
}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    store = LocalStore(tmp_path / "kept")
    (tmp_path / "w").write_text("0123456789")
    checkpoint = Checkpointer(store)
    for step in (1, 2):
        state = {"step": step, "w": checkpoint.files(tmp_path / "w"), "b": bytes(10_000), "large": bytes(5 << 20)}
        checkpoint.save(state, step, wait=True)
    return store


@pytest.mark.parametrize(("file", "harm", "said"), HARM.values(), ids=HARM.keys())
def test_damage_is_found_and_said(
    store: LocalStore, file: str, harm: Callable[[Path], object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    newest = store.names()[0]
    harm(Path(store.root) / newest / file)
    with pytest.raises(DamageError, match=said):
        verify(store, newest)
    restored = Checkpointer(store).load_latest()
    assert restored is not None
    assert restored.step == 1
    assert list(restored.skipped) == [newest]
    assert f"{newest} in {store.root} was passed over" in caplog.text
    entry = latest(store, contents=True)
    assert entry is not None
    assert entry.name == restored.name
    assert newest in str(entry.problem)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    size = os.stat(tmp_path).st_size
    with pytest.raises(DamageError, match="cannot be read: Is a directory"):
        disk.check(str(tmp_path), FileFacts(size, ""))
    with pytest.raises(DamageError, match="cannot be read: Is a directory"):
        disk.read(str(tmp_path), FileFacts(size, ""))


def test_a_quick_look_compares_sizes_only(store: LocalStore) -> None:
    newest, before = store.names()
    folder = Path(store.root) / newest
    flip(folder / "rfsched-state.bin")
    quick = latest(store)
    assert quick is not None
    assert (quick.name, quick.problem, quick.place) == (newest, None, f"{store.root}/{newest}")
    shorten(folder / "rfsched-state.bin")
    found = latest(store)
    assert found is not None
    assert found.name == before
    (folder / MANIFEST).unlink()
    (folder / MANIFEST).mkdir()
    first, second = listing(store)
    assert (first.manifest, second.problem) == (None, None)
    assert "Is a directory" in str(first.problem)
    assert latest(LocalStore(store.root + "x")) is None
    (Path(store.root) / before / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        latest(store)


# Manifests ------------------------------------------------------------------------------------------------------------

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
paths = st.lists(
    st.text(min_size=1).filter(lambda part: not set(part) & set("/\0") and part not in ("..", ".")), min_size=1
)
manifests = st.builds(
    Manifest,
    step=st.integers(0, 10**18),
    files=st.dictionaries(paths.map("/".join), st.builds(FileFacts, st.integers(0, 2**60), hexadecimal), max_size=3),
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=3),
    attempt=st.text(),
)


@given(manifest=manifests)
@settings(deadline=None, max_examples=100)
def test_a_manifest_comes_back(manifest: Manifest) -> None:
    assert Manifest.decode(manifest.encode()) == manifest


@given(manifest=manifests, at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=200)
def test_no_flipped_bit_passes(manifest: Manifest, at: float, bit: int) -> None:
    text = bytearray(manifest.encode())
    text[int(at * len(text))] ^= 1 << bit
    with contextlib.suppress(DamageError):
        assert Manifest.decode(bytes(text)) == manifest  # a blank for another: the same content


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "a/../../b", "a//b", "a/.", "a\0b"])
def test_a_manifest_that_names_files_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(DamageError, match="outside of the checkpoint"):
        Manifest.decode(Manifest(1, {path: FileFacts(1, "00")}).encode())


def test_a_manifest_of_a_newer_version_is_named() -> None:
    text = json.loads(Manifest(1, {}).encode()) | {"schema": "rfsched.checkpoint/9"}
    with pytest.raises(DamageError, match=r"of the form 'rfsched.checkpoint/9', not rfsched.checkpoint/1"):
        Manifest.decode(json.dumps(text).encode())


def test_metrics_that_are_not_finite() -> None:
    manifest = Manifest(1, {}, {"a": float("inf"), "b": float("nan")})
    assert str(dict(Manifest.decode(manifest.encode()).metrics)) == "{'a': inf, 'b': nan}"


# Choosing -------------------------------------------------------------------------------------------------------------


def entry(number: int, **metrics: float) -> tuple[str, Manifest | None]:
    return f"ckpt-{number:08d}-step-{number}-abcdef", Manifest(number, {}, metrics)


def damaged(number: int) -> tuple[str, Manifest | None]:
    return entry(number)[0], None


def gone(found: list[tuple[str, Manifest | None]], keep: Keep) -> list[int]:
    return [int(name.split("-")[1]) for name in choosing.surplus(found, keep)]


def test_the_last_and_the_best_stay() -> None:
    found = [entry(6, acc=1), entry(5, acc=5), entry(4), entry(3, acc=float("nan")), entry(2, acc=7), entry(1, acc=6)]
    assert gone(found, Keep(2)) == [4, 3, 2, 1]
    assert gone(found, Keep(2, best="acc")) == [4, 3, 1]
    assert gone(found, Keep(1, best="acc", count=2)) == [5, 4, 3]
    assert gone(found, Keep(1, best="acc", mode="min")) == [5, 4, 3, 2, 1]
    assert gone(found, Keep(2, best="loss")) == [4, 3, 2, 1]


def test_damaged_ones_do_not_count_as_kept() -> None:
    assert gone([damaged(5), entry(4), damaged(3), entry(2), damaged(1)], Keep(2)) == [1]
    assert gone([damaged(5), damaged(4)], Keep(1)) == []
    assert gone([], Keep(1)) == []


def test_of_equals_the_newer_is_best() -> None:
    assert gone([entry(3, acc=0), entry(2, acc=1), entry(1, acc=1)], Keep(1, best="acc")) == [1]


class Busy(LocalStore):
    """Another process saves and removes between our looks."""

    def __init__(self, root: Path, changes: int) -> None:
        super().__init__(root)
        self.changes = changes

    def manifest(self, name: str) -> Manifest:
        if self.changes:
            self.changes -= 1
            Checkpointer(LocalStore(self.root)).save(self.changes, self.changes, wait=True)
            LocalStore(self.root).delete(name)
        return super().manifest(name)


def test_one_that_another_process_replaced_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Checkpointer(LocalStore(tmp_path)).save("first", 100, wait=True)
    restored = Checkpointer(Busy(tmp_path, 3)).load_latest()
    assert restored is not None
    assert (restored.step, dict(restored.skipped)) == (0, {})
    assert not caplog.records
    with pytest.raises(CheckpointError, match="change faster than they can be read"):
        Checkpointer(Busy(tmp_path, 10**6)).load_latest()


def test_names_that_are_none() -> None:
    assert names.newest_first(["ckpt-1-step-1-abcdef", "x", ".draft-h-1-2", "ckpt-00000001-step-1-abcdef.old"]) == []
    assert choosing.position("x", [entry(1)[0]]) == 0
