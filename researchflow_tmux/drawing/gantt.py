"""Bars in lanes over time, laid out: where each bar, label and mark stands. Nothing is painted here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import tzinfo
from typing import NamedTuple

from researchflow_tmux.drawing.axis_ink import AXIS, readable_marks
from researchflow_tmux.drawing.lettering import fitted, shortened, width
from researchflow_tmux.drawing.looks import LOOKS, look
from researchflow_tmux.drawing.sheet import MARGIN, Head, Key, head, keys_of
from researchflow_tmux.drawing.steps import outlines
from researchflow_tmux.drawing.timeaxis import Moment, TimeAxis

LEAST_PX = 2.0
"""Bars shorter than this are drawn together with their neighbours."""
MOST_BOXES = 8_000
WIDEST_TITLE = 230.0
ROW_HEIGHTS = ((24, 26.0), (60, 20.0), (160, 16.0), (400, 13.0))
"""(rows up to, pixels of each)."""
SMALL_ROW = 11.0
NOTE_FONT = 10.0
STRIP = 44.0
FLAG = 11.0
"""Flags stand at least so far apart."""
NAMED = 8
"""Bars that are named when several are drawn as one."""


class Bar(NamedTuple):
    """Something that took from `begin` to `end`, in seconds since 1970."""

    begin: float
    end: float
    row: int
    """Within its lane; the bars of a row do not overlap."""
    kind: str
    """Its look: see `looks.LOOKS`."""
    label: str = ""
    tip: tuple[str, ...] = ()
    expected: float | None = None
    """When it was (or is) expected to end."""
    earliest: float | None = None
    latest: float | None = None
    """The interval around that."""
    going_on: bool = False
    """It has not ended: what is expected of it lies ahead."""


class Flag(NamedTuple):
    """A moment that something was due."""

    at: float
    tip: tuple[str, ...]
    missed: bool


class Lane(NamedTuple):
    """A line of the picture, or several that belong together."""

    title: str
    bars: Sequence[Bar]
    flags: Sequence[Flag] = ()
    note: str = ""
    profile: Sequence[tuple[float, float | None]] = ()
    """Instead of bars: (moment, value from then on); None = unknown."""

    @property
    def rows(self) -> int:
        """How many it needs."""
        return 1 + max((bar.row for bar in self.bars), default=0)


class Chart(NamedTuple):
    """All there is to draw."""

    title: str
    notes: Sequence[str]
    lanes: Sequence[Lane]
    begin: float
    end: float
    now: float | None = None
    """Within the picture, or None."""


class Box(NamedTuple):
    """A bar, or several that are too short for one each, where it stands."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    label: str
    tip: tuple[str, ...]
    line: tuple[float, float, float] | None = None
    """What was expected: (y, from x, to x), below the bar or, of what goes on, behind it."""
    spread: tuple[float, float] | None = None
    """The interval of that: (from x, to x)."""
    ahead: bool = False
    """`line` is a ghost of the bar's own height, from its end on."""
    beyond: bool = False
    """It goes on outside of the picture."""
    bars: int = 1
    """Bars that it stands for."""


class FlagBox(NamedTuple):
    """A flag where it stands."""

    x: float
    y: float
    height: float
    flag: Flag


class LaneBox(NamedTuple):
    """A lane where it stands."""

    title: str
    whole: str
    """The title uncut."""
    note: str
    y: float
    height: float
    font: float
    boxes: list[Box]
    flags: list[FlagBox]
    steps: list[list[tuple[float, float]]]
    """Outlines of a profile, one for each stretch that is known."""
    top: float = 0.0
    """The greatest value of the profile."""


class Plan(NamedTuple):
    """The picture as it is laid out."""

    head: Head
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    axis: TimeAxis
    marks: list[Moment]
    lanes: list[LaneBox]
    now: float | None
    kinds: list[str]


