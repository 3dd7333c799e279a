"""One attempt from claim to exit record. Everything after the claim ends in a record, whatever goes wrong."""

from __future__ import annotations

import os
import stat
import sys
import time

from researchflow_tmux.runner import admission, claim, ending, freshness, kernel, record, stopping
from researchflow_tmux.runner import log as logs
from researchflow_tmux.runner import spec as specs
from researchflow_tmux.runner.grants import Grant
from researchflow_tmux.runner.marker import Marker
from researchflow_tmux.runner.oom_kills import OomKills
from researchflow_tmux.runner.screen import Screen
from researchflow_tmux.runner.supervise import Supervisor
from researchflow_tmux.runner.terminal import Pump
from researchflow_tmux.runner.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_FAILED_PATIENCE_S = 30.0
SUCCEEDED, NOT_SUCCEEDED, USAGE, NOT_CLAIMED = 0, 1, 2, 3


def main(argv: list[str]) -> NoReturn:
    """Run the attempt of the spec named in `argv`; the exit code is for people, the exit record is the truth."""
    signals = kernel.Signals()
    if len(argv) != 2:
        _leave(USAGE, "usage: python -I -S researchflow_tmux/runner SPEC.json")
    path = os.path.abspath(argv[1])
    try:
        spec = specs.read(path)
    except specs.SpecError as error:
        _leave(_refuse_spec(path, str(error)), f"rfsched: {error}")
    os.umask(spec.umask)
    try:
        claimed = claim.take(spec.dir, spec.tag)
    except OSError as error:
        why = f"nothing was started, because {spec.dir} cannot be written: {error.strerror}"
        record.refuse(spec.dir, _record(spec.tag, _not_run(ending.LAUNCH_FAILED, why), "exit_code"))
        _leave(NOT_CLAIMED, f"rfsched: {spec.title}: {why}")
    if claimed is None:
        _leave(NOT_CLAIMED, f"rfsched: {spec.title}: attempt {spec.tag} was already taken; nothing was started")
    Attempt(spec, claimed, signals).run()


