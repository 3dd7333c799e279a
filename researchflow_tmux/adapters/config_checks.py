"""What must hold of settings beyond their types, and what deserves a word though it is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from researchflow_tmux.adapters.config_fields import MAX_INT, Check, show
from researchflow_tmux.adapters.deadlines import check_deadline
from researchflow_tmux.domain import hardware
from researchflow_tmux.domain.limits import BUILT_IN_ORDERS
from researchflow_tmux.domain.plugin import is_plugin
from researchflow_tmux.domain.projects import POLICY_NAMES
from researchflow_tmux.domain.simulated_gpus import simulated_gpus
from researchflow_tmux.domain.units import DURATION_WORDS, SIZE_WORDS, parse_duration, parse_size
from researchflow_tmux.domain.workspace import Settings

PLACEHOLDERS = ("python", "script", "config", "name", "output_dir")

_BRACED = re.compile(r"(?<![$\\{])\{([A-Za-z_]{2,20})\}")
GPU_COUNT_WORDS = (
    "`auto`, a number of GPUs, a list such as [0, 2], `simulated`, `simulated:N`, `simulated:12GiB,24GiB` or "
    "`simulated:4xA100,2xT4`"
)


def _read_by(parse: Callable[[str | float], float], words: str, at_zero: str | None) -> Check:
    """A check of a text that `parse` reads; None may be set. `at_zero` = why 0 is refused; None = it is not."""

    def check(value: str | float | None) -> str | None:
        if value is None:
            return None
        try:
            amount = parse(value)
        except ValueError:
            return f"expected {words}, got {show(value)}"
        return None if amount > 0 else at_zero

    return check


def _worded(parse: Callable[[str], object], words: str) -> Check:
    """A check of a text that `parse` reads; None and nothing may be set."""

    def check(value: str | None) -> str | None:
        try:
            if value:
                parse(value)
        except ValueError:
            return f"expected {words}, got {show(value)}"
        return None

    return check


_LIMIT_OF_0 = "a limit of 0 would stop every attempt at once; leave it empty for no limit"
_TOLD_AT_0 = "0 would be told at once, always; leave it empty for never"
_CAP_OF_0 = "a cap of 0 would drop every line; leave it empty for no cap"
check_time_limit = _read_by(parse_duration, DURATION_WORDS, _LIMIT_OF_0)
check_delay = _read_by(parse_duration, DURATION_WORDS, _TOLD_AT_0)
check_span = _read_by(parse_duration, DURATION_WORDS, None)
check_cap = _read_by(parse_size, SIZE_WORDS, _CAP_OF_0)
check_memory = _read_by(parse_size, SIZE_WORDS, "must be more than 0; leave it empty to say nothing")


def check_gpu_count(value: int | str | list[int | str]) -> str | None:
    """One of the forms that can be read."""
    if isinstance(value, str):
        return None if value == "auto" or _simulated(value) else f"expected {GPU_COUNT_WORDS}, got {show(value)}"
    if isinstance(value, int):
        return None
    if len(set(map(str, value))) != len(value):
        return f"names a GPU twice: {show(value)}"
    bad = [item for item in value if (isinstance(item, int) and not 0 <= item <= MAX_INT) or item == ""]
    return f"expected indices from 0 or UUIDs, got {show(bad[0])}" if bad else None


def _simulated(value: str) -> bool:
    word, colon, said = value.partition(":")
    try:
        return word.lower() == "simulated" and (not colon or bool(simulated_gpus(said)))
    except ValueError:
        return False


def check_pattern(value: str) -> str | None:
    """A glob inside config_dir."""
    if not value:
        return "expected a pattern such as `*.yml`, got nothing"
    if os.path.isabs(value) or ".." in value.split("/"):
        return f"is a pattern for files inside config_dir, such as `*.yml`; got {show(value)}"
    return None


def check_suffix(value: str) -> str | None:
    """Something that tmux takes in a session name."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", value):
        return None
    return f"expected letters, digits, `_` and `-` (tmux takes nothing else in a name), got {show(value)}"


def check_socket(value: str) -> str | None:
    """A name, or an absolute path short enough for a socket."""
    if "/" in value and not os.path.isabs(value):
        return f"expected a name without `/`, or an absolute path; got {show(value)}"
    if len(os.fsencode(value)) > 100:
        return "is longer than the 100 bytes that a socket's path may have"
    return None


