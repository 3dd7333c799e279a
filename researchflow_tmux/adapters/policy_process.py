"""A policy plug-in in a child process that may be killed: it must neither stall the scheduler nor take it along."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import msgspec

from researchflow_tmux.adapters.user_child import UserChild, written
from researchflow_tmux.domain.errors import PolicyError
from researchflow_tmux.domain.plugin import (
    Answer,
    Hooks,
    PluginEvent,
    PluginFacts,
    PluginGpu,
    PluginJob,
    PluginRun,
    Question,
)

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "policy_child.py")
DEADLINE_S = 1.0
"""For one question. More than this is never spent on waiting for a plug-in in one decision."""
LOADING_S = 10.0
"""To import its module. The loop does not wait for that; nothing starts meanwhile, so that nothing starts wrongly."""
MOST_MIB = 1024
"""Memory that it may use."""
FIELDS = {
    kind: list(struct.__struct_fields__)
    for kind, struct in (
        ("Job", PluginJob),
        ("Gpu", PluginGpu),
        ("Run", PluginRun),
        ("Facts", PluginFacts),
        ("Event", PluginEvent),
    )
}
"""What the rows of a question mean, by the name under which the plug-in sees them."""


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question as it goes through the pipe."""

    deadline_s: float
    fields: dict[str, list[str]]
    facts: PluginFacts
    jobs: list[PluginJob]
    gone: list[int]
    events: list[PluginEvent]


class PolicyProcess:
    """The PolicyPlugin for `policy: module:object`."""

    def __init__(
        self,
        name: str,
        directory: str,
        *,
        patient: bool = False,
        deadline_s: float = DEADLINE_S,
        loading_s: float = LOADING_S,
        most_mib: int = MOST_MIB,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to load `name`; modules are looked for in `directory` first.

        `patient` = `hooks` waits until it is loaded, which a scheduler must not.
        """
        self.name = name
        self._directory = directory
        self._patient = patient
        self._deadline_s, self._loading_s, self._most_mib = deadline_s, loading_s, most_mib
        self._monotonic = monotonic
        self._child: UserChild | None = None
        self._hooks: Hooks | None = None
        place = name.rpartition(":")[0]
        file = place if place.endswith(".py") else place.replace(".", os.sep) + ".py"
        self._files: dict[str, tuple[int, int] | None] = dict.fromkeys([os.path.join(directory, file)])
        self.reload()

    def hooks(self) -> Hooks | None:
        """What it has; None = it is still being loaded. Raises PolicyError when it cannot be."""
        if self._hooks is not None:
            return self._hooks
        if self._child is None:
            raise self._error("its process cannot be started")
        try:
            told = self._child.receive(self._loading_s if self._patient else 0.0)
        except (OSError, ValueError) as error:
            raise self._gone(f"its process ended while it was loaded ({error})") from error
        if told is None:
            if self._monotonic() - self._child.began_s >= self._loading_s:
                raise self._gone(f"is not loaded within {self._loading_s:g} s")
            return None
        self._watch(told.get("files"))
        if "error" in told:
            raise self._gone(str(told["error"]))
        self._hooks = msgspec.convert(told.get("hooks"), Hooks)
        return self._hooks

    def ask(self, question: Question) -> Answer:
        """What it says now. Raises PolicyError; then its process is gone, and `reload` begins anew."""
        if self._child is None:
            raise self._error("its process is gone")
        asked = _Asked(
            deadline_s=self._deadline_s,
            fields=FIELDS,
            facts=question.facts,
            jobs=question.jobs,
            gone=question.gone,
            events=question.events,
        )
        until_s = self._monotonic() + self._deadline_s
        try:
            sent = self._child.send(msgspec.json.encode(asked), self._deadline_s)
            answer = self._child.receive(until_s - self._monotonic()) if sent else None
            if answer is not None and "error" not in answer:
                return msgspec.convert(answer, Answer, strict=False)
        except (OSError, ValueError, TypeError) as error:
            raise self._gone(f"its process ended ({error})") from error
        if answer is None:
            raise self._gone(f"gave no answer within {self._deadline_s:g} s")
        raise self._gone(str(answer["error"]))

    def changed(self) -> bool:
        """Whether one of its files is different from when it was loaded."""
        return any(written(path) != then for path, then in self._files.items())

    def reload(self) -> None:
        """Begin to load it anew."""
        self.close()
        self._hooks = None
        self._files = {path: written(path) for path in self._files}
        command = [sys.executable, "-P", CHILD, self.name, self._directory, str(self._loading_s), str(self._most_mib)]
        try:
            self._child = UserChild(command, self._directory, self._monotonic)
        except OSError:
            self._child = None  # `hooks` says so

    def close(self) -> None:
        """End its process."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _watch(self, files: object) -> None:
        if isinstance(files, list):
            self._files = {path: written(path) for path in files if isinstance(path, str)}

    def _gone(self, why: str) -> PolicyError:
        self.close()
        return self._error(why)

    def _error(self, why: str) -> PolicyError:
        return PolicyError(f"policy {self.name}: {why}")