class Attempt:
    """One claimed attempt."""

    def __init__(self, spec: specs.Spec, claimed: claim.Claimed, signals: kernel.Signals) -> None:
        self.spec = spec
        self.claimed = claimed
        self.signals = signals
        self.facts = ending.Facts()
        self.facts.success = spec.completion.success
        self.log: logs.Log | logs.NoLog = logs.NoLog()
        self.leases: admission.Leases | None = None
        self.screen = Screen()
        self.tree: Tree | None = None
        self.tail = b""
        self.grant = Grant(spec.dir, spec.grant, spec.stop_grace_s)
        self.started_at: float | None = None
        self.started = 0.0
        self.seen: freshness.Seen | None = None

    def run(self) -> NoReturn:
        """Take what the job needs, run it, record how it ended, leave."""
        wake(self.spec.wake, self.spec.tag)
        marker = Marker(self.spec.completion.marker)
        try:
            if self._prepare():
                self._supervise(marker)
                self._verify(marker)
        except Exception as error:  # noqa: BLE001 - a fault of the runner must still end in a record
            self._fail(error)
        self._settle_marker(marker)
        self._look_for_memory()
        self._finish()

    def _prepare(self) -> bool:
        """Take leases and open the log; False, with the facts set, if the job must not run."""
        try:
            if self.spec.files is not None and not self._has_work(self.spec.files):
                return False
            if self.spec.leases is not None:
                self.leases = admission.take(self.spec.leases, self.spec.tag)
            self.log = logs.open_log(self.spec.log_path, self.spec.log_cap_mib)
        except admission.SlotTaken as taken:
            return self._give_up(ending.SLOT_TAKEN, str(taken))
        except logs.LogError as error:
            return self._give_up(ending.LAUNCH_FAILED, str(error))
        except ValueError as error:
            return self._give_up(ending.LAUNCH_FAILED, str(error))
        except OSError as error:
            reason = f"the lease directory cannot be used: {error}: correct it or set RFSCHED_LEASE_DIR"
            return self._give_up(ending.LAUNCH_FAILED, reason)
        if note := logs.point_latest(self.spec.log_latest, self.log):
            self.facts.notes.append(note)
        return not self._asked_to_stop() and self._may_use_time() and self._forget_success()

    def _has_work(self, rule: freshness.Rule) -> bool:
        """Look at the job's files; False, with the facts set, if it is up to date or lacks an input."""
        seen = freshness.Seen(rule)
        if seen.missing_inputs:
            names = ", ".join(seen.missing_inputs)
            fact = "its input is not there" if len(seen.missing_inputs) == 1 else "its inputs are not there"
            return self._give_up(ending.LAUNCH_FAILED, f"{fact}: {names} (below {rule.cwd})")
        why = freshness.why_run(seen, freshness.load(rule), rule.definition)
        if not why and not rule.force:
            return self._give_up(ending.UP_TO_DATE, "nothing changed since it last succeeded")
        self.seen = seen
        self.screen.feed(f"── runs because {why or 'it was asked for'} ──\r\n".encode(errors="replace"))
        return True

    def _forget_success(self) -> bool:
        """From here on the job's files are in its own hands: what it made before does not count any more."""
        if self.spec.files is None:
            return True
        try:
            freshness.forget(self.spec.files)
        except OSError as error:
            return self._give_up(ending.LAUNCH_FAILED, f"{self.spec.files.note} cannot be removed: {error.strerror}")
        return True

    def _settle_files(self) -> None:
        """A success without its outputs is none; any other is noted."""
        rule = self.spec.files
        if rule is None or self.seen is None or not ending.judge(self.facts, self.spec.completion.rule)["succeeded"]:
            return
        self.facts.unmade = freshness.missing_outputs(rule)
        if self.facts.unmade:
            return
        try:
            freshness.save(rule, self.seen)
        except OSError as error:
            self.facts.notes.append(f"its success cannot be noted in {rule.note}: {error.strerror}")

    def _fail(self, error: Exception) -> None:
        """End the job, if there is one: an attempt nobody supervises must not go on."""
        self.facts.outcome = self.facts.outcome or (ending.LAUNCH_FAILED if self.started_at is None else ending.KILLED)
        self.facts.by = "runner"
        self.facts.reason = f"the runner failed: {type(error).__name__}: {error}"
        if self.started_at is not None:
            self.tree = self.tree or Tree(0, self.spec.tag, subreaper=True)
            self.facts.unreaped = self.tree.end(_FAILED_PATIENCE_S)

    def _give_up(self, outcome: str, reason: str) -> bool:
        self.facts.outcome, self.facts.reason = outcome, reason
        return False

    def _asked_to_stop(self) -> bool:
        """Tell whether somebody stopped the attempt before its job ran."""
        stop = stopping.read_stop(self.spec.dir)
        arrived = self.signals.arrived()
        self.signals.put_back(arrived)
        if stop is None and not {kernel.signal.SIGTERM, kernel.signal.SIGINT} & set(arrived):
            return False
        by, reason = stop or ("signal", "")
        self.facts.by = by
        self._give_up(ending.KILLED, f"stopped before its job started{f': {reason}' if reason else ''}")
        return True

    def _may_use_time(self) -> bool:
        """Tell whether its budget leaves time for more than being stopped; False, with the facts set, if not."""
        if not self.grant.used_up():
            return True
        self.facts.by = "budget"
        return self._give_up(ending.KILLED, "what it was granted of its budget was over before its job started")

    def _supervise(self, marker: Marker) -> None:
        pump = Pump(self.log, self.screen)
        self.started_at, self.started = time.time(), time.monotonic()
        self.facts.kills = OomKills()
        self.tree = Supervisor(self.spec, self.facts, self.signals, pump, marker, self.leases, self.grant).run()
        self.tail = pump.tail.read()

    def _verify(self, marker: Marker) -> None:
        """Ask the user's own command, where one has a say."""
        if self.spec.completion.verify is None:
            return
        from researchflow_tmux.runner import verifying

        self.facts.marker = marker.is_new()
        if verifying.wanted(self.spec, self.facts):
            verifying.verify(self.spec, self.facts, self.signals, self.log, self.screen, self.leases, self.grant)

    def _settle_marker(self, marker: Marker) -> None:
        self.facts.marker = marker.is_new()
        self._settle_files()
        by_us = self.spec.completion.rule == "exit_code" and not self.facts.marker
        if by_us and not self.facts.outcome and ending.judge(self.facts, "exit_code")["succeeded"]:
            problem = marker.write(self.spec.title, self.spec.tag)
            if problem:
                self.facts.notes.append(problem)
            self.facts.marker = marker.is_new()

    def _look_for_memory(self) -> None:
        """Ask whether a job that failed by itself was out of memory; a fault in that is no reason to lose the end."""
        if self.tree is None or self.facts.memory is not None:
            return
        if not ending.failed_by_itself(ending.judge(self.facts, self.spec.completion.rule)):
            return
        from researchflow_tmux.runner import oom

        try:
            facts, pids = self.facts, self.tree.pids
            held_mib = facts.memory_limit_mib
            facts.memory = oom.recognise(facts.status, self.tail, self.spec.oom, facts.kills, pids, held_mib)
        except Exception as error:  # noqa: BLE001 - see above
            self.facts.notes.append(f"its output could not be searched: {type(error).__name__}: {error}")

    def _finish(self) -> NoReturn:
        if self.facts.leftovers:
            self.facts.notes.append(f"{self.facts.leftovers} processes it left behind were ended")
        self.log.close()
        facts = self._record()
        for _ in range(5):
            try:
                record.write(self.claimed.exit_fd, facts)
                break
            except OSError as error:
                self.screen.feed(f"\r\nrfsched: the exit record cannot be written: {error.strerror}\r\n".encode())
                time.sleep(0.2)
        if self.leases is not None and not self.facts.unreaped:
            self.leases.release()
        wake(self.spec.wake, self.spec.tag)
        line = ending.last_line(facts, self.spec.title, self.log.path)
        if self.screen.is_tty:
            line = f"\x1b[{32 if facts['succeeded'] else 31}m{line}\x1b[m"
        self.screen.finish(f"\r\n{line}\r\n")
        os._exit(SUCCEEDED if facts["succeeded"] else NOT_SUCCEEDED)

    def _record(self) -> dict[str, Any]:
        facts = _record(self.spec.tag, self.facts, self.spec.completion.rule)
        facts["headless"] = self.screen.lost
        facts["log"] = self.log.path
        facts["log_dropped_bytes"] = self.log.dropped
        if self.started_at is not None and self.facts.outcome != ending.LAUNCH_FAILED:
            facts |= {"started_at": self.started_at, "duration_s": round(time.monotonic() - self.started, 6)}
        if self.tree is not None:
            facts |= {"max_rss_kib": self.tree.max_rss_kib, "cpu_s": round(self.tree.cpu_s, 6)}
        return facts


