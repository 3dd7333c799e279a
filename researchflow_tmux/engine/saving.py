"""Makes what a tick changed durable: intents before their acts, ends and answers at once, the rest with company."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from researchflow_tmux.domain.errors import StoreError
from researchflow_tmux.domain.events import AttemptEnded, AttemptLaunching, AttemptStarted, Event, Payload
from researchflow_tmux.domain.gpus import META_CONDITIONS, encode_conditions
from researchflow_tmux.engine.context import Context
from researchflow_tmux.engine.launching import Launcher
from researchflow_tmux.engine.pause import Pause
from researchflow_tmux.engine.planning.choice import Choice
from researchflow_tmux.policies.grace import META_TOUCHED, encode_touched

FULL_DISK_S = 1.0
"""How often a disk that refused is tried again; launching goes on as soon as it takes what there is to say."""
RESULTS_S = 0.2
"""That an attempt was launched or began is saved with whatever comes next, or after about this. Losing it in a
crash is harmless: it can be observed again. It saves two waits for the disk per job."""


class Saver:
    """Writes the workload's changes and the answers to requests, in one transaction a tick."""

    def __init__(self, context: Context, launcher: Launcher, pause: Pause, choice: Choice) -> None:
        self._it = context
        self._launcher = launcher
        self._pause = pause
        self._choice = choice
        self.replies: dict[int, dict[str, Any]] = {}
        """Answers that wait for the save, by request."""
        self.refused = False
        """The disk did not take the last save."""
        self.on_saved: Callable[[list[Event]], None] = lambda _events: None
        self._by = float("inf")
        """When what may wait a moment for company must be saved."""

    @property
    def due_s(self) -> float | None:
        """Seconds until there is something to save; None = nothing waits for it."""
        if not self._it.workload.changed:
            return None
        return FULL_DISK_S if self.refused else RESULTS_S

    def note_rest(self) -> None:
        """The tick is over: what is not saved by now waits for company, not for ever."""
        if self._it.workload.changed:
            self._by = min(self._by, self._it.clock.monotonic() + RESULTS_S)

    def save(self, now: datetime, *, touched: bool) -> bool:
        """Make everything durable. False = the disk refuses: nothing is launched until it does not.

        `touched` = when GPUs were last used matters (a grace period is set).
        """
        workload, meta = self._it.workload, self._it.meta
        payloads, jobs, attempts = workload.take_changes()
        if workload.gpus_changed:
            meta[META_CONDITIONS] = encode_conditions(workload.gpus)
        if touched and any(isinstance(payload, AttemptEnded) for payload in payloads):
            meta[META_TOUCHED] = encode_touched(workload.touched)
        meta |= self._choice.meta(payloads, now)
        if not (payloads or self.replies or meta) or self._may_wait(payloads):
            return True
        try:
            events = self._it.store.commit(payloads, jobs, attempts, at=now, replies=self.replies, meta=meta)
        except StoreError as error:
            self.refused = True
            self._launcher.refused(str(error))
            return False
        if self.refused:  # the disk takes it again: no reason to wait for the end of a long pause
            self.refused = False
            self._pause.over()
        workload.changes_saved()
        self.replies.clear()
        meta.clear()
        self._by = float("inf")
        self.on_saved(events)
        return True

    def _may_wait(self, payloads: list[Payload]) -> bool:
        """Whether nothing of it is an intent, an end or an answer: then it may wait a moment for company."""
        if self.replies or self._it.meta or self._it.clock.monotonic() >= self._by:
            return False
        return all(isinstance(payload, AttemptLaunching | AttemptStarted) for payload in payloads)
