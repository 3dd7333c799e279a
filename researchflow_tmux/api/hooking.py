"""The hooks of a workspace: what there is, and trying them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

from researchflow_tmux.adapters.clock import SystemClock
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.domain.errors import UsageError
from researchflow_tmux.domain.hooks import HOOK_EVENTS, Hook, HookEvent
from researchflow_tmux.hooks.delivery import deliver
from researchflow_tmux.hooks.facts import sample
from researchflow_tmux.hooks.secrets import shown


class HookView(msgspec.Struct, kw_only=True):
    """One hook, without its secrets."""

    event: str
    hook: str
    """The command, or where the webhook is."""
    timeout_s: float
    retries: int


class HookTest(msgspec.Struct, kw_only=True):
    """How one try went."""

    event: str
    hook: str
    problem: str | None
    """null = it was taken."""


def listed(workspace: Workspace) -> list[HookView]:
    """All hooks, by event."""
    return [
        HookView(event=event, hook=shown(hook), timeout_s=hook.timeout_s, retries=hook.retries)
        for event, hook in _all(workspace)
    ]


def test(workspace: Workspace, event: HookEvent, *, show: bool) -> list[HookTest]:
    """Tell the hooks of an event something made up, once each, from this process and its environment.

    `show` = the output of commands goes to this process's own. Raises UsageError when there is no such hook.
    """
    hooks = workspace.settings.hooks.get(event, ())
    if not hooks:
        hint = f"add one to {workspace.paths.config}: `hooks: {{{event}: COMMAND or URL}}`"
        raise UsageError(f"there is no hook for {event}", hint=hint)
    settings, root = workspace.settings, workspace.paths.root
    fact = sample(event, root, settings.task_name, os.uname().nodename, SystemClock().now())
    environ = dict(os.environ)
    return [
        HookTest(event=event, hook=shown(hook), problem=deliver(hook, fact, environ, root, show=show)) for hook in hooks
    ]


def _all(workspace: Workspace) -> Iterator[tuple[HookEvent, Hook]]:
    for event in HOOK_EVENTS:
        for hook in workspace.settings.hooks.get(event, ()):
            yield event, hook


__all__ = ["HOOK_EVENTS", "HookTest", "HookView", "listed", "test"]
