"""The timeline as bars in lanes."""

from __future__ import annotations

from datetime import datetime, tzinfo

from researchflow_tmux.drawing.gantt import Bar, Chart, Flag, Lane
from researchflow_tmux.drawing.gantt_ink import gantt
from researchflow_tmux.drawing.looks import look
from researchflow_tmux.hindsight.pictures.words import counted, lasted, moment, stretch
from researchflow_tmux.hindsight.timeline import Timeline, TimelineBar, TimelineDeadline, TimelineLane

TITLES = {"gpu": "Timeline by GPU", "job": "Timeline by job", "project": "Timeline by project"}


def timeline_svg(data: Timeline, *, width: float = 1200.0, zone: tzinfo | None = None) -> str:
    """The picture; times are on the clock of `zone` (None = of this machine)."""
    return gantt(_chart(data, zone), description(data, zone), width=width, zone=zone)


def description(data: Timeline, zone: tzinfo | None = None) -> str:
    """In words, for those who do not see it."""
    states = list({(bar.job, bar.attempt): bar.state for lane in data.lanes for bar in lane.bars}.values())
    said = ", ".join(f"{states.count(state)} {look(state).words}" for state in dict.fromkeys(states))
    return (
        f"{counted(data.attempts, 'attempt')} of {counted(data.jobs, 'job')} in {counted(len(data.lanes), 'lane')}, "
        f"{stretch(data.since, data.until, zone)}: {said or 'nothing ran'}."
    )


def _chart(data: Timeline, zone: tzinfo | None) -> Chart:
    lanes = [_lane(lane, zone, named=data.by != "job") for lane in data.lanes]
    if data.deadlines:
        flags = [_flag(each, zone) for each in data.deadlines if data.since <= each.at <= data.until]
        lanes = [Lane("deadlines", (), flags), *lanes] if flags else lanes
    if data.queue:
        profile: list[tuple[float, float | None]] = [(point.at.timestamp(), point.count) for point in data.queue]
        profile[-1] = (profile[-1][0], None)
        most = max(point.count for point in data.queue)
        lanes.append(Lane("jobs that wait", (), note=f"at most {most}", profile=profile))
    counts = f"{counted(data.jobs, 'job')}, {counted(data.attempts, 'attempt')}"
    notes = [f"{data.workspace} · {stretch(data.since, data.until, zone)} · {counts}"]
    if data.left_out:
        notes.append(f"The newest {len(data.lanes)} of {data.jobs} jobs are shown.")
    if not data.attempts:
        notes.append("Nothing ran in this time.")
    end = max(data.until.timestamp(), data.since.timestamp() + 1e-3)
    return Chart(TITLES[data.by], notes, lanes, data.since.timestamp(), end, data.at.timestamp())


def _lane(lane: TimelineLane, zone: tzinfo | None, *, named: bool) -> Lane:
    flags = [_flag(each, zone) for each in lane.deadlines]
    return Lane(lane.title, [_bar(bar, zone, named=named) for bar in lane.bars], flags, lane.note)


def _bar(bar: TimelineBar, zone: tzinfo | None, *, named: bool) -> Bar:
    begin = bar.begin.timestamp()
    wide = f"{bar.attempt}" if bar.attempt > 1 else ""
    label = (bar.name + (f" ·{wide}" if wide else "")) if named else wide
    # On a lane of many there is only room for the intervals of what runs.
    low_s, high_s = (None, None) if named and not bar.going_on else (bar.expected_low_s, bar.expected_high_s)
    return Bar(
        begin=begin,
        end=bar.end.timestamp(),
        row=bar.row,
        kind=bar.state,
        label=label,
        tip=tuple(_tip(bar, zone)),
        expected=None if bar.expected_s is None or bar.state == "planned" else begin + bar.expected_s,
        earliest=None if low_s is None else begin + low_s,
        latest=None if high_s is None else begin + high_s,
        going_on=bar.going_on and bar.attempt > 0,
    )


def _tip(bar: TimelineBar, zone: tzinfo | None) -> list[str]:
    took_s = (bar.end - bar.begin).total_seconds()
    which = f", attempt {bar.attempt}" if bar.attempt > 1 else ""
    lines = [f"{bar.name} (job {bar.job}{which})", f"{look(bar.state).words} · {lasted(took_s)}"]
    end = "" if bar.going_on else f" to {_until(bar.begin, bar.end, zone)}"
    lines.append(f"{'since ' if bar.going_on else ''}{moment(bar.begin, zone, seconds=True)}{end}")
    if bar.expected_s is not None:
        between = (
            f" (80 %: {lasted(bar.expected_low_s)} to {lasted(bar.expected_high_s)})"
            if bar.expected_low_s is not None and bar.expected_high_s is not None
            else ""
        )
        lines.append(f"expected {lasted(bar.expected_s)}{between}")
    if bar.gpus:
        part = f", {bar.share:.0%} of each" if bar.share is not None and 0 < bar.share < 1 else ""
        lines.append(f"GPU {', '.join(map(str, bar.gpus))}{part}")
    whose = [word for word in (bar.project and f"project {bar.project}", bar.user and f"user {bar.user}") if word]
    return [*lines, *([" · ".join(whose)] if whose else []), *([bar.reason] if bar.reason else [])]


def _until(begin: datetime, end: datetime, zone: tzinfo | None) -> str:
    text = moment(end, zone, seconds=True)
    return text[11:] if text[:10] == moment(begin, zone)[:10] else text


def _flag(each: TimelineDeadline, zone: tzinfo | None) -> Flag:
    said = "missed" if each.missed else "kept or ahead"
    tip = (each.name, f"deadline {moment(each.at, zone, seconds=True)}: {said}")
    return Flag(each.at.timestamp(), tip, each.missed)
