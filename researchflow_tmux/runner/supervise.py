"""The life of one running job: wait for everything at once, and end it when something says so."""

from __future__ import annotations

import os
import select
import time

from researchflow_tmux.runner import child, kernel, launch_error, server, stopping
from researchflow_tmux.runner.grants import save_s
from researchflow_tmux.runner.kernel import signal
from researchflow_tmux.runner.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from researchflow_tmux.runner.admission import Leases
    from researchflow_tmux.runner.ending import Facts
    from researchflow_tmux.runner.grants import Grant
    from researchflow_tmux.runner.kernel import Signals
    from researchflow_tmux.runner.limits import Held
    from researchflow_tmux.runner.marker import Marker
    from researchflow_tmux.runner.patience import Patience
    from researchflow_tmux.runner.spec import Spec
    from researchflow_tmux.runner.terminal import Pump

_MARKER_POLL_S = 0.5
_KILL_POLL_S = 0.05
_DYING_S = 0.2
_KILL_PATIENCE_S = 30.0
_REFRESH_S = 60.0
_LONGEST_WAIT_S = 86400.0
"""poll() takes no more than 24 days."""
_RUNNING, _SAVING, _TERMINATING, _KILLING, _OVER = range(5)


class Supervisor:
    """Runs the job of `spec` to its end, whatever happens to terminal, tmux and scheduler; fills in `facts`."""

    def __init__(
        self,
        spec: Spec,
        facts: Facts,
        signals: Signals,
        pump: Pump,
        marker: Marker,
        leases: Leases | None,
        grant: Grant,
    ) -> None:
        self.spec = spec
        self.facts = facts
        self.signals = signals
        self.screen = pump.screen
        self.pump = pump
        self.marker = marker
        self.leases = leases
        self.grant = grant
        self.server = server.Server()
        self.phase = _RUNNING
        self.report = b""
        self.hung_up = False
        self.held: Held | None = None
        self.patience: Patience | None = None
        """While a job makes room for another one."""
        self._subreaper = kernel.subreaper()
        self._deadlines: dict[str, float] = {}

    def run(self) -> Tree:
        """Start the job and return when no process of it is left, or none that can be killed."""
        inherit = self.leases.inherit if self.leases else []
        held = self.held = self._limits()
        pid, self._report_fd = child.start(self.spec, self.pump.slave, inherit, held.begin if held else None)
        self.tree = Tree(pid, self.spec.tag, subreaper=self._subreaper)
        now = time.monotonic()
        if self.spec.time_limit_s is not None:
            self._deadlines["limit"] = now + self.spec.time_limit_s
        if self.marker.path is not None:
            self._deadlines["look"] = now + _MARKER_POLL_S
        if self.leases is not None:
            self._deadlines["refresh"] = now + _REFRESH_S
        self._mind_grant()
        if held is not None and held.watched:
            self._deadlines["memory"] = now + held.look_s
        while self.phase != _OVER:
            self._wait()
            self._signals()
            self._reap()
            self._expire(time.monotonic())
        self.pump.drain()
        self.facts.status = self.tree.status
        self._look_whether_through()
        if self.report:
            self.facts.outcome = "launch_failed"
            self.facts.reason = launch_error.explain(self.report.decode(errors="surrogateescape"), self.spec)
        return self.tree

    def _look_whether_through(self) -> None:
        """A job that made room, and was through with its work by then, has not been stopped."""
        if self.patience is None or self.facts.cause != "stop":
            return
        if self.patience.was_through(self.facts.status):
            self.facts.cause, self.facts.by, self.facts.reason = "", None, ""
        elif self.marker.is_new():
            self.facts.cause, self.facts.by, self.facts.reason = "marker", None, ""

    def _limits(self) -> Held | None:
        """What holds the job's limits, if it has any; imported only then, as this is half a millisecond."""
        if not self.spec.limits.any:
            return None
        from researchflow_tmux.runner.limits import Held

        return Held(self.spec, self.facts, self.pump)

    def stop(self, cause: str, by: str, reason: str) -> None:
        """End the job politely; asked again, at once."""
        now = time.monotonic()
        if cause == "stop":
            self.facts.asked = (by, reason)
        if self.phase != _RUNNING:
            self._asked_again(by, now)
            return
        if self.tree.status is None:
            self.facts.cause, self.facts.by, self.facts.reason = cause, by, reason
            self._be_patient(cause)
            goes_on = cause in ("limit", "budget") or (cause == "stop" and stopping.save_first(self.spec.dir))
            if goes_on and self.tree.ask_to_save():
                self.phase = _SAVING
                usual_s = save_s(self.spec.stop_grace_s)
                self._deadlines["save"] = now + (usual_s if self.patience is None else self.patience.save_s)
                if self.patience is not None:
                    self._deadlines["saved"] = now
                return
        self._terminate(now)

    def _be_patient(self, cause: str) -> None:
        """Note how things stand before a job is stopped that is given more time; imported only then."""
        save_s = stopping.save_s(self.spec.dir) if cause == "stop" else None
        if save_s is not None:
            from researchflow_tmux.runner.patience import Patience

            self.patience = Patience(save_s, self.spec.env, self.tree)

    def _asked_again(self, by: str, now: float) -> None:
        """Told to end while it ends: at once then. A scheduler that was started anew only passes on what was asked."""
        if self.patience is None or self.phase == _KILLING:
            self._deadlines["kill"] = now
        elif by != self.facts.by:
            if self.phase == _SAVING:
                self.patience.save_s = 0.0
                self._terminate(now)
            else:
                self._deadlines["kill"] = now

    def _wait(self) -> None:
        now = time.monotonic()
        wanted, until = self.pump.interests(now)
        wanted.append((self.signals.fd, select.POLLIN))
        if self._report_fd >= 0:
            wanted.append((self._report_fd, select.POLLIN))
        if "hangup" in self._deadlines and self.server.fd >= 0:
            wanted.append((self.server.fd, select.POLLIN))
        poller = select.poll()
        for fd, mask in wanted:
            poller.register(fd, mask)
        times = [*self._deadlines.values(), *([] if until is None else [until])]
        timeout = min(max(0.0, min(times) - now), _LONGEST_WAIT_S) * 1000 + 1 if times else None
        for fd, events in poller.poll(timeout):
            self._ready(fd, events)

    def _ready(self, fd: int, events: int) -> None:
        if fd == self.signals.fd:
            return
        if fd == self._report_fd:
            self._read_report()
        elif fd == self.server.fd:
            self._hangup_decided()
        else:
            lost_before = self.screen.lost
            self.pump.handle(fd, events)
            if self.screen.lost and not lost_before:
                self._hangup()

    def _read_report(self) -> bool:
        """Take in what the child says about its start; False when there is nothing to wait for at present."""
        try:
            data = os.read(self._report_fd, 4096)
        except BlockingIOError:
            return False
        self.report += data
        if not data:
            os.close(self._report_fd)
            self._report_fd = -1
        return bool(data)

    def _signals(self) -> None:
        for number in self.signals.arrived():
            if number in (signal.SIGTERM, signal.SIGINT):
                by_hand = ("signal", f"the runner got {kernel.signal_name(number)}")
                self.stop("stop", *(stopping.read_stop(self.spec.dir) or by_hand))
            elif number == signal.SIGHUP:
                self._hangup()
            elif number == signal.SIGWINCH:
                if not self.screen.lost:
                    self.pump.resize()
                self._mind_grant()

    def _hangup(self) -> None:
        """The pane closed: either tmux ended and the job goes on without it, or the user killed the session."""
        if self.hung_up:
            return
        if not self.screen.lost and not self.screen.gone():
            self.stop("stop", "signal", "the runner got SIGHUP")
            return
        self.hung_up = True
        self.screen.lose()
        if self.server.known:
            self._deadlines["hangup"] = time.monotonic() + server.PATIENCE_S

    def _hangup_decided(self) -> None:
        self._deadlines.pop("hangup", None)
        if not self.server.gone() and self.phase == _RUNNING:
            self.stop("stop", "session_killed", "its tmux session was killed")

    def _reap(self) -> None:
        running = self.tree.status is None
        if self.tree.collect():
            while self._report_fd >= 0 and self._read_report():
                pass
            self.phase = _OVER
        elif running and self.tree.status is not None:
            self._main_ended()

    def _main_ended(self) -> None:
        """Only what the job left behind still runs: let it end by itself for a while, unless all has to end anyway."""
        for name in ("limit", "look", "marker", "memory"):
            self._deadlines.pop(name, None)
        if self.phase == _RUNNING:
            self._deadlines["leftover"] = time.monotonic() + self.spec.leftover_grace_s
        elif self.phase == _SAVING:
            self._terminate(time.monotonic())
        elif self.phase == _TERMINATING:  # the others of its group got the same signal and are about to end
            self._deadlines["leftover"] = time.monotonic() + _DYING_S

    def _expire(self, now: float) -> None:
        for name in [name for name, at in self._deadlines.items() if at <= now]:
            del self._deadlines[name]
            if self.phase != _OVER:
                getattr(self, f"_on_{name}")(now)

    def _on_limit(self, _now: float) -> None:
        if self.phase == _RUNNING:
            self.stop("limit", "time_limit", f"its time limit of {self.spec.time_limit_s:g} s is over")

    def _mind_grant(self) -> None:
        """See what is granted by now: it may have become more, or less."""
        self.grant.look()
        stop_at = self.grant.stop_at()
        self._deadlines.pop("budget", None)
        if stop_at is not None and self.phase < _KILLING:
            self._deadlines["budget"] = stop_at

    def _on_budget(self, now: float) -> None:
        """Nearly all that is granted is used: end the job, unless there is more by now or it is complete."""
        self._mind_grant()
        if self._deadlines.get("budget", float("inf")) > now:
            return
        del self._deadlines["budget"]
        if self.phase != _RUNNING:
            self._hurry(now)
        elif self.marker.path is not None and self.marker.is_new():
            self.stop("marker", "marker", "")
        else:
            self.stop("budget", "budget", "what it was granted of its budget is used up")

    def _hurry(self, now: float) -> None:
        """It ends already, in its own good time: no more than the usual is left for that."""
        if self.phase == _SAVING and self.patience is not None:
            self.patience.save_s = 0.0
            self._terminate(now)
        elif self.phase == _TERMINATING:
            self._deadlines["kill"] = min(self._deadlines.get("kill", now), now + self.spec.stop_grace_s)

    def _on_memory(self, now: float) -> None:
        """Stop a job that is above its memory limit as the kernel would: at once."""
        if self.held is None or self.phase == _OVER:
            return
        excess = self.held.excess(self.tree.living())
        if excess:
            self.facts.cause, self.facts.by, self.facts.memory = "memory", "memory_limit", excess
            self._on_kill(now)
        else:
            self._deadlines["memory"] = now + self.held.look_s

    def _on_save(self, now: float) -> None:
        if self.phase == _SAVING:
            self._terminate(now)

    def _on_saved(self, now: float) -> None:
        from researchflow_tmux.runner.patience import LOOK_S

        if self.phase != _SAVING or self.patience is None:
            return
        if self.patience.saved():
            self._terminate(now)
        else:
            self._deadlines["saved"] = now + LOOK_S

    def _on_look(self, now: float) -> None:
        if not self.marker.is_new():
            self._deadlines["look"] = now + _MARKER_POLL_S
        elif self.phase == _RUNNING:
            self._deadlines["marker"] = now + self.spec.completion.grace_s
            self._deadlines.pop("limit", None)  # it is complete; the grace bounds what follows

    def _on_marker(self, _now: float) -> None:
        if self.phase == _RUNNING and self.tree.status is None:
            self.stop("marker", "marker", "")

    def _on_hangup(self, _now: float) -> None:
        self._hangup_decided()

    def _on_refresh(self, now: float) -> None:
        if self.leases is not None:
            self.leases.refresh()
            self._deadlines["refresh"] = now + _REFRESH_S

    def _on_leftover(self, now: float) -> None:
        if self.phase == _RUNNING:
            self._terminate(now)
        elif self.phase == _TERMINATING:
            self._end_leftovers()

    def _terminate(self, now: float) -> None:
        saves_s = self.patience.save_s if self.patience is not None and self.phase == _RUNNING else 0.0
        self.phase = _TERMINATING
        self._deadlines["kill"] = now + max(self.spec.stop_grace_s, saves_s)
        if self.tree.status is None:
            self.tree.terminate(self.pump)
        else:
            self._end_leftovers()

    def _end_leftovers(self) -> None:
        self.facts.leftovers = len(self.tree.send(signal.SIGTERM))
        self.tree.send(signal.SIGCONT)

    def _on_kill(self, now: float) -> None:
        """Kill again and again: a process may have been forking when the list was made."""
        if self.phase != _KILLING:
            self.phase = _KILLING
            self._deadlines["give_up"] = now + _KILL_PATIENCE_S
        self.tree.send(signal.SIGKILL)
        self._deadlines["kill"] = now + _KILL_POLL_S

    def _on_give_up(self, _now: float) -> None:
        self.facts.unreaped = self.tree.living()
        self.phase = _OVER
