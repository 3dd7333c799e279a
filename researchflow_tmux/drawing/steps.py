"""Values that hold from one moment to the next, as outlines and as means of equal parts; unknown is a gap."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_tmux.drawing.timeaxis import TimeAxis

Profile = Sequence[tuple[float, float | None]]
"""(moment, value from then on), ascending; None = unknown from then on. The last one holds to the end of the axis."""


def outlines(profile: Profile, axis: TimeAxis, ground: float, scale: float) -> list[list[tuple[float, float]]]:
    """The shapes of the known stretches, `scale` pixels for each unit above `ground`; each stands on the ground."""
    found: list[list[tuple[float, float]]] = []
    shape: list[tuple[float, float]] = []
    places = [*(axis.place(at) for at, _ in profile), axis.right]
    for (_, value), begin, end in zip(profile, places, places[1:], strict=False):
        if value is None:
            if shape:
                found.append([*shape, (shape[-1][0], ground)])
                shape = []
            continue
        level = ground - value * scale
        if len(shape) > 2 and begin == end == shape[-1][0]:
            shape[-1] = (end, min(level, shape[-1][1]))
            continue
        shape += [*([] if shape else [(begin, ground)]), (begin, level), (end, level)]
    if shape:
        found.append([*shape, (shape[-1][0], ground)])
    return found


def means(profile: Profile, axis: TimeAxis, count: int) -> list[float | None]:
    """The mean over time in `count` equal parts of the axis; None = nothing is known of a part."""
    sums, weights = [0.0] * count, [0.0] * count
    length = (axis.end - axis.begin) / count
    untils = [*(at for at, _ in profile[1:]), axis.end]
    for (at, value), until in zip(profile, untils, strict=False):
        begin, end = max(at, axis.begin), min(until, axis.end)
        if value is None or end <= begin or length <= 0:
            continue
        first, last = int((begin - axis.begin) / length), int((end - axis.begin) / length)
        for part in range(min(first, count - 1), min(last, count - 1) + 1):
            low, high = axis.begin + part * length, axis.begin + (part + 1) * length
            share = min(end, high) - max(begin, low)
            if share > 0:
                sums[part] += value * share
                weights[part] += share
    return [total / weight if weight > 0 else None for total, weight in zip(sums, weights, strict=True)]


def runs(values: Sequence[float | None]) -> list[tuple[int, list[float]]]:
    """The stretches of known values: (place of the first, values)."""
    found: list[tuple[int, list[float]]] = []
    known = False
    for place, value in enumerate(values):
        if value is None:
            known = False
        elif known:
            found[-1][1].append(value)
        else:
            found.append((place, [value]))
            known = True
    return found