def plan(chart: Chart, *, sheet_width: float = 1200.0, zone: tzinfo | None = None, keys: Sequence[Key] = ()) -> Plan:
    """Lay it out. `keys` = what the legend says besides the states."""
    kinds = list(dict.fromkeys(bar.kind for lane in chart.lanes for bar in lane.bars))
    kinds.sort(key=_place_in_legend)
    top_part = head(chart.title, chart.notes, [*keys_of(kinds), *keys], sheet_width)
    rows = sum(lane.rows for lane in chart.lanes if not lane.profile)
    row = next((height for most, height in ROW_HEIGHTS if rows <= most), SMALL_ROW)
    font = min(row - 3.0, 12.0)
    titles = max((width(lane.title, font) for lane in chart.lanes), default=0.0)
    notes = max((width(lane.note, NOTE_FONT) for lane in chart.lanes), default=0.0)
    gutter = min(max(titles, notes), WIDEST_TITLE, sheet_width * 0.3)
    left, right = MARGIN + gutter + 10, sheet_width - MARGIN
    top = top_part.bottom + AXIS
    # A bar that is too short is made longer: that may not leave the picture.
    axis = TimeAxis(chart.begin, max(chart.end, chart.begin + 1e-3), left + 1, right - 2 * LEAST_PX, zone)
    least = LEAST_PX
    while True:
        lanes, bottom = _lanes(chart, axis, _Sizes(top, row, font, gutter, least, right))
        if sum(len(lane.boxes) for lane in lanes) <= MOST_BOXES or least > 16:
            break
        least *= 2
        axis = axis._replace(right=right - 2 * least)
    now = chart.now if chart.now is not None and chart.begin <= chart.now <= chart.end else None
    return Plan(
        top_part,
        sheet_width,
        bottom + AXIS + 6,
        left,
        right,
        top,
        bottom,
        axis,
        readable_marks(axis, now),
        lanes,
        now,
        kinds,
    )


class _Sizes(NamedTuple):
    top: float
    row: float
    font: float
    gutter: float
    least: float
    right: float


def _place_in_legend(kind: str) -> int:
    return list(LOOKS).index(kind) if kind in LOOKS else len(LOOKS)


def _lanes(chart: Chart, axis: TimeAxis, sizes: _Sizes) -> tuple[list[LaneBox], float]:
    """The lanes from top to bottom, and where they end."""
    y, lanes = sizes.top, []
    single = all(lane.rows == 1 for lane in chart.lanes)
    padding = 0.0 if single and sizes.row < 20 else 3.0
    for lane in chart.lanes:
        height = (STRIP if lane.profile else lane.rows * sizes.row) + 2 * padding
        highest = max((value for _, value in lane.profile if value is not None), default=0.0)
        steps = outlines(lane.profile, axis, y + padding + STRIP - 2, (STRIP - 8) / (highest or 1.0))
        title = shortened(lane.title, sizes.font, sizes.gutter)
        note = fitted(lane.note, NOTE_FONT, sizes.gutter) if height >= 30 else ""
        boxes, flags = _rows(lane, axis, y + padding, sizes), _flags(lane, axis, y + padding, sizes)
        lanes.append(LaneBox(title, lane.title, note, y, height, sizes.font, boxes, flags, steps, highest))
        y += height
    return lanes, y


def _flags(lane: Lane, axis: TimeAxis, y: float, sizes: _Sizes) -> list[FlagBox]:
    """The flags of a lane; those that would cover each other are one."""
    shown = sorted((flag for flag in lane.flags if axis.begin <= flag.at <= axis.end), key=lambda flag: flag.at)
    boxes: list[FlagBox] = []
    near: list[Flag] = []
    for flag in shown:
        x = axis.place(flag.at)
        if near and x < boxes[-1].x + FLAG:
            near.append(flag)
            boxes[-1] = boxes[-1]._replace(flag=_one(near))
        else:
            near = [flag]
            boxes.append(FlagBox(x, y, sizes.row, flag))
    return boxes


