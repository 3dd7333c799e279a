"""why and history: what led to where things stand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from researchflow_tmux.cli.jobargs import job_argument, pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import count, duration, json_option, moment, print_json

if TYPE_CHECKING:
    from researchflow_tmux.api.plan_views import PlannedJob
    from researchflow_tmux.api.views import JobView
    from researchflow_tmux.api.why import AttemptLine, Upstream, Why
    from researchflow_tmux.cli.layout import Block


@click.command()
@job_argument(required=True)
@click.option("--decisions", is_flag=True, help="Show the last decisions about it instead.")
@click.option(
    "--last", type=click.IntRange(min=1), default=10, show_default=True, help="How many of those, with --decisions."
)
@json_option
@pass_chosen
def why(chosen: Chosen, job: str, decisions: bool, last: int, as_json: bool) -> None:
    """Say why a job is where it is, and what to do next."""
    if decisions:
        _show_decisions(chosen, job, last, as_json=as_json)
        return
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.why import why as explain
    from researchflow_tmux.cli import layout

    found = explain(chosen.workspace(), job)
    if as_json:
        print_json("why", found)
    else:
        layout.show(_blocks(found, SystemClock().now()))


def _show_decisions(chosen: Chosen, job: str, last: int, *, as_json: bool) -> None:
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.deciding import decisions_of
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.layout import Cell, Table, line

    found = decisions_of(chosen.workspace(), job, last)
    if as_json:
        print_json("decisions", found)
        return
    now = SystemClock().now()
    blocks: list[Block] = [line(f"{found.name} (job {found.job}): the last decisions about it", "bold")]
    rows = [
        (
            Cell(moment(each.at, now), "dim"),
            Cell(each.words),
            Cell(
                f"number {each.place} looked at, of {each.waiting} waiting; {count(each.free_gpus, 'GPU')} free", "dim"
            ),
            Cell(each.decision.policy, "dim"),
        )
        for each in found.decisions
    ]
    blocks += [Table(rows, give=(1, 2))] if rows else [line("none of those that are kept looked at it", "dim")]
    if found.later:
        blocks.append(line(f"{count(found.later, 'later decision')} did not get as far as to this job", "dim"))
    layout.show(blocks)


def _blocks(found: Why, now: datetime) -> list[Block]:
    from researchflow_tmux.cli import layout
    from researchflow_tmux.cli.layout import Cell, Line, line
    from researchflow_tmux.cli.status_blocks import COLOURS, WORDS, because, gpu_table

    job = found.job
    state = WORDS.get(job.state, job.state)
    reason = because(job, now)
    if job.room_for:
        reason = f"saves itself and stops (until {moment(job.until, now)} at the latest): makes room for {job.room_for}"
    words = reason if reason.startswith(state) else f"{state}{': ' if reason else ''}{reason}"
    blocks: list[Block] = [Line((Cell(f"{job.name} (job {job.id}) ", "bold"), Cell(words, COLOURS.get(job.state, ""))))]
    blocks += [line(f"  {each}", "dim") for each in found.command.splitlines()]
    owner = f", project {job.project}" if job.project else ""
    due = f", due {moment(job.deadline, now)}" if job.deadline else ""
    facts = f"  asks for {_asked(job)}, priority {job.priority}{owner}{due}, queued {moment(job.queued_at, now)}"
    blocks.append(line(facts, "dim"))
    blocks += [line(f"  {each}", "dim") for each in found.limits]
    blocks += [line(f"  {each}", "dim") for each in _preempted(job)]
    blocks += _usage(found)
    blocks += [line(f"  {text}") for text in planned_words(found.plan, now)]
    if found.gpus:
        blocks += [line(), line("who holds the slots:"), *gpu_table(found.gpus, layout.terminal_width())]
    if found.after:
        blocks += [line(), line("it comes after:"), *_chain(found.after, 1)]
    if found.before:
        blocks.append(line(f"these wait for it: {', '.join(found.before)}"))
    if found.attempts:
        blocks += [line(), *_attempts(found.attempts, now)]
    if found.last_line:
        blocks.append(line(f"its last line: {found.last_line}", "dim"))
    if found.advice:
        blocks += [line(), *(line(f"→ {advice}") for advice in found.advice)]
    return blocks


def planned_words(plan: PlannedJob | None, now: datetime) -> Iterator[str]:
    """When it is likely to start and to end, as far as that is known."""
    from researchflow_tmux.cli.times import ends

    if plan is None:
        return
    end = ends(plan.eta_at, plan.eta_low_at, plan.eta_high_at, now)
    if plan.state == "running":
        done = "" if plan.progress_pct is None else f", {plan.progress_pct:.0f} % done"
        if end:
            yield f"should end {end}{done}"
        return
    where = f" on GPU {','.join(map(str, plan.gpus))}" if plan.gpus else ""
    start = ends(plan.start_at, plan.start_low_at, plan.start_high_at, now)
    soon = plan.start_at <= now
    more = f", and to end {end}" if end else ""
    guess = "" if plan.start_known else " (a guess: nothing like what comes before it has succeeded so far)"
    yield f"likely to start {'now' if soon else start}{where}{more}{guess}"


def _preempted(job: JobView) -> Iterator[str]:
    """Whether it may be stopped for others, and what that has cost it."""
    if job.preemptions or job.preempted_gpu_s:
        hours = f"{job.preempted_gpu_s / 3600:.3g} GPU-hours" if job.preempted_gpu_s >= 360 else ""
        lost = hours or f"{job.preempted_gpu_s:.0f} GPU-seconds"
        yield f"was stopped {count(job.preemptions, 'time')} for more urgent jobs; {lost} had to be done again"
    elif job.preemptible:
        yield "may be stopped for a job with a deadline, and goes on later"


def _asked(job: JobView) -> str:
    """What it needs of GPUs, in words."""
    if not job.gpus_wanted:
        return "no GPU"
    memory = f"{job.gpu_memory_mib / 1024:.1f} GiB" if job.gpu_memory_mib else ""
    part = f"{job.share:.0%}" if job.share is not None else ""
    of_each = " and ".join(filter(None, (part, memory)))
    gpus = count(job.gpus_wanted, "GPU")
    each = "each" if job.gpus_wanted > 1 else "it"
    kind = "" if job.hardware is None else job.hardware.words
    details = "; ".join(filter(None, (kind, f"{of_each} of {each}" if of_each else "")))
    return f"{gpus} ({details})" if details else gpus


def _usage(found: Why) -> Iterator[Block]:
    """What a running job uses now, and the most that the latest attempt used."""
    from researchflow_tmux.cli.layout import line
    from researchflow_tmux.cli.status_blocks import peak_words, used_words

    usage = found.job.usage
    facts = zip(("CPU", "RAM", "GPU", "GPU memory"), used_words(usage), strict=True)
    now = ", ".join(f"{name} {words}" for name, words in facts if words)
    if now:
        yield line(f"  uses {now}", "dim")
    peaks = peak_words(usage)
    if peaks:
        yield line(f"  at most {peaks}", "dim")


def _chain(needs: list[Upstream], depth: int) -> Iterator[Block]:
    from researchflow_tmux.cli.layout import Cell, Line
    from researchflow_tmux.cli.status_blocks import COLOURS, WORDS

    for need in needs:
        state = Cell(WORDS.get(need.state, need.state), COLOURS.get(need.state, ""))
        yield Line((Cell("  " * depth + need.name + "  "), state))
        yield from _chain(need.after, depth + 1)


def _attempts(attempts: list[AttemptLine], now: datetime) -> list[Block]:
    from researchflow_tmux.cli.layout import Cell, Table
    from researchflow_tmux.domain.wording import resumed_words

    rows = [tuple(Cell(word, "dim") for word in ("ATTEMPT", "GPU", "STARTED", "TOOK", "OUTCOME"))]
    for attempt in attempts:
        took = None if attempt.started_at is None else ((attempt.ended_at or now) - attempt.started_at).total_seconds()
        outcome = attempt.outcome or attempt.phase
        notes = "; ".join(filter(None, [resumed_words(attempt.resumed_step, attempt.lost_s), attempt.note]))
        rows.append(
            (
                Cell(str(attempt.number)),
                Cell(",".join(map(str, attempt.gpus)) or "cpu"),
                Cell(moment(attempt.started_at, now)),
                Cell(duration(took)),
                Cell(f"{outcome} ({notes})" if notes else outcome),
            )
        )
    return [Table(rows, give=(4,))]


@click.command()
@job_argument(required=False)
@click.option("--since", metavar="WHEN", help="From then on: yesterday, today, 2h, 2026-01-31.")
@click.option("-n", "--lines", "limit", type=click.IntRange(min=1), metavar="N", help="Only the last N events.")
@json_option
@pass_chosen
def history(chosen: Chosen, job: str | None, since: str | None, limit: int | None, as_json: bool) -> None:
    """Show what happened, oldest first. --json prints one object a line."""
    from researchflow_tmux.adapters.clock import SystemClock
    from researchflow_tmux.api.since import moment_of
    from researchflow_tmux.domain.wording import describe

    workspace = chosen.workspace()
    now = SystemClock().now()
    names = {each.id: each.name for each in workspace.jobs()}
    moment = None if since is None else moment_of(since, now)
    which = None if job is None else workspace.job(job)
    asked = limit
    while True:
        events = workspace.history(since=moment, job=which, limit=asked)
        worded = [(event, describe(event.payload, lambda id_: names.get(id_, f"job {id_}"))) for event in events]
        shown = [pair for pair in worded if as_json or pair[1] is not None]
        if limit is None or asked is None or len(shown) >= limit or len(events) < asked:
            break
        asked *= 2  # some events have no words: look further back until there are enough that have
    for event, words in shown if limit is None else shown[-limit:]:
        if as_json:
            _print_event(event, words, names)
        else:
            sys.stdout.write(f"{event.at.astimezone():%Y-%m-%d %H:%M:%S}  {_one_line(words or '')}\n")
    sys.stdout.flush()


def _one_line(words: str) -> str:
    from researchflow_tmux.cli.layout import printable

    return printable(words.replace("\n", " "))


def _print_event(event: object, words: str | None, names: dict[int, str]) -> None:
    import msgspec

    from researchflow_tmux.domain.events import Event

    assert isinstance(event, Event)
    data = msgspec.to_builtins(event.payload)
    job_id = event.payload.job_id
    whole = {
        "schema": "rfsched.event/1",
        "seq": event.seq,
        "at": event.at,
        "kind": data.pop("type"),
        "job_id": job_id,
        "job": None if job_id is None else names.get(job_id),
        "text": words,
        "boot_id": event.boot_id,
        "data": data,
    }
    sys.stdout.write(msgspec.json.encode(whole).decode() + "\n")
