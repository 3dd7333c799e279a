"""`spec.json`: everything the runner needs to know about one attempt. The scheduler writes it, the runner reads it."""

from __future__ import annotations

import os

from researchflow_tmux.runner import files, freshness, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
_SUCCESS = ("no_error_only", "no_error_and_verify", "verify_only", "always")
_RULES = ("exit_code", "marker", "marker_and_exit")


class SpecError(Exception):
    """The spec cannot be used; the message says which key and why."""


class Lease:
    """What an attempt needs of the machine-wide leases; `gpus` are dicts with uuid, share, memory_mib, total_mib."""

    __slots__ = ("directory", "gpus", "holder", "session")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.directory: str = _get(raw, "leases.dir", str)
        self.holder: str = _get(raw, "leases.holder", str, "")
        self.session: str = _get(raw, "leases.session", str, "")
        self.gpus: list[dict[str, Any]] = _get(raw, "leases.gpus", list)


class Completion:
    """When the job counts as complete, and as a success.

    The rule, the marker file and the grace after the marker appeared; which of "no error" and the word of the command
    `verify` make a success, and how long that may take.
    """

    __slots__ = ("grace_s", "marker", "rule", "success", "verify", "verify_timeout_s", "verify_words")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.rule: str = _get(raw, "completion.rule", str, "exit_code")
        self.marker: str | None = _get(raw, "completion.marker", str, None)
        self.grace_s = float(_get(raw, "completion.grace_s", (int, float), 10.0))
        self.success: str = _get(raw, "completion.success", str, "no_error_only")
        self.verify: list[str] | None = _get(raw, "completion.verify", list, None)
        self.verify_words: str = _get(raw, "completion.verify_words", str, "")
        self.verify_timeout_s = float(_get(raw, "completion.verify_timeout_s", (int, float), 300.0))
        if self.success not in _SUCCESS:
            raise SpecError(f"completion.success is {self.success!r}; it must be one of {', '.join(_SUCCESS)}")
        if self.rule not in _RULES:
            raise SpecError(f"completion.rule is {self.rule!r}; it must be one of {', '.join(_RULES)}")
        if self.rule != "exit_code" and self.marker is None:
            raise SpecError(f"completion.rule {self.rule} needs completion.marker")


class Limits:
    """What the job may use: memory of all its processes together, CPUs.

    `scope` = the user's systemd may hold that; else the memory is looked at every `look_s` seconds.
    """

    __slots__ = ("cpus", "look_s", "memory_mib", "scope")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.memory_mib: int | None = _get(raw, "limits.memory_mib", int, None)
        self.cpus: int | None = _get(raw, "limits.cpus", int, None)
        self.look_s = float(_get(raw, "limits.look_s", (int, float), 1.0))
        self.scope: bool = bool(raw.get("scope"))

    @property
    def any(self) -> bool:
        """Whether anything is limited."""
        return self.memory_mib is not None or self.cpus is not None


class OomRule:
    """The user's own words for "out of memory", and which memory those mean: "gpu" or "ram"."""

    __slots__ = ("patterns", "where")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.patterns: list[str] = [str(pattern) for pattern in _get(raw, "oom.patterns", list, [])]
        self.where: str = _get(raw, "oom.where", str, "gpu")


class Spec:
    """A checked spec; see `write` for the form of the file."""

    def __init__(self, raw: dict[str, Any]) -> None:
        if raw.get("version") != VERSION:
            raise SpecError(f"version is {raw.get('version')!r}; this runner reads version {VERSION}")
        self.tag: str = _get(raw, "tag", str)
        self.dir: str = _get(raw, "dir", str)
        self.title: str = _get(raw, "title", str, self.tag)
        self.argv: list[str] = _get(raw, "argv", list)
        self.cwd: str = _get(raw, "cwd", str)
        self.env: dict[str, str] = _get(raw, "env", dict)
        self.umask: int = _get(raw, "umask", int, 0o022)
        self.nice: int = _get(raw, "nice", int, 0)
        self.affinity: list[int] | None = _get(raw, "affinity", list, None)
        self.rlimits: dict[str, list[int]] = _get(raw, "rlimits", dict, {})
        self.wake: str | None = _get(raw, "wake", str, None)
        limit = _get(raw, "time_limit_s", (int, float), None)
        self.time_limit_s = None if limit is None else float(limit)
        self.stop_grace_s = float(_get(raw, "stop_grace_s", (int, float), 10.0))
        self.leftover_grace_s = float(_get(raw, "leftover_grace_s", (int, float), 2.0))
        self._read_log(_get(raw, "log", dict, None))
        self.completion = Completion(_get(raw, "completion", dict, {}))
        self.limits = Limits(_get(raw, "limits", dict, {}))
        self.oom = OomRule(_get(raw, "oom", dict, {}))
        leases = _get(raw, "leases", dict, None)
        self.leases = None if leases is None else Lease(leases)
        self.grant: dict[str, Any] | None = _get(raw, "grant", dict, None)
        rule = _get(raw, "files", dict, None)
        self.files = None if rule is None else _files(rule, self.cwd)
        self._check()

    def _read_log(self, log: dict[str, Any] | None) -> None:
        log = log or {}
        self.log_path: str | None = _get(log, "log.path", str, None)
        self.log_latest: str | None = _get(log, "log.latest", str, None)
        self.log_cap_mib: float | None = _get(log, "log.cap_mib", (int, float), None)

    def _check(self) -> None:
        if not self.argv or not all(isinstance(word, str) and "\0" not in word for word in self.argv):
            raise SpecError("argv must be a list of at least one text")
        if not all(isinstance(value, str) and "\0" not in value for value in self.env.values()):
            raise SpecError("env must hold texts only")
        if not os.path.isabs(self.dir):
            raise SpecError(f"dir {self.dir!r} must be absolute")


def read(path: str) -> Spec:
    """Read and check a spec; SpecError names the file and what is wrong with it."""
    data = files.read(path, 1 << 26)
    if data is None:
        raise SpecError(f"{path} cannot be read")
    raw = jsontext.load_dict(data)
    if raw is None:
        raise SpecError(f"{path} is not a JSON object")
    try:
        return Spec(raw)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from None


def _files(raw: dict[str, Any], cwd: str) -> freshness.Rule:
    return freshness.Rule(
        cwd=cwd,
        definition=_get(raw, "files.definition", str),
        note=_get(raw, "files.note", str),
        inputs=_get(raw, "files.inputs", list, []),
        outputs=_get(raw, "files.outputs", list, []),
        upstream=_get(raw, "files.upstream", list, []),
        force=raw.get("force") is True,
    )


_REQUIRED = object()


def _get(raw: dict[str, Any], dotted: str, kind: Any, default: Any = _REQUIRED) -> Any:
    value = raw.get(dotted.rpartition(".")[2])
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SpecError(f"{dotted} is {'missing' if value is None else f'{value!r}, of the wrong type'}")
    return value
