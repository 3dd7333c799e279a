"""Keeping secrets out of what is told about a hook: where it goes is shown, what it carries is not."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from researchflow_tmux.domain.hooks import Hook

_PROGRAM = re.compile(r"[A-Za-z0-9_./~+-]+")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class MissingVariable(Exception):  # noqa: N818 - it reads as the fact it states
    """A `${NAME}` of a hook is not set in the scheduler's environment."""


def filled(text: str, environ: Mapping[str, str]) -> str:
    """The text with its `${NAME}` replaced. Raises MissingVariable."""

    def value(match: re.Match[str]) -> str:
        try:
            return environ[match[1]]
        except KeyError:
            raise MissingVariable(f"the variable {match[1]} is not set in the shell that typed `start`") from None

    return _VARIABLE.sub(value, text)


def shown(hook: Hook) -> str:
    """The hook in words that may go into a log: the program alone of a command, the host alone of a URL.

    Arguments and paths may hold tokens, too.
    """
    if hook.command is not None:
        program = next((word for word in hook.command.split() if "=" not in word), "")
        return f"`{os.path.basename(program)[:60]}`" if _PROGRAM.fullmatch(program) else "a command"
    url = hook.url or ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL"
    if not host or "$" in parts.netloc:
        return "the URL in a variable" if "${" in url else "a URL"
    more = "/…" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{host}{port}{more}"


def secrets_of(hook: Hook, environ: Mapping[str, str]) -> list[str]:
    """Everything of a webhook that must not be seen, for cutting it out of an error's words."""
    if hook.url is None:
        return []
    texts = [hook.url, *hook.headers.values()]
    for text in list(texts):
        texts += [environ[name] for name in _VARIABLE.findall(text) if environ.get(name)]
    try:
        url = filled(hook.url, environ)
        parts = urlsplit(url)
        texts += [url, parts.path, parts.query, parts.password or "", parts.username or ""]
    except (MissingVariable, ValueError):
        pass
    return sorted({text for text in texts if len(text) > 3}, key=len, reverse=True)


def without(secrets: list[str], text: str) -> str:
    """The text with every secret replaced by `…`."""
    for secret in secrets:
        text = text.replace(secret, "…")
    return text
