"""The user's comparison of GPUs, asked in a child process that may be killed: it must not stall the scheduler."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec

from researchflow_tmux.adapters.user_child import UserChild, written
from researchflow_tmux.domain.errors import RankError
from researchflow_tmux.domain.resources import GpuInfo

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "user_order_child.py")
DEADLINE_S = 1.0
"""Time for one answer. More than this is never spent on waiting for the function in one decision."""
LOADING_S = 60.0
"""Time to import the module, which nobody waits for: until then there is no order yet."""
PAUSE_S, MAX_PAUSE_S = 60.0, 600.0
"""After a function that hung, the first try comes after this; later ones after twice as long each time."""


class UserOrder:
    """The GpuRanker for `gpu_order: module:function`."""

    def __init__(
        self,
        name: str,
        directory: str,
        *,
        deadline_s: float = DEADLINE_S,
        loading_s: float = LOADING_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to load the function `name` (`module:function`); modules are looked for in `directory` first.

        A module that is edited is loaded anew.
        """
        self._name = name
        self._directory = directory
        self._deadline_s, self._loading_s = deadline_s, loading_s
        self._monotonic = monotonic
        self._child: UserChild | None = None
        self._loaded: dict[str, Any] | None = None
        """What the child said when it had loaded the module; None = it has not yet."""
        self._file = ""
        self._written: tuple[int, int] | None = None
        self._patience_s = deadline_s
        """For how long the next decision waits for the module to be loaded."""
        self._pause_s = PAUSE_S
        self._not_before = float("-inf")
        self._trouble = ""
        with contextlib.suppress(OSError):  # `rank` tries again, and says why not
            self._ready_child()

    def rank(self, infos: Sequence[GpuInfo]) -> list[str]:
        """The UUIDs of `infos`, the best first; empty = the module is still being loaded.

        Raises RankError when the function raised, returned nonsense or did not answer.
        """
        if self._monotonic() < self._not_before:
            raise self._error(self._trouble)
        try:
            answer = self._ask(infos)
        except (OSError, ValueError) as error:
            self.close()
            raise self._error(f"its process ended ({error})") from error
        if answer is None:
            return []
        if "error" in answer:
            raise self._error(str(answer["error"]))
        places = answer.get("order")
        if not isinstance(places, list) or sorted(places) != list(range(len(infos))):
            raise self._error("its process answered something else than an order")
        return [infos[place].uuid for place in places]

    def close(self) -> None:
        """End the child. The next `rank` would start another."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _ask(self, infos: Sequence[GpuInfo]) -> dict[str, Any] | None:
        """The answer; None = still loading."""
        child = self._ready_child()
        if self._loaded is None:
            self._loaded = child.receive(self._patience_s)
            self._patience_s = 0.0
            self._file = str((self._loaded or {}).get("file") or "")
            self._written = written(self._file)
        if self._loaded is None:
            if self._monotonic() - child.began_s > self._loading_s:
                self._give_up_for_a_while("is not loaded in time")
            return None
        request = {"deadline_s": self._deadline_s, "infos": msgspec.to_builtins(infos)}
        sent = child.send(json.dumps(request).encode(), self._deadline_s)
        answer = child.receive(self._deadline_s) if sent else None
        if answer is None:
            self._give_up_for_a_while(f"gave no answer within {self._deadline_s:g} s")
        return answer

    def _ready_child(self) -> UserChild:
        edited = self._loaded is not None and written(self._file) != self._written
        if self._child is None or self._child.poll() is not None or edited:
            self.close()
            module, _, function = self._name.partition(":")
            command = [sys.executable, "-P", CHILD, module, function, self._directory, str(self._loading_s)]
            self._child = UserChild(command, self._directory, self._monotonic)
            self._loaded = None
            self._patience_s = self._deadline_s
        return self._child

    def _give_up_for_a_while(self, did: str) -> NoReturn:
        self.close()
        self._not_before = self._monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, MAX_PAUSE_S)
        self._trouble = f"it {did} and is asked again later"
        raise self._error(self._trouble)

    def _error(self, why: str) -> RankError:
        return RankError(f"gpu_order {self._name}: {why}")
