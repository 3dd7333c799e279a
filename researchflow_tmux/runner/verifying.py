"""Asking a command of the user's whether the job really succeeded: run like the job itself, after it has ended."""

from __future__ import annotations

import copy
import os

from researchflow_tmux.runner import ending, memory_words, stopping
from researchflow_tmux.runner.marker import Marker
from researchflow_tmux.runner.supervise import Supervisor
from researchflow_tmux.runner.terminal import Pump
from researchflow_tmux.runner.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.runner.admission import Leases
    from researchflow_tmux.runner.grants import Grant
    from researchflow_tmux.runner.kernel import Signals
    from researchflow_tmux.runner.log import Log, NoLog
    from researchflow_tmux.runner.screen import Screen
    from researchflow_tmux.runner.spec import Spec

_PATIENCE_S = 10.0


def wanted(spec: Spec, facts: ending.Facts) -> bool:
    """Tell whether the answer would change anything: not for a job that failed anyway, or that was stopped."""
    verify = spec.completion.verify
    if verify is None or facts.outcome or facts.cause == "stop" or spec.completion.success not in ending.ASKING:
        return False
    judged = ending.judge(facts, spec.completion.rule, verified=True)
    return bool(judged["succeeded"])


def verify(
    spec: Spec,
    facts: ending.Facts,
    signals: Signals,
    log: Log | NoLog,
    screen: Screen,
    leases: Leases | None,
    grant: Grant,
) -> None:
    """Run the command to its end or its time limit, and put the answer into `facts`.

    It runs as the job did: environment, directory, limits, a terminal of its own, output into the same log, the lease
    held. Exit code 0 is yes. Being told to stop meanwhile ends it and the attempt; whatever happens, this returns.
    """
    stop = facts.asked or stopping.read_stop(spec.dir)
    if stop is not None:
        _stopped(facts, *stop)
        return
    told = f"\r\n── verifying: {spec.completion.verify_words} ──\r\n".encode(errors="replace")
    log.write(told)
    screen.feed(told)
    pump = Pump(log, screen)
    asked = ending.Facts()
    try:
        tree = Supervisor(_as_job(spec, facts, log.path), asked, signals, pump, Marker(None), leases, grant).run()
        tail = pump.tail.read()
    except Exception as error:  # noqa: BLE001 - the job has ended; how must not be lost
        facts.unreaped += Tree(0, spec.tag, subreaper=True).end(_PATIENCE_S)
        facts.verified, facts.verify = False, f"it could not be run: {type(error).__name__}: {error}"
        return
    finally:
        pump.close()
    facts.unreaped += asked.unreaped
    facts.leftovers += asked.leftovers
    if asked.cause in ("stop", "budget"):
        _stopped(facts, asked.by or "signal", asked.reason)
        return
    asked.status = tree.status
    facts.verified, facts.verify = _answer(asked, tail, spec.completion.verify_timeout_s)


def _as_job(spec: Spec, facts: ending.Facts, log: str) -> Spec:
    """The spec of the attempt with the command that verifies in place of the job's."""
    derived = copy.copy(spec)
    derived.argv = list(spec.completion.verify or ())
    derived.time_limit_s = spec.completion.verify_timeout_s
    code = ending.exit_code(facts)
    derived.env = spec.env | {"RFSCHED_LOG": log, "RFSCHED_EXIT_CODE": "" if code is None else str(code)}
    return derived


def _stopped(facts: ending.Facts, by: str, reason: str) -> None:
    facts.cause, facts.by = "stop", by
    facts.reason = "; ".join(filter(None, [reason, "the job itself had ended and was about to be verified"]))


def _answer(asked: ending.Facts, tail: bytes, limit_s: float) -> tuple[bool, str]:
    """(verified, why not)."""
    if asked.outcome:
        return False, f"it could not be started: {asked.reason}"
    if asked.cause == "limit":
        return False, f"it did not end within {limit_s:g} s"
    code = None if asked.status is None else os.waitstatus_to_exitcode(asked.status)
    if code == 0:
        return True, ""
    lines = [line for raw in tail.decode(errors="replace").split("\n") if (line := memory_words.readable(raw))]
    last = f": {memory_words.shortened(lines[-1])}" if lines else ""
    return False, f"exit {code}{last}" if code is not None and code > 0 else f"it was killed{last}"
