"""Utilisation as strips, and shares as stacked areas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from researchflow_tmux.drawing.areas import Areas, Part, areas
from researchflow_tmux.drawing.steps import Profile
from researchflow_tmux.drawing.strips import CountStrip, GpuStrip, Strips, strips
from researchflow_tmux.hindsight.pictures.words import counted, stretch
from researchflow_tmux.hindsight.shares import Shares
from researchflow_tmux.hindsight.timeline import CountPoint
from researchflow_tmux.hindsight.utilisation import GpuUse, Utilisation


def utilisation_svg(data: Utilisation, *, width: float = 1200.0, zone: tzinfo | None = None) -> str:
    """The picture; times are on the clock of `zone` (None = of this machine)."""
    notes = [f"{data.workspace} · {stretch(data.since, data.until, zone)} · {description(data)}"]
    if not any(gpu.at for gpu in data.gpus):
        notes.append("Nothing was measured in this time: `sample_interval` may be 0, or the driver cannot be asked.")
    it = Strips(
        "How GPUs were used",
        notes,
        [_gpu(gpu) for gpu in data.gpus],
        [_count("jobs that run", data.running), _count("jobs that wait", data.queue)],
        data.since.timestamp(),
        data.until.timestamp(),
        data.at.timestamp(),
    )
    return strips(it, description(data), width=width, zone=zone)


def description(data: Utilisation) -> str:
    """In words, for those who do not see it."""
    known = [gpu.mean_util_pct for gpu in data.gpus if gpu.mean_util_pct is not None]
    given = [gpu.given_pct for gpu in data.gpus]
    parts = [counted(len(data.gpus), "GPU")]
    if given:
        parts.append(f"given to jobs {sum(given) / len(given):.0f} % of the time")
    parts.append(f"busy {sum(known) / len(known):.0f} % of what was measured" if known else "nothing measured")
    return ", ".join(parts) + "."


def shares_said(data: Shares) -> str:
    """In words, for those who do not see it."""
    hours = sum(sum(each.gpu_hours) for each in data.projects)
    parts = [f"{each.project} {100 * each.whole:.0f} %" for each in data.projects if each.whole is not None]
    had = f": {', '.join(parts)}" if parts else ""
    return f"{counted(len(data.projects), 'project')}, {hours:.1f} GPU-hours{had}."


def shares_svg(data: Shares, *, width: float = 1200.0, zone: tzinfo | None = None) -> str:
    """Who had how much of the GPUs, beside what the weights say."""
    parts = [Part(each.project, each.part, each.whole, each.due) for each in data.projects]
    said = shares_said(data)
    notes = [f"{stretch(data.since, data.until, zone)} · {said} The column shows what the weights give each."]
    it = Areas("Shares of projects", notes, parts, data.since.timestamp(), data.until.timestamp())
    return areas(it, said, width=width, zone=zone)


def _gpu(gpu: GpuUse) -> GpuStrip:
    util = "unknown" if gpu.mean_util_pct is None else f"{gpu.mean_util_pct:.0f} %"
    tip = [f"GPU {gpu.index} {gpu.name}".rstrip(), f"mean utilisation {util}", f"measured {gpu.measured_pct:.0f} %"]
    tip.append(f"given to jobs {gpu.given_pct:.0f} % of the time")
    return GpuStrip(
        title=f"GPU {gpu.index}",
        note=gpu.name,
        util=_parts(gpu, gpu.util_pct, 100.0),
        memory=_parts(gpu, gpu.used_mib, float(gpu.total_mib)) if gpu.total_mib else [],
        slots=[(point.at.timestamp(), point.value) for point in gpu.slots],
        tip=tuple(tip),
    )


def _parts(gpu: GpuUse, values: Sequence[float | None], whole: float) -> Profile:
    return [
        (at.timestamp(), None if value is None else value / whole) for at, value in zip(gpu.at, values, strict=True)
    ]


def _count(title: str, points: Sequence[CountPoint]) -> CountStrip:
    most = max((point.count for point in points), default=0)
    values: list[tuple[float, float | None]] = [(point.at.timestamp(), point.count) for point in points]
    if values:
        values[-1] = (values[-1][0], None)  # what comes after now is not known
    return CountStrip(title, f"at most {most}", values, float(most))
