"""Starting a workspace's scheduler when the machine starts: one line of the user's crontab, and only that one."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from researchflow_tmux.domain.errors import UsageError

MARK = "# rfsched autostart:"
CRONTAB_S = 10.0
_WITHOUT_CRON = (
    "without cron: `loginctl enable-linger`, and a systemd user unit with the scheduler as its ExecStart, "
    "enabled by `systemctl --user enable`"
)
_EMPTY = (b"no crontab", b"no such file")


def status(root: str, *, environ: Mapping[str, str] | None = None) -> str | None:
    """The command that the machine's start runs for the workspace at `root`; None = off.

    Raises:
        UsageError: There is no crontab program, or it refuses.
    """
    for line in _read(environ).splitlines():
        if _is_ours(line, root):
            command = line[: -len(_mark(root))].removeprefix(b"@reboot").strip()
            return command.replace(rb"\%", b"%").decode(errors="replace")
    return None


def enable(root: str, argv: Sequence[str], *, environ: Mapping[str, str] | None = None) -> bool:
    """Have `argv` run in `root` at every start of the machine; False = that was so already.

    Every other line of the crontab stays byte for byte. Raises UsageError as `status` does.
    """
    if "\n" in root or any("\n" in word for word in argv):
        raise UsageError(f"a crontab line cannot hold a line break: {root!r}", hint="rename the directory")
    command = f"cd {shlex.quote(root)} && {shlex.join(argv)}"
    # cron takes a bare % as the end of the command.
    line = b"@reboot " + os.fsencode(command).replace(b"%", rb"\%") + _mark(root)
    before = _read(environ)
    lines = before.splitlines(keepends=True)
    kept = [each for each in lines if not _is_ours(each, root)]
    if line + b"\n" in lines and len(kept) == len(lines) - 1:
        return False
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    _write(b"".join([*kept, line, b"\n"]), environ)
    return True


def disable(root: str, *, environ: Mapping[str, str] | None = None) -> bool:
    """Take the workspace's line out; False = there was none. Raises UsageError as `status` does."""
    lines = _read(environ).splitlines(keepends=True)
    kept = [line for line in lines if not _is_ours(line, root)]
    if len(kept) == len(lines):
        return False
    _write(b"".join(kept), environ)
    return True


def _mark(root: str) -> bytes:
    """The shell's comment at the end of our line: it names the workspace, whole."""
    return f" {MARK} ".encode() + os.fsencode(root).replace(b"%", rb"\%")


def _is_ours(line: bytes, root: str) -> bool:
    return line.startswith(b"@reboot ") and line.rstrip(b"\r\n").endswith(_mark(root))


def _read(environ: Mapping[str, str] | None) -> bytes:
    done = _crontab(["-l"], None, environ)
    if done.returncode == 0:
        return done.stdout
    if any(words in done.stderr.lower() for words in _EMPTY):
        return b""
    raise _refused("read", done.stderr)


def _write(content: bytes, environ: Mapping[str, str] | None) -> None:
    done = _crontab(["-"], content, environ)
    if done.returncode != 0:
        raise _refused("changed", done.stderr)


def _crontab(
    arguments: list[str], content: bytes | None, environ: Mapping[str, str] | None
) -> subprocess.CompletedProcess[bytes]:
    variables = dict(os.environ if environ is None else environ)
    program = shutil.which("crontab", path=variables.get("PATH"))
    if program is None:
        raise UsageError("there is no crontab program on this machine", hint=f"install cron; or {_WITHOUT_CRON}")
    try:
        return subprocess.run(
            [program, *arguments],
            check=False,
            input=b"" if content is None else content,
            capture_output=True,
            timeout=CRONTAB_S,
            env={**variables, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{program} cannot be used: {error}", hint=_WITHOUT_CRON) from error


def _refused(what: str, stderr: bytes) -> UsageError:
    words = stderr.decode(errors="replace").strip() or "it says nothing"
    return UsageError(f"your crontab cannot be {what}: {words}", hint=_WITHOUT_CRON)