def check_decision_log(value: str) -> str | None:
    """On, off, or a size."""
    if value in ("on", "off"):
        return None
    said = check_cap(value)
    return None if said is None else f"expected `on`, `off` or {SIZE_WORDS}, got {show(value)}"


def check_command(value: str) -> str | None:
    """Not blank."""
    return None if value.strip() else "expected a shell line, got nothing"


def check_verify(value: str | None) -> str | None:
    """Not blank, if there is one."""
    return None if value is None or value.strip() else "expected a shell line or `module:function`, got nothing"


def check_patterns(value: list[str]) -> str | None:
    """Regular expressions that can be read, and that say something."""
    for pattern in value:
        try:
            matches_anything = re.compile(pattern).search("") is not None
        except re.error as error:
            return f"{show(pattern)} is no regular expression: {error}"
        if matches_anything:
            return f"{show(pattern)} matches any line: every failed job would be out of memory"
    return None


def _named_or_own(names: Sequence[str], is_own: Callable[[str], object], own_words: str) -> Check:
    """A check of one of the built-in names, or the name of something of the user's."""

    def check(value: str) -> str | None:
        if value in names or is_own(value):
            return None
        import difflib

        close = difflib.get_close_matches(value, names, n=1, cutoff=0.6)
        guess = f"; did you mean `{close[0]}`?" if close else ""
        return f"expected one of {', '.join(names)}, or {own_words}; got {show(value)}{guess}"

    return check


check_order = _named_or_own(
    BUILT_IN_ORDERS, lambda value: re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value), "`module:function`"
)
check_policy = _named_or_own(POLICY_NAMES, is_plugin, "`module:object` or `file.py:object`")


HARDWARE_CHECKS: dict[str, Check] = {
    "gpu_type": _worded(hardware.parse_types, hardware.TYPE_WORDS),
    "min_gpu_memory": _read_by(parse_size, SIZE_WORDS, None),
    "compute_capability": _worded(hardware.parse_capability, hardware.CAPABILITY_WORDS),
    "topology": _worded(hardware.parse_topology, hardware.TOPOLOGY_WORDS),
}
SETTINGS_CHECKS: dict[str, Check] = {
    **HARDWARE_CHECKS,
    "gpu_memory": check_memory,
    "memory": check_memory,
    "min_free_memory": check_memory,
    "grace_period": check_span,
    "gpu_order": check_order,
    "policy": check_policy,
    "oom_patterns": check_patterns,
    "verify": check_verify,
    "verify_timeout": check_time_limit,
    "time_limit": check_time_limit,
    "gpu_idle_after": check_delay,
    "preempt_grace": check_span,
    "preempt_after": check_span,
    "log_cap": check_cap,
    "decision_log": check_decision_log,
    "gpu_count": check_gpu_count,
    "config_pattern": check_pattern,
    "scheduler_session_suffix": check_suffix,
    "tmux_socket": check_socket,
    "command": check_command,
}
SECTION_CHECKS: dict[str, Check] = {
    **HARDWARE_CHECKS,
    "deadline": check_deadline,
    "verify": check_verify,
    "verify_timeout": check_time_limit,
    "gpu_memory": check_memory,
    "memory": check_memory,
    "min_free_memory": check_memory,
    "time_limit": check_time_limit,
    "command": lambda value: None if value is None else check_command(value),
}


def warnings_of(settings: Settings, given: set[str]) -> list[str]:
    """Allowed, but worth a word. `given` = the keys that the file sets."""
    found = [
        f"{key} is needless: nothing here waits for tmux to settle. The line can go."
        for key in ("startup_delay", "command_delay")
        if key in given and getattr(settings, key) > 0
    ]
    found += placeholder_warnings("command", settings.command)
    if settings.max_ram is not None and settings.kill_ram is not None and settings.kill_ram <= settings.max_ram:
        found.append("kill_ram is not above max_ram: jobs that just started would be stopped")
    if "max_retries" in given and not settings.auto_restart_failed and settings.max_retries not in (0, 3):
        found.append("max_retries does nothing while auto_restart_failed is false")
    return found


def placeholder_warnings(key: str, command: str) -> list[str]:
    """Braced words that look like a misspelt placeholder."""
    found = []
    for word in _BRACED.findall(command):
        if word in PLACEHOLDERS:
            continue
        import difflib  # 3 ms that hardly any config needs

        close = difflib.get_close_matches(word, PLACEHOLDERS, n=1, cutoff=0.75)
        if close:
            found.append(f"{key} says {{{word}}}, which stays as it is; did you mean {{{close[0]}}}?")
    return found
