"""One `list-panes -a`, read into our sessions and the names of everybody else's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from researchflow_tmux.ports import Session, Sessions

TAG_OPTION = "@rf_attempt"
"""The session option that says whose a session is."""

FORMAT = (
    "#{session_name}:#{session_created}:#{session_attached}:#{pane_id}:#{pane_pid}:#{pane_dead}:#{" + TAG_OPTION + "}"
)
"""tmux turns ":" in session names into "_", so it cannot occur before the tag, which comes last."""


def parse(lines: Sequence[str], prefix: str, server_pid: int) -> Sessions:
    """Sort the lines of `FORMAT` into sessions whose tag begins with `prefix`, and others."""
    ours: dict[str, Session] = {}
    oldest: dict[str, int] = {}
    foreign = set()
    for name, (created, attached, pane_id, pane_pid, dead, tag) in _rows(lines):
        if not tag.startswith(prefix):
            foreign.add(name)
            continue
        number = int(pane_id[1:])
        if number > oldest.setdefault(name, number):
            continue  # a pane that the user opened beside the runner's
        oldest[name] = number
        ours[name] = Session(
            name=name,
            tag=tag,
            pane_pid=int(pane_pid or 0),
            pane_dead=dead == "1",
            attached=int(attached),
            created_at=float(created),
        )
    return Sessions(by_name=ours, foreign_names=frozenset(foreign), server_pid=server_pid)


def _rows(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """A line with too few fields is the rest of somebody's option with a line break in it."""
    for line in lines:
        name, *fields = line.split(":", 6)
        if len(fields) == 6 and fields[2][1:].isdigit():
            yield name, fields
