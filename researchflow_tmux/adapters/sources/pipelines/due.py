"""Which jobs of a pipeline there is something to do for, when somebody asks for it (again)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from researchflow_tmux.adapters.sources import JobDraft
from researchflow_tmux.adapters.sources.pipelines.scan import PipelineJob
from researchflow_tmux.domain.job import Job, JobState
from researchflow_tmux.runner import freshness


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of one job."""

    run: bool
    """Queue it (again). It looks once more when it starts, and may find that it has nothing to do."""
    why: str


def verdicts(
    jobs: Sequence[PipelineJob], known: Mapping[str, Job], *, force: Collection[str] = ()
) -> dict[str, Verdict]:
    """What is to become of each job, by key, in the order of `jobs`: each after those it needs.

    What never ended well runs again; so does what is out of date, and what needs one that runs. `force` = keys of jobs
    that run even if they are up to date.
    """
    found: dict[str, Verdict] = {}
    names = {job.draft.key: job.draft.name for job in jobs}
    for job in jobs:
        key = job.draft.key
        above = next((need for need in job.needs if need in found and found[need].run), None)
        found[key] = _verdict(job, known.get(key), above and names[above], forced=key in force)
    return found


def _verdict(job: PipelineJob, known: Job | None, above: str | None, *, forced: bool) -> Verdict:
    if known is None:
        return Verdict(run=True, why="new")
    if not known.state.ended:
        return Verdict(run=False, why=str(known.state))
    if above is not None:
        return Verdict(run=True, why=f"{above} runs")
    if job.draft.when == "failure" and known.state is not JobState.SUCCEEDED:
        return Verdict(run=False, why="not needed")  # nothing above it runs: nothing there has failed
    if forced:
        return Verdict(run=True, why="it was asked for")
    if known.state is JobState.SKIPPED:
        # Nothing above it runs: whatever kept it from running still does.
        return Verdict(run=False, why="skipped")
    if known.state is not JobState.SUCCEEDED:
        return Verdict(run=True, why=str(known.state))
    why = out_of_date(job.draft)
    return Verdict(run=bool(why), why=why or "up to date")


def out_of_date(draft: JobDraft) -> str:
    """Why a job that has succeeded has to run again, by its files as they are now; empty = it has not."""
    if draft.files is None:
        return ""
    files = draft.files
    rule = freshness.Rule(
        cwd=draft.workdir,
        definition=files.definition,
        note=files.note,
        inputs=list(files.inputs),
        outputs=list(files.outputs),
        upstream=list(files.upstream),
    )
    return freshness.why_run(freshness.Seen(rule), freshness.load(rule), rule.definition)
