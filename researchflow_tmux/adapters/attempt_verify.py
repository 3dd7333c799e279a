"""What the runner is told about verifying a job: the command, ready to run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from researchflow_tmux.adapters.attempt_bench import Bench
from researchflow_tmux.adapters.commands import CommandBuilder
from researchflow_tmux.domain.errors import ConfigError, LaunchError
from researchflow_tmux.domain.job import JobSpec, names_function
from researchflow_tmux.job import verify_call
from researchflow_tmux.runner import files, jsontext

CALL_NAME = "verify.json"
DEFAULT_TIMEOUT_S = 300.0


def completion(bench: Bench, spec: JobSpec, directory: str, captured: Mapping[str, str], shell: str) -> dict[str, Any]:
    """The part of spec.json that says when the job counts as complete. Raises LaunchError."""
    told: dict[str, Any] = {"rule": spec.completion, "marker": spec.marker, "grace_s": bench.settings.marker_grace}
    told["success"] = spec.success or ("no_error_and_verify" if spec.verify else "no_error_only")
    if not spec.verify:
        return told
    try:
        argv = _argv(bench, spec, spec.verify, directory, captured, shell)
    except ConfigError as error:
        raise LaunchError(f"its `verify: {spec.verify}` cannot be run: {error.message}") from error
    timeout_s = DEFAULT_TIMEOUT_S if spec.verify_timeout_s is None else spec.verify_timeout_s
    return told | {"verify": argv, "verify_words": spec.verify, "verify_timeout_s": timeout_s}


def write_call(spec: JobSpec, directory: str) -> None:
    """Leave what a function is called with; in a file, because others may read command lines."""
    if spec.verify and names_function(spec.verify):
        subject = spec.config_path if spec.config_path is not None else spec.variables
        call = {"function": spec.verify, "subject": subject, "output_dir": spec.output_dir or spec.workdir}
        files.replace(os.path.join(directory, CALL_NAME), jsontext.dumps(call).encode())


def _argv(
    bench: Bench, spec: JobSpec, verify: str, directory: str, captured: Mapping[str, str], shell: str
) -> list[str]:
    builder = CommandBuilder(bench.settings, captured, bench.paths)
    given = {"name": spec.name, "output_dir": spec.output_dir or spec.workdir}
    if spec.config_path is not None:
        given["config"] = spec.config_path
    elif "{config}" in verify:
        raise LaunchError(f"its `verify: {verify}` names {{config}}, and this job has none", hint="give it another one")
    template = verify
    if names_function(verify):
        template = "{python} {rf_helper} {rf_call}"
        given |= {"rf_helper": os.path.abspath(verify_call.__file__), "rf_call": os.path.join(directory, CALL_NAME)}
    command = builder.fill(template, given)
    return list(command.argv) if command.shell is None else [shell, "-c", command.shell]
