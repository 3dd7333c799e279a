"""Whether a policy plug-in can be used: asked before it is set, at each start, and by `doctor`."""

from __future__ import annotations

from researchflow_tmux.adapters.policy_process import PolicyProcess
from researchflow_tmux.domain.errors import ConfigError, PolicyError, Problem
from researchflow_tmux.domain.plugin import is_plugin

HINT = (
    "`policy` is the name of a built-in one, or `module:object` or `file.py:object` with at least one of "
    "order(job, facts), admit(job, facts), on_event(event); modules are looked for in the workspace first"
)


def check_plugin(policy: str, root: str, origin: str | None = None) -> None:
    """Load it as the scheduler would, and end it again. Built-in names pass.

    `origin` = where it is set (`file:line`). Raises ConfigError.
    """
    if not is_plugin(policy):
        return
    process = PolicyProcess(policy, root, patient=True)
    try:
        process.hooks()
    except PolicyError as error:
        file, _, line = (origin or "").rpartition(":")
        place = {"file": file, "line": int(line)} if line.isdecimal() else {}
        raise ConfigError([Problem(message=str(error), hint=HINT, **place)]) from None  # type: ignore[arg-type]
    finally:
        process.close()
