"""Any sequence of operations, by two instances on one directory, against a dictionary."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from researchflow_tmux.results import MetadataStorage

UUIDS = st.sampled_from("abcde")
METADATA = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([1, 1.0, "1", None, [1], {"z": 1}]), max_size=2)
WHO = st.integers(0, 1)


class TwoInstances(RuleBasedStateMachine):
    """Instance 0 stays; instance 1 is sometimes opened anew."""

    @initialize()
    def start(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rf-model-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.storages = [MetadataStorage(self.root, durable=False) for _ in range(2)]
        self.model: dict[str, Any] = {}
        self.backup_is_behind = False

    def matching(self, metadata: dict[str, Any]) -> list[str]:
        return [uuid for uuid, entry in self.model.items() if entry["metadata"] == metadata]

    @rule(who=WHO, uuid=UUIDS, metadata=st.none() | METADATA, info=METADATA, allow=st.sampled_from(["finished", True]))
    def create(self, who: int, uuid: str, metadata: dict[str, Any] | None, info: dict[str, Any], allow: Any) -> None:
        same = self.matching(metadata) if metadata is not None else []
        refused = len(same) > 1 or (allow == "finished" if same else uuid in self.model)
        try:
            created = self.storages[who].create_entry(uuid, metadata, info, allow_overwrite=allow)
        except ValueError:
            assert refused
            return
        assert not refused
        self.backup_is_behind = False
        assert created == (same[0] if same else uuid)
        if same:
            self.model[created]["extra_info"].update(info)
        else:
            self.model[uuid] = {
                "uuid": uuid,
                "metadata": dict(metadata or {}),
                "extra_info": dict(info),
                "attachments": {},
            }

    @rule(who=WHO, uuids=st.lists(UUIDS, min_size=1, max_size=3), metadata=METADATA)
    def update(self, who: int, uuids: list[str], metadata: dict[str, Any]) -> None:
        known = [uuid for uuid in self.model if uuid in uuids]
        try:
            self.storages[who].update_entry(uuids, metadata=metadata, allow_multiple=True)
        except ValueError:
            assert not known
        self.backup_is_behind &= not known
        for uuid in known:
            self.model[uuid]["metadata"].update(metadata)

    @rule(who=WHO, metadata=METADATA, exact=st.booleans())
    def delete(self, who: int, metadata: dict[str, Any], exact: bool) -> None:
        before = self.storages[1 - who].read_entries(metadata_query=metadata, exact_match=exact)[1]
        assert self.storages[who].delete_entries(metadata_query=metadata, exact_match=exact) == len(before)
        self.backup_is_behind &= not before
        for uuid in before:
            del self.model[uuid]

    @rule(who=WHO, metadata=METADATA)
    def query(self, who: int, metadata: dict[str, Any]) -> None:
        assert self.storages[who].read_entries(metadata_query=metadata, exact_match=True)[1] == self.matching(metadata)

    @rule(who=WHO)
    def flush(self, who: int) -> None:
        self.storages[who].flush()
        content = (self.root / "index.json").read_bytes() if self.model else b""
        assert content.count(b'"metadata"') == len(self.model)

    @rule()
    def open_anew(self) -> None:
        self.storages[1].close()
        self.storages[1] = MetadataStorage(self.root, durable=False)

    @rule()
    def lose_the_index(self) -> None:
        if not self.backup_is_behind:
            (self.root / "index.json").unlink(missing_ok=True)

    @rule(uuid=UUIDS)
    def edit_by_hand(self, uuid: str) -> None:
        if uuid not in self.model or not (self.root / "index.json").exists():
            return
        self.model[uuid]["extra_info"] = {"by": "hand"}
        self.backup_is_behind = True  # until the next change that is not by hand
        (self.root / "index.json").write_text(json.dumps(self.model, indent=2))

    @invariant()
    def all_say_the_same(self) -> None:
        if not hasattr(self, "storages"):
            return
        for storage in self.storages:
            entries, uuids = storage.read_entries()
            assert dict(zip(uuids, entries, strict=True)) == self.model
            assert uuids == list(self.model)
        index = self.root / "index.json"
        assert (json.loads(index.read_bytes()) if index.exists() else {}) == self.model

    def teardown(self) -> None:
        shutil.rmtree(self.root)


TestTwoInstances = TwoInstances.TestCase
TestTwoInstances.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
