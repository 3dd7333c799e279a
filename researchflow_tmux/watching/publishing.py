"""What the scheduler lets others see of itself between two ticks: live.json, what a plug-in said, its decisions."""

from __future__ import annotations

import contextlib
from datetime import datetime

from researchflow_tmux.adapters import live_file, policy_file
from researchflow_tmux.adapters.decision_log import DecisionLog, most_bytes
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.workspace import WorkspacePaths
from researchflow_tmux.engine.loop import Engine
from researchflow_tmux.engine.planning.recording import Recorder
from researchflow_tmux.engine.planning.said import Said

FEW = 500
POLICY_EVERY_S = 1.0
"""What a plug-in said of more jobs is written no more often than this."""


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
        self._decisions: DecisionLog | None = None

    def log_decisions(self, setting: str) -> str | None:
        """Keep decisions from now on as `decision_log` says; why that cannot be, in words."""
        self.close()
        most = most_bytes(setting)
        self._engine.choice.recorder = None
        if most is None:
            return None
        try:
            self._decisions = DecisionLog(self._paths.decisions, most)
        except OSError as error:
            return f"{self._paths.decisions} cannot be written, so decisions are not kept: {error.strerror}"
        self._engine.choice.recorder = Recorder()
        return None

    def close(self) -> None:
        """Write what there is to write, and close."""
        self._write_decisions()
        if self._decisions is not None:
            self._decisions.close()
            self._decisions = None

    def _write_decisions(self) -> None:
        recorder = self._engine.choice.recorder
        if recorder is not None and self._decisions is not None:
            self._decisions.write(recorder.take())

    @property
    def started_at(self) -> datetime:
        """When this scheduler began."""
        return self._started_at

    def publish(self, note: str, sources: live_file.LiveSources) -> None:
        """Write what is different; `note` = where the list of GPUs comes from."""
        with contextlib.suppress(StoreError, OSError):
            live_file.publish(self._paths.live, self._live(note, sources), every_s=self._engine.rules.sweep_s)
            self._publish_policy()
        self._write_decisions()

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
        spoken = said.spoken
        if len(spoken) <= FEW or now_s - self._written_s >= POLICY_EVERY_S:
            state = policy_file.PolicyState(
                name=guest.name, orders=said.orders, spoken=spoken, keys=said.keys, refused=said.refused
            )
            policy_file.write(self._paths.policy, state)
            self._written, self._written_s = (said, said.version), now_s
