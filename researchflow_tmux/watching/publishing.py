"""What the running scheduler tells about itself, for whoever asks for the status."""

from __future__ import annotations

import contextlib
from datetime import datetime

from researchflow_tmux.adapters import live_file
from researchflow_tmux.adapters.live_file import LiveSources
from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.engine.loop import Engine


def publish(
    path: str, engine: Engine, *, now: datetime, started_at: datetime, session: str, note: str, sources: LiveSources
) -> None:
    """Write live.json, if there is anything new. On a full disk status says how old its view is."""
    workload, room = engine.workload, engine.room
    with contextlib.suppress(StoreError):
        live_file.publish(
            path,
            live_file.snapshot(
                now=now,
                started_at=started_at,
                session=session,
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
            ),
            every_s=engine.rules.sweep_s,
        )
