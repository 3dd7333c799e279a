"""FlowLine's commands, each done by a command of `rfsched`."""

from __future__ import annotations

import cmd
import os
import sys

from researchflow_tmux.api import asking
from researchflow_tmux.api.workspace import Workspace
from researchflow_tmux.cli.main import run
from researchflow_tmux.domain.errors import RfschedError
from researchflow_tmux.domain.job import JobState

INTRO = """\
{table} runs in the workspace {root}
run starts it, help lists the commands, exit leaves (jobs go on)"""
SHOWN = (
    (JobState.ACTIVE, "running"),
    (JobState.QUEUED, "waiting"),
    (JobState.SUCCEEDED, "done"),
    (JobState.FAILED, "failed"),
)


class Prompt(cmd.Cmd):
    """Reads commands until `exit` or the end of the input."""

    doc_header = "Commands (help COMMAND explains one)"

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._root = workspace.paths.root
        self._terminal = sys.stdin.isatty()
        self._asked = False
        self._began = False
        self._code = 0
        self.use_rawinput = self._terminal

    def run(self) -> int:
        """The exit code."""
        table = os.path.normpath(os.path.join(self._root, self._workspace.settings.tables[0]))
        self._say(INTRO.format(table=table, root=self._root))
        while True:
            try:
                self.cmdloop()
            except KeyboardInterrupt:
                self._say("")
                continue
            return self._code

    # -- FlowLine's words

    def do_run(self, _line: str) -> None:
        """run: start the scheduler; the next time, end it (running jobs run on), and so on."""
        # Who has just come does not want to stop the scheduler that went on when he left.
        self._rfsched("stop" if self._began and self._is_running() else "start")
        self._began = True

    def do_gpu(self, line: str) -> None:
        """Gpu ID: start nothing new on a GPU, or use it again."""
        index = self._number(line, "gpu 0")
        if index is not None:
            self._rfsched("gpus", "enable" if index in self._drained() else "drain", str(index))

    def do_killgpu(self, line: str) -> None:
        """Killgpu ID: end the jobs of this table on a GPU; they are cancelled. Other people's are not touched."""
        index = self._number(line, "killgpu 0")
        if index is not None:
            was_drained = index in self._drained()
            self._rfsched("gpus", "kill", "--yes", str(index))
            if not was_drained:
                self._rfsched("gpus", "enable", str(index))

    def do_kill(self, line: str) -> None:
        """Kill ID: cancel a job, waiting or running. It is not queued again (FlowLine did so)."""
        job = self._number(line, "kill 3")
        if job is not None:
            self._rfsched("cancel", str(job))

    def do_ls(self, _line: str) -> None:
        """ls: the jobs that run."""
        self._rfsched("status", "--state", "running")

    def do_gpus(self, _line: str) -> None:
        """gpus: all GPUs."""
        self._rfsched("gpus")

    def do_min(self, line: str) -> None:
        """Min NUMBER: MiB that must be free on a GPU before a job starts there."""
        size = self._number(line, "min 2048")
        if size is not None:
            self._rfsched("config", "set", "gpu_memory", str(size))

    def do_max(self, line: str) -> None:
        """Max NUMBER: jobs at a time."""
        count = self._number(line, "max 4")
        if count is not None:
            self._rfsched("config", "set", "max_jobs", str(count))

    def do_task(self, _line: str) -> None:
        """task: the jobs that wait, and why."""
        self._rfsched("status", "--state", "queued")

    def do_exit(self, _line: str) -> bool:
        """exit: leave; the scheduler and the jobs go on."""
        if self._is_running():
            self._say(f"the scheduler goes on; it ends with: rfsched -w {self._root} stop")
        return True

    # -- and some of ours

    def do_status(self, _line: str) -> None:
        """status: everything on one page."""
        self._rfsched("status")

    def do_watch(self, _line: str) -> None:
        """watch: the same, drawn again and again; Ctrl-C ends it."""
        self._rfsched("status", "--watch")

    def do_wait(self, _line: str) -> None:
        """wait: until all jobs have ended."""
        self._code = self._rfsched("wait")

    # -- the loop

    def get_names(self) -> list[str]:
        """What `help` lists."""
        return [name for name in super().get_names() if name != "do_EOF"]

    def do_EOF(self, _line: str) -> bool:  # noqa: N802 - cmd's name for the end of the input
        """Ctrl-D: the same as exit."""
        if not self._terminal and not self._asked:
            self._run_to_the_end()
            return True
        self._say("")
        return self.do_exit("")

    def precmd(self, line: str) -> str:
        """Note that somebody gives commands."""
        self._asked = self._asked or line != "EOF"
        return line

    def postcmd(self, stop: bool, line: str) -> bool:
        """The next prompt says how things stand."""
        self.prompt = self._state()
        return stop

    def preloop(self) -> None:
        """The first prompt does too."""
        self.prompt = self._state()

    def emptyline(self) -> bool:
        """Enter alone shows how things stand now."""
        return False

    def default(self, line: str) -> None:
        """A word that is no command."""
        self._say(f"there is no command {line.split()[0]!r}; help lists them")

    def _run_to_the_end(self) -> None:
        if not self._is_running():
            self._code = self._rfsched("start")
        if self._code == 0:
            self._code = self._rfsched("wait")

    def _state(self) -> str:
        """`[1 running, 2 waiting] > `; nothing where nobody reads it."""
        if not self._terminal:
            return ""
        try:
            states = [job.state for job in self._workspace.jobs()]
        except RfschedError:
            states = []
        parts = [f"{states.count(state)} {word}" for state, word in SHOWN if state in states]
        return f"[{', '.join(parts) or 'not started'}] > "

    def _is_running(self) -> bool:
        return asking.scheduler(self._workspace.paths) is not None

    def _drained(self) -> set[int]:
        from researchflow_tmux.api.gpus import view

        try:
            return {gpu.index for gpu in view(self._workspace).gpus if gpu.state in ("drained", "draining")}
        except RfschedError:
            return set()

    def _number(self, line: str, example: str) -> int | None:
        word = line.strip()
        if word.isascii() and word.isdigit():
            return int(word)
        self._say(f"expected a number, such as: {example}")
        return None

    def _rfsched(self, *words: str) -> int:
        self.stdout.flush()
        return run(["-w", self._root, *words])

    def _say(self, text: str) -> None:
        self.stdout.write(f"{text}\n")
        self.stdout.flush()
