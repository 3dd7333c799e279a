"""A policy plug-in in the process of the test: breakpoints and prints work, and what it raises reaches the test."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from researchflow_tmux.adapters import policy_child
from researchflow_tmux.adapters.policy_process import FIELDS
from researchflow_tmux.domain.errors import PolicyError
from researchflow_tmux.domain.plugin import Answer, Hooks, Question, is_plugin


class PolicyHere:
    """The PolicyPlugin for an object, a class, a function, or the name of one (`module:object`, `file.py:object`)."""

    def __init__(self, target: Any, directory: str | None = None) -> None:
        """Take it; a file is looked for in `directory` (the current one). Raises PolicyError if it is no policy."""
        named = isinstance(target, str)
        self.name = target if named else f"test:{getattr(target, '__name__', type(target).__name__)}"
        self._directory = directory or os.getcwd()
        try:
            if named and not is_plugin(target):
                raise policy_child.Unfit("a policy of yours is named as module:object or file.py:object")
            self._policy = policy_child.load(target, self._directory) if named else policy_child.Policy(target)
        except policy_child.Unfit as error:
            raise PolicyError(f"policy {self.name}: {error}") from None
        self._policy.learn(FIELDS)

    def hooks(self) -> Hooks:
        """What it has."""
        return msgspec.convert(self._policy.hooks, Hooks)

    def ask(self, question: Question) -> Answer:
        """What it says now. Raises PolicyError, with what it raised as the cause."""
        asked = msgspec.json.decode(msgspec.json.encode(question))
        try:
            return msgspec.convert(self._policy.answer(asked), Answer)
        except Exception as error:
            why = policy_child.words(error, self._directory, self._policy.about)
            raise PolicyError(f"policy {self.name}: {why}") from error

    def changed(self) -> bool:
        """Nobody edits it during a test."""
        return False

    def reload(self) -> None:
        """It forgets nothing, and what is asked anew it answers anew."""
