"""The parts of the status picture, shared by `status` and the scheduler's own screen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from researchflow_tmux.api.plan_views import PlannedGroup
from researchflow_tmux.api.views import AccountView, GpuView, HoursView, JobView, StatusView, UsageView
from researchflow_tmux.cli.layout import Block, Cell, Line, Table, bar, line
from researchflow_tmux.cli.output import count, duration, moment
from researchflow_tmux.cli.times import ends
from researchflow_tmux.domain.wording import resumed_words

STATES = ("running", "queued", "held", "failed", "skipped", "cancelled", "succeeded")
COLOURS = {"running": "green", "failed": "red", "skipped": "yellow", "held": "yellow", "cancelled": "yellow"}
WORDS = {"queued": "waiting"}
SILENT_S = 90.0
"""A scheduler that wrote nothing down for so long is busy with something, or stuck."""
BAR = 14
ROOMY = 110
"""Columns of the terminal from which the running jobs are shown with what they use. What is piped keeps its columns."""
ETA = ("DONE", "ENDS")
MOST_TOTALS = 4
USED = ("CPU", "RAM", "GPU", "GPU MEM")
FOLD_HINT = "; --full shows them"
"""What a folded list says."""


class Fold(NamedTuple):
    """How many rows of a list are shown."""

    running: int | None = 40
    waiting: int | None = 10
    ended: int | None = 10


NO_FOLD = Fold(None, None, None)


def title(view: StatusView) -> list[Block]:
    """Who and where, whether the scheduler runs, and how many jobs are in each state."""
    return [
        Line((Cell(view.task_name, "bold"), Cell(f"  {view.workspace}", "dim"))),
        *_scheduler(view),
        counts_line(view),
    ]


def _scheduler(view: StatusView) -> list[Block]:
    scheduler = view.scheduler
    if not scheduler.running:
        todo = "`rfsched start` goes on with them" if view.counts.get("queued") else "`rfsched start` starts it"
        return [Line((Cell("no scheduler is running", "bold yellow"), Cell(f": {todo}")))]
    parts = [Cell("scheduler running", "green")]
    if scheduler.started_at is not None:
        lasting = duration((view.at - scheduler.started_at).total_seconds())
        parts.append(Cell(f" since {moment(scheduler.started_at, view.at)} ({lasting})"))
    if scheduler.session:
        parts.append(Cell(f" in session {scheduler.session}"))
    found: list[Block] = [Line(tuple(parts))]
    if scheduler.halted:
        found.append(line(f"nothing is launched just now: {scheduler.halted}", "bold yellow"))
    if scheduler.policy_trouble:
        found.append(line(scheduler.policy_trouble, "bold yellow"))
    silent_s = (view.at - scheduler.seen_at).total_seconds() if scheduler.seen_at else 0.0
    if silent_s > SILENT_S:
        found.append(line(f"it last wrote down what it sees {duration(silent_s)} ago; see `rfsched doctor`", "yellow"))
    return found


def counts_line(view: StatusView) -> Block:
    """`4 running, 2 waiting, 1 failed, 12 succeeded`."""
    cells: list[Cell] = []
    for state in STATES:
        number = view.counts.get(state, 0)
        if number:
            cells += [Cell(", ")] if cells else []
            cells.append(Cell(f"{number} {WORDS.get(state, state)}", COLOURS.get(state, "")))
    return Line(tuple(cells)) if cells else line("no jobs so far: `rfsched start` queues the configs", "dim")


def accounts_table(view: StatusView) -> list[Block]:
    """One line for each project and user with an account: GPUs, and the hours that are left of a budget."""
    if not view.projects:
        return []
    rows = [_header("PROJECTS", "WEIGHT", "LATELY", "GPUS", "BUDGET USED", "UNTIL")]
    for each in view.projects:
        share = "" if each.share_of_use is None else f"{each.share_of_use:.0%}"
        most = "" if each.max_gpus is None else f"/{each.max_gpus}"
        budgets = [
            words
            for hours, unit in ((each.gpu_hours, "GPU-h"), (each.cpu_hours, "core-h"), (each.memory_hours, "GiB-h"))
            if (words := _budget_words(hours, unit))
        ]
        until = moment(each.period_ends, view.at) if budgets else ""
        rows.append(
            (
                Cell(each.name if each.kind == "project" else f"user {each.name}", "bold"),
                Cell("" if each.weight is None else f"{each.weight:g}"),
                Cell(share),
                Cell(f"{each.running_gpus}{most}"),
                Cell(", ".join(budgets), _budget_colour(each)),
                Cell(until),
            )
        )
    used = [at for at in range(6) if at == 0 or any(row[at].text for row in rows[1:])]
    return [line(), Table([tuple(row[at] for at in used) for row in rows])]


def _budget_words(hours: HoursView, unit: str) -> str:
    """`81.2 of 100 GPU-h, 12.4 more granted`; empty without a budget."""
    if hours.limit is None:
        return ""
    granted = f", {hours.granted:.3g} more granted" if hours.granted >= 0.0005 else ""
    return f"{hours.used:.3g} of {hours.limit:g} {unit}{granted}"


def _budget_colour(account: AccountView) -> str:
    parts = [
        (hours.used + hours.granted) / hours.limit if hours.limit else 1.0
        for hours in (account.gpu_hours, account.cpu_hours, account.memory_hours)
        if hours.limit is not None
    ]
    return load_colour(max(parts, default=0.0))


def gpu_table(gpus: Sequence[GpuView], width: int | None) -> list[Block]:
    """One line a GPU: slots, memory, load, who is on it. `width` None = piped: no bars."""
    if not gpus:
        return []
    rows = [_gpu_row(gpu, bars=width is not None and width >= 76) for gpu in gpus]
    roomy = width is None or width >= 110
    used = [at for at in range(len(rows[0])) if any(row[at].text for row in rows) and (roomy or at not in (1, 6))]
    return [Table([tuple(row[at] for at in used) for row in rows], give=(len(used) - 1, 1))]


def _gpu_row(gpu: GpuView, *, bars: bool) -> list[Cell]:
    slots = "∞" if gpu.slots is None else str(gpu.slots)
    taken = len(gpu.jobs) + len(gpu.others)
    known = gpu.used_mib is not None and gpu.total_mib
    memory = f"{(gpu.used_mib or 0) / 1024:.1f}/{(gpu.total_mib or 0) / 1024:.1f} GiB" if known else ""
    part = (gpu.used_mib or 0) / gpu.total_mib if gpu.total_mib else 0.0
    return [
        Cell(f"GPU {gpu.index}", "bold"),
        Cell(gpu.name, "dim"),
        Cell(f"{taken}/{slots} slots", "green" if taken else ""),
        Cell(bar(part, BAR) if bars and known else "", load_colour(part)),
        Cell(memory),
        Cell("" if gpu.util_pct is None else f"{gpu.util_pct:3d} %"),
        Cell("" if gpu.temperature_c is None else f"{gpu.temperature_c} °C", "dim"),
        _users(gpu),
    ]


def load_colour(part: float) -> str:
    """Green while there is room, yellow when it gets full, red when it is."""
    return "red" if part > 0.95 else "yellow" if part > 0.8 else "green"


def _users(gpu: GpuView) -> Cell:
    users = [*gpu.jobs, *(f"[{holder}]" for holder in gpu.others)]
    text = ", ".join(users)
    if gpu.blocked:
        return Cell(f"{text}; {gpu.blocked}" if text else gpu.blocked, "yellow")
    return Cell(text)


def running_table(
    jobs: Sequence[JobView],
    most: int | None,
    total: int,
    *,
    now: datetime,
    width: int | None = None,
    hint: str = FOLD_HINT,
) -> list[Block]:
    """Running jobs with how long they take, when they should end, what they use (each if there is room for it)."""
    if not total:
        return []
    etas = [_eta_words(job, now, width) for job in jobs[:most]]
    told = [at for at in range(len(ETA)) if any(each[at] for each in etas)]
    used = [used_words(job.usage) for job in jobs[:most]]
    shown = [at for at in range(len(USED)) if any(each[at] for each in used)] if (width or 0) >= ROOMY else []
    heads = (*(ETA[at] for at in told), *(USED[at] for at in shown))
    rows = [_header("RUNNING", "ID", "ELAPSED", "GPU", *heads, "SESSION")]
    for job, words, eta in zip(jobs[:most], used, etas, strict=False):
        where = job.session or ""
        if job.headless:
            where += " (gone; it runs on: `rfsched logs -f`)"
        notes = [f"attempt {job.attempt}" if job.attempt > 1 else "", resumed_words(job.resumed_step, job.lost_s)]
        notes.append(f"makes room for {job.room_for}" if job.room_for else "")
        attempt = f" ({', '.join(filter(None, notes))})" if any(notes) else ""
        elapsed = "starting" if job.started_at is None else duration(job.elapsed_s)
        gpus = ",".join(map(str, job.gpus)) if job.gpus else "cpu"
        facts = [Cell(job.name, "green"), Cell(str(job.id)), Cell(elapsed + attempt), Cell(gpus)]
        more = (*(Cell(eta[at]) for at in told), *(Cell(words[at]) for at in shown))
        rows.append((*facts, *more, Cell(where)))
    begin = 4 + len(told)
    right = frozenset(range(begin, begin + len(shown)))
    table = Table(rows, give=(begin + len(shown), 0), right=right)
    return [line(), table, *_more(len(rows) - 1, total, "running", hint)]


def _eta_words(job: JobView, now: datetime, width: int | None) -> tuple[str, str]:
    """How far a job is and when it should end, as ETA names it; what is piped keeps its columns."""
    if width is None:
        return ("", "")
    done = "" if job.progress_pct is None else f"{job.progress_pct:.0f} %"
    if width < ROOMY:
        return (done, ends(job.eta_at, None, None, now))
    return (done, ends(job.eta_at, job.eta_low_at, job.eta_high_at, now))


def totals_lines(totals: Sequence[PlannedGroup], now: datetime, width: int | None) -> list[Block]:
    """When the queue and its groups should be through, on terminals; the whole is said if it is more than one job."""
    said = [total for total in totals if total.eta_at is not None]
    if width is None or not said or said[0].jobs < 2:
        return []
    said = said[:1] + [total for total in said[1:] if total.jobs < said[0].jobs]
    found: list[Block] = [line()]
    for total in said[:MOST_TOTALS]:
        name = "all of it" if total.kind == "queue" else f"{total.kind} {total.name}"
        when = ends(total.eta_at, total.eta_low_at, total.eta_high_at, now)
        found.append(Line((Cell(f"{name} ends "), Cell(when), Cell(f"  {count(total.jobs, 'job')}", "dim"))))
    return found


def used_words(usage: UsageView | None) -> tuple[str, str, str, str]:
    """What a job uses now, as USED names it; empty for what is unknown."""
    if usage is None:
        return ("", "", "", "")
    return (_pct(usage.cpu_pct), _mib(usage.rss_mib), _pct(usage.gpu_util_pct), _mib(usage.gpu_mib))


def peak_words(usage: UsageView | None) -> str:
    """The most it used, such as `CPU 310 %, RAM 4.2 GiB, GPU 97 % (mean 81 %)`; empty = nothing is known."""
    if usage is None:
        return ""
    mean = f" (mean {_pct(usage.mean_gpu_util_pct)})" if usage.mean_gpu_util_pct is not None else ""
    facts = (
        ("CPU", _pct(usage.peak_cpu_pct)),
        ("RAM", _mib(usage.peak_rss_mib)),
        ("GPU", _pct(usage.peak_gpu_util_pct) + mean if usage.peak_gpu_util_pct is not None else ""),
        ("GPU memory", _mib(usage.peak_gpu_mib)),
    )
    return ", ".join(f"{name} {words}" for name, words in facts if words)


def _pct(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def _mib(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1024:.1f} GiB" if value >= 1024 else f"{value:.0f} MiB"


def waiting_table(
    jobs: Sequence[JobView], most: int | None, total: int, now: datetime, *, hint: str = FOLD_HINT
) -> list[Block]:
    """Waiting jobs with why, and until when if that is known."""
    if not total:
        return []
    rows = [_header("WAITING", "ID", "WHY")]
    for job in jobs[:most]:
        style = "yellow" if job.state == "held" else ""
        reason = because(job, now)
        if job.reason_code == "capacity":  # who has them is shown above
            reason = reason.partition(":")[0]
        rows.append((Cell(job.name, style), Cell(str(job.id)), Cell(reason)))
    return [line(), Table(rows, give=(2, 0)), *_more(len(rows) - 1, total, "waiting", hint)]


def because(job: JobView, now: datetime) -> str:
    """The reason in words, with the time it is known to end."""
    reason = job.reason or ""
    if job.until is None:
        return reason
    left = duration((job.until - now).total_seconds())
    return f"next try in {left}: {reason.partition(': ')[2]}" if job.reason_code == "backoff" else f"{reason}; {left}"


def ended_table(jobs: Sequence[JobView], most: int | None, total: int, now: datetime, head: str) -> list[Block]:
    """Ended jobs, the latest first, with when and why."""
    if not total:
        return []
    latest = sorted(jobs, key=lambda job: job.ended_at or job.queued_at, reverse=True)
    rows = [_header(head, "ID", "ENDED", "TOOK", "WHY")]
    for job in latest[:most]:
        why = (job.reason or job.state).removeprefix("failed: ")
        plain = job.state in ("failed", "skipped") or why.startswith(job.state)
        rows.append(
            (
                Cell(job.name, COLOURS.get(job.state, "")),
                Cell(str(job.id)),
                Cell(moment(job.ended_at, now)),
                Cell(duration(job.elapsed_s)),
                Cell(why if plain else f"{job.state}: {why}"),
            )
        )
    return [line(), Table(rows, give=(4, 0)), *_more(len(rows) - 1, total, head.lower(), FOLD_HINT)]


def problem_list(head: str, problems: Sequence[str], most: int | None) -> list[Block]:
    """What is wrong with files."""
    if not problems:
        return []
    blocks: list[Block] = [line(), line(head, "dim")]
    for problem in problems[:most]:
        first, *rest = problem.splitlines()
        blocks += [line(first, "red"), *(line(text, "dim") for text in rest)]
    return [*blocks, *_more(len(problems[:most]), len(problems), "problems", "; `rfsched history` has them all")]


def _header(*words: str) -> tuple[Cell, ...]:
    return tuple(Cell(word, "dim") for word in words)


def _more(shown: int, total: int, what: str, hint: str) -> list[Block]:
    return [line(f"… and {total - shown} more {what}{hint}", "dim")] if total > shown else []


def picture(view: StatusView, *, width: int | None, fold: Fold, everything: bool = False) -> list[Block]:
    """The whole status. `everything` = ended jobs are listed too, not only counted (somebody asked for these)."""
    by_state: dict[str, list[JobView]] = {state: [] for state in STATES}
    for job in view.jobs:
        by_state[job.state].append(job)
    waiting = by_state["queued"] + by_state["held"]
    blocks = title(view)
    table = gpu_table(view.gpus, width)
    blocks += [line(), *table] if table else []
    blocks += accounts_table(view)
    running = by_state["running"]
    blocks += running_table(running, fold.running, len(running), now=view.at, width=width)
    blocks += waiting_table(waiting, fold.waiting, len(waiting) + view.not_listed, view.at)
    blocks += totals_lines(view.totals, view.at, width)
    blocks += problem_list("NOT QUEUED", view.not_queued, fold.ended)
    blocks += problem_list("NOT SHOWN IN THE FILE", view.not_shown, fold.ended)
    blocks += ended_table(by_state["failed"], fold.ended, len(by_state["failed"]), view.at, "FAILED")
    blocks += ended_table(by_state["skipped"], fold.ended, len(by_state["skipped"]), view.at, "SKIPPED")
    quiet = by_state["succeeded"] + by_state["cancelled"]
    if everything:
        blocks += ended_table(quiet, fold.ended, len(quiet), view.at, "ENDED")
    else:
        blocks += _next_steps(view)
    return blocks


def _next_steps(view: StatusView) -> list[Block]:
    """What ended otherwise, and what somebody may want to type."""
    said: list[Block] = []
    succeeded = view.counts.get("succeeded", 0)
    if succeeded:
        said.append(line(f"{count(succeeded, 'job')} succeeded: `rfsched status --state succeeded` lists them", "dim"))
    if view.counts.get("failed"):
        said.append(line("see `rfsched why JOB` and `rfsched logs JOB`; `rfsched requeue --failed` tries again", "dim"))
    return [line(), *said] if said else []
