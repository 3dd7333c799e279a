"""What the scheduler lets others see of itself between two ticks: live.json, and what a policy plug-in said."""

from __future__ import annotations

import contextlib
from datetime import datetime

from researchflow_tmux.adapters import live_file, policy_file
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.said import Said

POLICY_EVERY_S = 1.0
"""What a plug-in said of thousands of jobs is written no more often than this."""


class Publisher:
    """Writes views of one engine; a full disk leaves them old, and status then says how old."""

    def __init__(self, paths: WorkspacePaths, engine: Engine, session: str) -> None:
        """`session` = as it was opened: a changed task_name renames no session."""
        self.session = session
        self._paths = paths
        self._engine = engine
        self._started_at = engine.clock.now()
        self._written: tuple[Said, int] | None = None
        self._written_s = float("-inf")

    @property
    def started_at(self) -> datetime:
        """When this scheduler began."""
        return self._started_at

    def publish(self, note: str, sources: live_file.LiveSources) -> None:
        """Write what is different; `note` = where the list of GPUs comes from."""
        with contextlib.suppress(StoreError, OSError):
            live_file.publish(self._paths.live, self._live(note, sources), every_s=self._engine.rules.sweep_s)
            self._publish_policy()

    def _live(self, note: str, sources: live_file.LiveSources) -> live_file.Live:
        engine = self._engine
        workload, room = engine.workload, engine.room
        return live_file.snapshot(
            now=engine.clock.now(),
            started_at=self._started_at,
            session=self.session,
            devices=room.devices,
            readings=room.readings,
            blocked=room.blocks(workload),
            tickets=room.foreign_tickets(),
            share=room.share,
            cpu_places=room.max_cpu_jobs,
            rules=room.rules,
            seen=room.seen,
            touched=workload.touched,
            note=note,
            halt=engine.halted(),
            sources=sources,
            policy_trouble=engine.choice.trouble,
        )

    def _publish_policy(self) -> None:
        guest = self._engine.choice.guest
        said = None if guest is None else guest.said
        now_s = self._engine.clock.monotonic()
        if guest is None or said is None or self._written == (said, said.version):
            return
        if now_s - self._written_s >= POLICY_EVERY_S:
            state = policy_file.PolicyState(name=guest.name, orders=said.orders, keys=said.keys, refused=said.refused)
            policy_file.write(self._paths.policy, state)
            self._written, self._written_s = (said, said.version), now_s
