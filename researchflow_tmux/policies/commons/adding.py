"""What the pages of the machine register come to: the use and the wants of all other workspaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec.structs import replace

from researchflow_tmux.domain.accounts import NO_USE, AccountUse, Rate
from researchflow_tmux.domain.register import Others, Page, Seen, Want

LAUNCHING_S = 60.0
"""So long after its scheduler died an attempt may still begin whose session was being opened."""


def others(seen: Iterable[Seen], own_id: str, now: datetime, half_life_s: float) -> Others:
    """Everybody's but the own page, added up.

    Of a workspace whose scheduler is dead only those attempts count as running that still live; its hours stay used,
    those that were granted too: what they really came to is known when its scheduler runs again.
    """
    uses: dict[str, AccountUse] = {}
    used: dict[str, float] = {}
    wants: list[tuple[str, Want]] = []
    unknown = []
    for each in seen:
        page = each.page
        if page is not None and page.workspace_id == own_id:
            continue
        if each.problem is not None:
            unknown.append(f"{each.name}: {each.problem}")
        if page is None:
            continue
        for owner, use in (page.uses if each.alive else _left(page, each.living)).items():
            uses[owner] = uses.get(owner, NO_USE).plus(use)
        fade = 2.0 ** (-max((now - page.at).total_seconds(), 0.0) / half_life_s)
        for project, amount in page.used_gpu_s.items():
            used[project] = used.get(project, 0.0) + amount * fade
        if each.alive:
            wants += [(page.path, want) for want in page.wants]
    return Others(uses=uses, used_gpu_s=used, wants=tuple(wants), unknown=tuple(unknown))


def may_live(page: Page, now: datetime, *, same_boot: bool) -> list[str]:
    """Tags of attempts of a dead scheduler that nobody has seen yet, and that may be about to begin."""
    if not same_boot or (now - page.at).total_seconds() > LAUNCHING_S:
        return []
    return [attempt.tag for attempt in page.attempts if attempt.runner_pid is None]


def _left(page: Page, living: frozenset[str]) -> Mapping[str, AccountUse]:
    running: dict[str, Rate] = {}
    for attempt in page.attempts:
        if attempt.tag in living:
            for owner in attempt.owners:
                running[owner] = running.get(owner, Rate()).plus(attempt.rate)
    return {owner: replace(use, running=running.get(owner, Rate())) for owner, use in page.uses.items()}
