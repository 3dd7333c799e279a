"""What a job's own config may say to the scheduler."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from researchflow_tmux.domain.job import CompletionRule, Condition, SuccessRule

Natural = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Fraction = Annotated[float, Meta(gt=0, le=1)]


class JobSection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reserved `rfsched:` section of a job's own config. Everything else in that file is the script's."""

    gpus: Annotated[Natural, Meta(description="Number of GPUs; 0 = a CPU job.")] = 1
    share: Annotated[Fraction | None, Meta(description="As in scheduler_config.yml.")] = None
    gpu_memory: Annotated[str | Natural | None, Meta(description="As in scheduler_config.yml.")] = None
    max_memory: Annotated[Percent | None, Meta(description="As in scheduler_config.yml.")] = None
    max_util: Annotated[Percent | None, Meta(description="As in scheduler_config.yml.")] = None
    min_free_memory: Annotated[str | Natural | None, Meta(description="As in scheduler_config.yml.")] = None
    gpu_type: Annotated[str | None, Meta(description="As in scheduler_config.yml; `any` = not what that says.")] = None
    min_gpu_memory: Annotated[str | Natural | None, Meta(description="As in scheduler_config.yml; 0 = any.")] = None
    compute_capability: Annotated[str | None, Meta(description="As in scheduler_config.yml; `any` = any.")] = None
    topology: Annotated[str | None, Meta(description="As in scheduler_config.yml; `any` = not what that says.")] = None
    cpus: Annotated[Positive | None, Meta(description="As in scheduler_config.yml.")] = None
    memory: Annotated[str | Natural | None, Meta(description="As in scheduler_config.yml.")] = None
    env: Annotated[dict[str, str], Meta(description="Variables for this job.")] = {}
    time_limit: Annotated[str | Natural | None, Meta(description="Seconds, or `90m`, `12h`, `2d`.")] = None
    retries: Annotated[Natural | None, Meta(description="Further attempts after a failure.")] = None
    completion: Annotated[CompletionRule | None, Meta(description="As in scheduler_config.yml.")] = None
    success: Annotated[SuccessRule | None, Meta(description="As in scheduler_config.yml.")] = None
    verify: Annotated[str | None, Meta(description="As in scheduler_config.yml.")] = None
    verify_timeout: Annotated[str | Natural | None, Meta(description="As in scheduler_config.yml.")] = None
    command: Annotated[str | None, Meta(description="As in scheduler_config.yml.")] = None
    priority: Annotated[int, Meta(description="Higher starts first.")] = 0
    project: Annotated[
        str | None, Meta(description="Whose share of the GPUs it uses, if a `policy` is chosen; empty = nobody's.")
    ] = None
    deadline: Annotated[
        str | None,
        Meta(description="When it should have ended: `2026-12-01`, `2026-12-01 18:00`; for the policy `balanced`."),
    ] = None
    preemptible: Annotated[bool | None, Meta(description="As in scheduler_config.yml.")] = None
    after: Annotated[list[str], Meta(description="Names of jobs that must have ended first, as `when` says.")] = []
    when: Annotated[
        Condition,
        Meta(description="Start when those have all succeeded (`success`), one failed, or all ended (`always`)."),
    ] = "success"
