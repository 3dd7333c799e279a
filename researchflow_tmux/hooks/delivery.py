"""One try at telling: running the command, or posting to the URL."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from researchflow_tmux.domain.hooks import Hook
from researchflow_tmux.hooks.facts import Fact
from researchflow_tmux.hooks.secrets import MissingVariable, filled, secrets_of, without

AGENT = "rfsched"
_MOST_READ = 1 << 16


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the headers with their tokens to another host, and turn the POST into a GET."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def deliver(hook: Hook, fact: Fact, environ: Mapping[str, str], cwd: str, *, show: bool = False) -> str | None:
    """Tell `fact` once; None = it was taken, else why not, in words without secrets.

    Args:
        hook: How to tell.
        fact: What to tell.
        environ: The environment of commands, and the values of `${NAME}`.
        cwd: Where commands run.
        show: Let a command's output go to this process's own; otherwise nobody sees it.
    """
    if hook.command is not None:
        return _run(hook, fact, environ, cwd, show)
    secrets = secrets_of(hook, environ)
    try:
        return _post(hook, fact, environ)
    except MissingVariable as error:
        return str(error)
    except urllib.error.HTTPError as error:
        with suppress(OSError):
            error.close()
        return f"the answer was {error.code} {without(secrets, str(error.reason))}".rstrip()
    except urllib.error.URLError as error:
        return without(secrets, f"{error.reason}")
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:  # a connection that broke; a header or URL that no HTTP can carry
        return without(secrets, f"{type(error).__name__}: {error}")


def _post(hook: Hook, fact: Fact, environ: Mapping[str, str]) -> str | None:
    headers = {name: filled(value, environ) for name, value in hook.headers.items()}
    usual = {"Content-Type": "application/json", "User-Agent": AGENT, "X-Rfsched-Event": fact.event}
    url, login = _without_login(filled(hook.url or "", environ))
    request = urllib.request.Request(  # noqa: S310 - the scheme is looked at below
        url, data=fact.json(), headers=usual | login | headers, method="POST"
    )
    if request.type not in ("http", "https"):
        return "its URL begins with neither http:// nor https://"
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=hook.timeout_s) as answer:
        answer.read(_MOST_READ)
    return None


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """(the URL without `user:password@`, the header that says the same): urllib takes them for a port."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    if not login:
        return url, {}
    said = base64.b64encode(unquote(login).encode()).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {said}"}


def _run(hook: Hook, fact: Fact, environ: Mapping[str, str], cwd: str, show: bool) -> str | None:
    output = None if show else subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", hook.command or ""],
            cwd=cwd,
            env={**environ, **fact.variables()},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    try:
        process.communicate(fact.json(), timeout=hook.timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"it did not end within {hook.timeout_s:g} s"
    code = process.returncode
    if code == 0:
        return None
    return f"exit code {code}" if code > 0 else f"it was ended by signal {-code}"