def wake(fifo: str | None, tag: str) -> None:
    """Tell a scheduler that reads this FIFO to look at the attempt; nobody reading is no error.

    Only a FIFO is ever written to.
    """
    if fifo is None:
        return
    try:
        fd = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.write(fd, f"{tag}\n".encode())
    except OSError:
        pass  # full: the scheduler has enough reason to look already
    os.close(fd)


def _record(tag: str, facts: ending.Facts, rule: str) -> dict[str, Any]:
    judged = ending.judge(facts, rule)
    rest = {"started_at": None, "ended_at": time.time(), "duration_s": None, "leftovers": facts.leftovers}
    used = {"unreaped": facts.unreaped, "max_rss_kib": 0, "cpu_s": 0.0, "log_dropped_bytes": 0, "headless": False}
    return {"version": 1, "tag": tag} | judged | rest | used


def _not_run(outcome: str, reason: str) -> ending.Facts:
    facts = ending.Facts()
    facts.outcome, facts.reason = outcome, reason
    return facts


def _refuse_spec(path: str, problem: str) -> int:
    """Record, if the attempt is still free, that its spec is of no use; return the exit code."""
    try:
        claimed = claim.take(os.path.dirname(path), "")
    except OSError:
        return NOT_CLAIMED
    if claimed is None:
        return NOT_CLAIMED
    record.write(claimed.exit_fd, _record("", _not_run(ending.LAUNCH_FAILED, problem), "exit_code"))
    return NOT_SUCCEEDED


def _leave(code: int, line: str) -> NoReturn:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    finally:
        os._exit(code)