def _one(flags: Sequence[Flag]) -> Flag:
    lines = [line for flag in flags[:NAMED] for line in flag.tip]
    more = [f"and {len(flags) - NAMED} more"] if len(flags) > NAMED else []
    tip = (f"{len(flags)} deadlines", *lines, *more)
    return Flag(flags[0].at, tip, any(flag.missed for flag in flags))


def _rows(lane: Lane, axis: TimeAxis, y: float, sizes: _Sizes) -> list[Box]:
    rows: list[list[Bar]] = [[] for _ in range(lane.rows)]
    for bar in lane.bars:
        rows[bar.row].append(bar)
    return [box for number, bars in enumerate(rows) for box in _row(bars, axis, y + number * sizes.row, sizes)]


def _row(bars: Iterable[Bar], axis: TimeAxis, y: float, sizes: _Sizes) -> list[Box]:
    """The boxes of a row, from left to right; none overlaps another."""
    seen = (bar for bar in bars if bar.end >= axis.begin and bar.begin <= axis.end)
    ordered = sorted(seen, key=lambda bar: (bar.begin, bar.end))
    boxes: list[Box] = []
    short: list[Bar] = []
    start = right = axis.left

    def flush() -> None:
        nonlocal right
        if short:
            boxes.append(_together(short, start, y, sizes))
            right = start + sizes.least
            short.clear()

    for place, bar in enumerate(ordered):
        first, last = axis.place(bar.begin), axis.place(bar.end)
        free = start + sizes.least if short else right
        x = max(first, free)
        if last - x >= sizes.least:
            flush()
            following = axis.place(ordered[place + 1].begin) if place + 1 < len(ordered) else axis.right
            boxes.append(_box(bar, x, last, y, axis, sizes, max(following, last)))
            right = last
        elif short and first < free:
            short.append(bar)
        else:
            flush()
            short.append(bar)
            start = x
    flush()
    return boxes


def _box(bar: Bar, x: float, end: float, y: float, axis: TimeAxis, sizes: _Sizes, following: float) -> Box:
    line = spread = None
    height = sizes.row - (6.0 if sizes.row >= 16 else 3.0)
    top = y + 1
    beyond = False
    if bar.expected is not None and bar.going_on:
        to = axis.place(bar.expected)
        beyond = bar.expected > axis.end
        line = (top, end, max(to, end)) if to > end + 1 else None
    elif bar.expected is not None:
        # Its own band below the bar; it may not run into that of the next bar.
        to = min(axis.place(bar.expected), following)
        beyond = axis.place(bar.expected) > following
        line = (top + height + (2.5 if sizes.row >= 16 else 1.2), x, max(to, x + 1))
    if bar.earliest is not None and bar.latest is not None:
        low, high = (min(axis.place(at), following) for at in (bar.earliest, bar.latest))
        low = max(low, end) if bar.going_on else low
        wide_enough = high > low + 1 and (sizes.row >= 16 or bar.going_on)
        spread = (low, high) if wide_enough else None
    size = min(height - 2, 11.0)
    label = shortened(bar.label, size, end - x - 8) if size >= 7 else ""
    return Box(
        x, top, end - x, height, bar.kind, label, bar.tip, line, spread, bar.going_on and line is not None, beyond
    )


def _together(bars: Sequence[Bar], x: float, y: float, sizes: _Sizes) -> Box:
    height = sizes.row - (6.0 if sizes.row >= 16 else 3.0)
    if len(bars) == 1:
        return Box(x, y + 1, sizes.least, height, bars[0].kind, "", bars[0].tip)
    kinds = [bar.kind for bar in bars]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    # A failure among many successes is what one looks for.
    kind = max(counts, key=lambda each: (look(each).alarm, counts[each]))
    names = list(dict.fromkeys(bar.label for bar in bars))
    more = (f"and {len(names) - NAMED} more",) if len(names) > NAMED else ()
    said = ", ".join(f"{count} {look(each).words}" for each, count in counts.items())
    return Box(
        x,
        y + 1,
        sizes.least,
        height,
        kind,
        "",
        (f"{len(bars)} attempts: {said}", *names[:NAMED], *more),
        bars=len(bars),
    )
