"""Our sessions on a tmux server: a snapshot of all, opening one, closing or renaming only what carries our tag."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from researchflow_tmux.adapters import tmux_opening as opening
from researchflow_tmux.adapters.tmux import MAX_COMMAND_BYTES, Answer, Output, Tmux
from researchflow_tmux.adapters.tmux_snapshot import FORMAT, TAG_OPTION, parse
from researchflow_tmux.adapters.tmux_socket import ensure_socket
from researchflow_tmux.domain.errors import LaunchError
from researchflow_tmux.ports import (
    Launched,
    LaunchRefused,
    LaunchResult,
    NameTaken,
    ServerDown,
    Sessions,
    Snapshot,
    Unknown,
)

_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Right after `kill-server` the old server refuses while it goes: waits between tries, 0.8 s in all."""
_GOING = ("server exited unexpectedly", "lost server")


class TmuxSessions:
    """The sessions of one workspace (tags `{workspace_id}/…`) among everybody's on the server."""

    def __init__(self, tmux: Tmux, workspace_id: str) -> None:
        self._tmux = tmux
        self._prefix = f"{workspace_id}/"
        self._server_pid: int | None = None
        self._pause = threading.Event()  # never set: a bounded wait

    def snapshot(self) -> Snapshot:
        """All sessions, in one call."""
        answer = self._ask("display-message", "-p", "#{pid}", ";", "list-panes", "-a", "-F", FORMAT)
        if isinstance(answer, Unknown):
            return answer
        if answer.server_down:
            self._server_pid = None
            return ServerDown()
        if answer.rc != 0 or not answer.stdout or not answer.stdout[0].isdigit():
            return Unknown(why=f"tmux answered with code {answer.rc}: {answer.stderr or answer.stdout[:1]}")
        self._server_pid = int(answer.stdout[0])
        return parse(answer.stdout[1:], self._prefix, self._server_pid)

    def new_session(
        self,
        name: str,
        tag: str,
        argv: Sequence[str],
        cwd: str,
        *,
        width: int = 200,
        height: int = 50,
        remain: bool = True,
    ) -> LaunchResult:
        """Open session `name`, tagged, running `argv` (no shell between); starts the server if there is none.

        Asking again for the same name and tag is answered with the session that is there. `remain`: keep it for a look
        when its process has ended.
        """
        refusal = opening.refusal(name, tag, argv) or opening.no_room(self._server_pid)
        if refusal is not None:
            return refusal
        try:
            answer = self._open(opening.command(name, tag, argv, cwd, (width, height), remain=remain))
        except LaunchError as error:
            return LaunchRefused(why=str(error), host=False)
        if isinstance(answer, Unknown):
            return answer
        if answer.rc == 0 and answer.stdout:
            if answer.stdout[1:] == ["on"]:
                return opening.SERVER_LEAVES
            server, _, pane = answer.stdout[0].partition(":")
            self._server_pid = int(server)
            return Launched(runner_pid=int(pane))
        if "duplicate session" in answer.stderr:
            return self._owner(name, tag)
        return LaunchRefused(why=f"tmux would not open session {name}: {answer.stderr or 'no reason given'}", host=True)

    def kill_if_tag(self, sessions: Sequence[tuple[str, str]]) -> None:
        """Close the sessions given as (name, tag), each only if it still carries that tag."""
        self._if_tag([(name, tag, f"kill-session -t ={name}:") for name, tag in sessions])

    def rename_if_tag(self, sessions: Sequence[tuple[str, str, str]]) -> None:
        """Rename the sessions given as (name, tag, new name), each only if it still carries that tag."""
        valid = [entry for entry in sessions if opening.NAME.fullmatch(entry[2])]
        self._if_tag([(name, tag, f"rename-session -t ={name}: {new}") for name, tag, new in valid])

    # -- asking

    def _ask(self, *args: str) -> Answer:
        """Ask; where only the socket's file is gone, have the server bring it back and ask again."""
        answer = self._tmux.call("-N", *args)
        for pause_s in _PAUSES_S:
            if isinstance(answer, Unknown) or not answer.socket_missing:
                return answer
            found = ensure_socket(self._tmux.socket_path, self._server_pid)
            if found == "absent":
                return answer
            if found == "unknown":
                return Unknown(why=f"the tmux server lost its socket {self._tmux.socket_path} and does not recreate it")
            self._pause.wait(pause_s)
            answer = self._tmux.call("-N", *args)
        return answer

    def _open(self, command: Sequence[str]) -> Answer:
        """Open a session on the running server, else start one. `-N` first: never a second server beside the first."""
        answer: Answer = Unknown(why="not asked")
        for pause_s in (*_PAUSES_S, None):
            answer = self._ask(*command)
            if isinstance(answer, Output) and answer.server_down:
                answer = self._tmux.start(*command, *opening.WILL_IT_STAY)
            if isinstance(answer, Unknown) or not _going(answer) or pause_s is None:
                break
            self._pause.wait(pause_s)
        if isinstance(answer, Output) and _going(answer):
            return Unknown(why=f"tmux went away while it opened a session: {answer.stderr}")
        return answer

    def _if_tag(self, commands: Sequence[tuple[str, str, str]]) -> None:
        batch: list[str] = []
        for name, tag, command in commands:
            if not (opening.NAME.fullmatch(name) and opening.TAG.fullmatch(tag)):
                continue  # no such session can be ours
            condition = f"#{{==:#{{{TAG_OPTION}}},{tag}}}"
            step = ["if-shell", "-F", "-t", f"={name}:", condition, command]
            if sum(map(len, batch)) + len(batch) + sum(map(len, step)) > MAX_COMMAND_BYTES // 2:
                self._ask(*batch)
                batch = []
            batch += [";", *step] if batch else step
        if batch:
            self._ask(*batch)

    def _owner(self, name: str, tag: str) -> LaunchResult:
        seen = self.snapshot()
        if isinstance(seen, Unknown):
            return seen
        if isinstance(seen, Sessions):
            session = seen.by_name.get(name)
            if session is not None:
                return Launched(runner_pid=session.pane_pid) if session.tag == tag else NameTaken(owner=session.tag)
            if name in seen.foreign_names:
                return NameTaken(owner=f"a session that is not of this workspace (tmux attach -t ={name})")
        return Unknown(why=f"session {name} was there and is gone")


def _going(answer: Output) -> bool:
    return answer.rc != 0 and (answer.server_down or any(words in answer.stderr for words in _GOING))
